"""Files between the agent and a Cog server that does not see its disk."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support.cog_shapes import FIRST, THIRD, Shape, as_text
from tests.support.http_server import Answer, Request

On = Callable[[Shape], Awaitable[Any]]

FILE = {"type": "string", "format": "uri"}


def document(output: Any) -> dict[str, Any]:
    """As much of an OpenAPI document as matters for outputs."""
    schemas = {"Input": {"type": "object", "properties": {}}, "Output": output, "Shot": FILE}
    return {"info": {"version": "0.1.0"}, "components": {"schemas": schemas}}


def data_url(content: bytes, kind: str = "text/plain") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


async def test_an_input_file_goes_as_a_data_url_at_any_depth(on: On) -> None:
    rig = await on(FIRST)
    await rig.start()
    mine = rig.input_file("p-1", "in.txt", b"hello")
    await rig.predict(file=mine, nested={"list": [mine]})
    given = rig.cog.orders[-1]["input"]
    assert given == {"file": data_url(b"hello"), "nested": {"list": [data_url(b"hello")]}}


async def test_a_text_that_names_a_file_of_another_prediction_stays_a_text(on: On) -> None:
    rig = await on(FIRST)
    await rig.start()
    rig.input_file("p-1", "in.txt", b"hello")
    foreign = rig.input_file("p-2", "secret.txt", b"not yours")
    sly = f"{rig.scratch}/p-1/../p-2/0/secret.txt"
    await rig.predict(text=foreign, sly=sly)
    assert rig.cog.orders[-1]["input"] == {"text": foreign, "sly": sly}


async def test_a_large_input_file_goes_by_url_once_the_server_has_reached_us(
    on: On, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_agent.container.input_files.INLINE_BYTES", 3)
    rig = await on(FIRST)
    await rig.start()
    mine = rig.input_file("p-1", "a b.txt", b"hello")
    await rig.predict(file=mine)
    assert rig.cog.orders[-1]["input"]["file"].startswith("data:"), "it may not reach us"
    fetched: list[httpx.Response] = []
    inner = rig.cog.server.handler

    async def fetch_first(request: Request) -> Answer:
        answer: Answer = await inner(request)
        if request.method == "PUT":
            async with httpx.AsyncClient(trust_env=False) as client:
                url = rig.cog.orders[-1]["input"]["file"]
                fetched.extend([await client.head(url), await client.get(url), await client.get(url + "x")])
        return answer

    rig.cog.server.handler = fetch_first
    await rig.predict(file=mine)
    url = rig.cog.orders[-1]["input"]["file"]
    assert url.endswith("/a%20b.txt")
    assert [each.status_code for each in fetched] == [200, 200, 404]
    assert [each.headers["content-length"] for each in fetched[:2]] == ["5", "5"]
    assert fetched[1].content == b"hello"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(url)).status_code == 404, "it was for that prediction"


async def test_declared_outputs_become_files(on: On) -> None:
    rig = await on(FIRST)
    rig.cog.document = document(
        {
            "type": "object",
            "properties": {
                "image": {"allOf": [{"$ref": "#/components/schemas/Shot"}]},
                "text": {"type": "string"},
            },
        }
    )
    await rig.start()
    text = data_url(b"just a text")
    rig.cog.end = {"status": "succeeded", "output": {"image": data_url(b"png", "image/png"), "text": text}}
    result = await rig.predict()
    assert result.output == {"image": None, "text": text}
    (file,) = result.files
    assert (file.pointer, file.name, file.content_type) == ("/image", "output.png", "image/png")
    assert file.path.read_bytes() == b"png"
    rig.runner.release("p-1")
    assert not file.path.exists()


async def test_without_a_document_data_urls_and_what_the_server_serves_become_files(on: On) -> None:
    rig = await on(THIRD)
    await rig.start()
    inner = rig.cog.server.handler
    rig.cog.server.handler = lambda request: (
        as_text("from there", 200) if request.path == "/files/x.txt" else inner(request)
    )
    there = f"{rig.cog.url}/files/x.txt"
    rig.cog.end = {"status": "succeeded", "output": [there, "http://elsewhere.invalid/y", data_url(b"here")]}
    result = await rig.predict()
    assert result.output == [None, "http://elsewhere.invalid/y", None]
    assert [file.path.read_bytes() for file in result.files] == [b"from there", b"here"]
    assert result.files[0].name == "x.txt"


async def test_an_output_file_that_cannot_be_had_fails_the_prediction(on: On) -> None:
    rig = await on(THIRD)
    rig.cog.document = document(FILE)
    await rig.start()
    rig.cog.end = {"status": "succeeded", "output": f"{rig.cog.url}/files/none.txt"}
    result = await rig.predict()
    assert (result.status, result.error_code) == ("failed", "invalid_output")
    assert "answered 404 for an output file" in str(result.error)


async def test_files_that_are_yielded_come_when_the_server_sends_them(on: On) -> None:
    """The first generation names its own paths in webhooks, and sends the files with the answer."""
    rig = await on(FIRST)
    rig.cog.document = document({"type": "array", "items": FILE, "x-cog-array-type": "iterator"})
    await rig.start()
    rig.cog.steps = [{"status": "processing", "output": ["/tmp/x/frame0.txt"], "logs": "0\n"}]
    rig.cog.end = {"status": "succeeded", "output": [data_url(b"0"), data_url(b"1")], "logs": "0\n"}
    result = await rig.predict()
    assert rig.items == result.output == [None, None]
    assert [file.path.read_bytes() for file in result.files] == [b"0", b"1"]
    assert [file.pointer for file in result.files] == ["/0", "/1"]


async def test_an_answer_over_the_limit(on: On) -> None:
    rig = await on(THIRD)
    await rig.start()
    rig.cog.end = {"status": "succeeded", "output": "x" * 10_000_000}
    result = await rig.predict()
    assert (result.status, result.error_code) == ("failed", "output_too_large")
    assert "--cog-answer-bytes" in str(result.error)
