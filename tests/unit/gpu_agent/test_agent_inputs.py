"""Making inputs ready: which are files, and what they may be."""

import asyncio
import base64
from pathlib import Path

import pytest

from gpu_agent.declared import Declared
from gpu_agent.fetch import FetchFailed
from gpu_agent.filenames import fetched_name, safe_name
from gpu_agent.inputs import InputFailed, Inputs

FILE = {"type": "string", "format": "uri"}
SCHEMA = {
    "components": {
        "schemas": {
            "Input": {
                "properties": {
                    "image": FILE,
                    "maybe": {**FILE, "nullable": True},
                    "many": {"type": "array", "items": FILE},
                    "either": {"anyOf": [{"type": "integer"}, FILE]},
                    "text": {"type": "string"},
                    "word": {"allOf": [{"$ref": "#/components/schemas/word"}]},
                    "anything": {"type": "object"},
                }
            }
        }
    }
}


class Source:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def fetch(self, url, folder):
        self.asked.append(url)
        if "missing" in url:
            raise FetchFailed("could not fetch it: 404")
        if "slow" in url:
            await asyncio.Event().wait()
        path = folder / url.rpartition("/")[2]
        path.write_text(url)
        return path


async def ready(given, tmp_path, files=None, document=SCHEMA):
    own, world = Source(), Source()
    inputs = Inputs(own=own, world=world, base_url="https://our.example")
    done = await inputs.fetch(given, Declared(document), files or {}, tmp_path)
    return done, own.asked, world.asked


def declaring(**properties):
    return {"components": {"schemas": {"Input": {"properties": properties}}}}


SECRET = {"type": "string", "format": "password", "x-cog-secret": True}


async def test_files_at_any_depth(tmp_path):
    box = {"type": "object", "properties": {"picture": FILE, "name": {"type": "string"}}}
    document = declaring(
        boxes={"type": "array", "items": box},
        by_name={"type": "object", "additionalProperties": FILE},
        either={"anyOf": [FILE, {"type": "array", "items": FILE}]},
    )
    url = "http://x.example/a.png"
    given = {
        "boxes": [{"picture": url, "name": url, "more": url}, {"name": url}],
        "by_name": {"one": url},
        "either": [url, url],
    }
    before = repr(given)
    done, _, world = await ready(given, tmp_path, document=document)
    assert world == [url] * 4
    assert done["boxes"][0]["picture"] != url
    assert done["boxes"][0]["name"] == done["boxes"][0]["more"] == done["boxes"][1]["name"] == url
    assert done["by_name"]["one"] != url
    assert url not in done["either"]
    assert repr(given) == before


async def test_a_default_that_is_a_url_is_fetched(tmp_path):
    document = declaring(
        image={**FILE, "default": "http://x.example/a.png"}, mask={**FILE, "default": "local.png"}
    )
    done, _, world = await ready({}, tmp_path, document=document)
    assert world == ["http://x.example/a.png"]
    assert done["image"].startswith(str(tmp_path))
    assert "mask" not in done
    done, _, world = await ready({"image": "http://x.example/b.png"}, tmp_path / "other", document=document)
    assert world == ["http://x.example/b.png"]


def test_secrets_at_any_depth():
    declared = Declared(
        declaring(
            token=SECRET,
            keys={"type": "array", "items": SECRET},
            login={"type": "object", "properties": {"password": SECRET, "user": {"type": "string"}}},
        )
    )
    given = {"token": "t", "keys": ["a", "b", 3], "login": {"password": "p", "user": "u"}, "more": "m"}
    assert declared.secrets(given) == ["t", "a", "b", "p"]
    assert Declared({}).secrets(given) == []


async def test_files_come_from_where_they_are(tmp_path):
    given = {
        "image": "https://public.example/v1/files/f1",
        "maybe": None,
        "many": ["http://elsewhere.example/a.png", "http://elsewhere.example/a.png"],
        "either": 4,
        "text": "https://elsewhere.example/just-text",
        "extra": "http://elsewhere.example/not-declared",
    }
    done, own, world = await ready(
        given, tmp_path, {"https://public.example/v1/files/f1": "/files/x/cat.png?s=1"}
    )
    assert own == ["/files/x/cat.png?s=1"]
    assert world == ["http://elsewhere.example/a.png"] * 2
    assert done["image"].startswith(str(tmp_path))
    assert len(set(done["many"])) == 2
    assert all(path.endswith("/a.png") for path in done["many"])
    for name in ("maybe", "either", "text", "extra"):
        assert done[name] == given[name]


async def test_our_own_signed_urls_need_no_rule(tmp_path):
    _, own, world = await ready({"image": "https://our.example/files/out/p.png?signature=s"}, tmp_path)
    assert (own, world) == (["/files/out/p.png?signature=s"], [])


@pytest.mark.parametrize(
    ("url", "name", "content"),
    [
        ("data:image/png;base64," + base64.b64encode(b"\x89PNG").decode(), "file.png", b"\x89PNG"),
        ("data:text/plain,hello%20world", "file.txt", b"hello world"),
        ("data:image/jpeg;filename=my%20cat.jpeg;base64,AAAA", "my cat.jpeg", b"\0\0\0"),
        ("DATA:;base64,AAAA", "file", b"\0\0\0"),
        ("data:application/octet-stream;name=..%2Fup.bin;base64,AAAA", "_up.bin", b"\0\0\0"),
    ],
)
async def test_data_urls(tmp_path, url, name, content):
    done, _, _ = await ready({"image": url}, tmp_path)
    assert done["image"].endswith("/" + name)
    assert Path(done["image"]).read_bytes() == content  # noqa: ASYNC240


@pytest.mark.parametrize(
    "url", ["/etc/passwd", "file:///etc/passwd", "../x", "", "ftp://h/x", "data:nothing", "data:;base64,A"]
)
async def test_nobody_can_name_a_path_of_this_machine(tmp_path, url):
    with pytest.raises(InputFailed, match="input image: "):
        await ready({"image": url}, tmp_path)
    with pytest.raises(InputFailed, match="input many: "):
        await ready({"many": [url]}, tmp_path / "other")


async def test_the_first_failure_ends_the_rest(tmp_path):
    given = {"image": "http://x.example/slow", "many": ["http://x.example/slow", "http://x.example/missing"]}
    async with asyncio.timeout(5):
        with pytest.raises(InputFailed, match="input many: could not fetch it: 404"):
            await ready(given, tmp_path)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", ""),
        (".", ""),
        ("a\x00b/c\\d", "a_b_c_d"),
        ("x" * 300 + ".jpeg", "x" * 195 + ".jpeg"),
        ("é" * 200, "é" * 100),
        ("a.\udc80", "a.?"),
    ],
)
def test_names_are_safe(name, safe):
    assert safe_name(name) == safe


def test_names_of_what_was_fetched():
    assert fetched_name("http://h/a/b.png?c=d", "", "image/jpeg") == "b.png"
    assert fetched_name("http://h/download", "", "image/jpeg; q=1") == "download.jpg"
    assert fetched_name("http://h/", "", "") == "file"
    assert fetched_name("http://h/x", "attachment; filename*=UTF-8''%C3%A9t%C3%A9.wav", "") == "été.wav"


async def test_a_model_without_a_document_gets_our_own_files_wherever_they_are_named(tmp_path):
    ours = "https://our.example/v1/files/a.txt"
    given = {"deep": {"list": ["text", ours]}, "world": "https://else.example/b.txt"}
    done, own, world = await ready(given, tmp_path, {ours: "/files/a.txt?s"}, document={})
    assert (own, world) == (["/files/a.txt?s"], [])
    assert done["deep"]["list"][0] == "text"
    assert done["deep"]["list"][1].endswith("/a.txt?s"), "a file of that name"
    assert done["world"] == given["world"]
    assert given["deep"]["list"][1] == ours
