"""Inputs as a person writes them, read by a model's schema."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.commands.predicting.given import as_json, read_inputs
from edge.commands.predicting.values import OnDisk
from edge.exits import CommandFailed, ExitCode

PROPERTIES: dict[str, Any] = {
    "prompt": {"type": "string", "x-order": 0},
    "n": {"type": "integer", "minimum": 1.0, "maximum": 4.0, "default": 1, "x-order": 1},
    "scale": {"type": "number", "x-order": 2},
    "loud": {"type": "boolean", "x-order": 3},
    "style": {"allOf": [{"$ref": "#/components/schemas/style"}], "default": "plain", "x-order": 4},
    "sizes": {"type": "array", "items": {"type": "integer"}, "x-order": 5},
    "tags": {"type": "array", "items": {"type": "string"}, "x-order": 6},
    "box": {"type": "object", "x-order": 7},
    "image": {"type": "string", "format": "uri", "x-order": 8},
    "images": {"type": "array", "items": {"type": "string", "format": "uri"}, "x-order": 9},
    "key": {"type": "string", "format": "password", "x-cog-secret": True, "x-order": 10},
    "maybe": {"type": "integer", "nullable": True, "x-order": 11},
    "either": {"anyOf": [{"type": "string"}, {"type": "integer"}], "x-order": 12},
    "source": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "integer"}], "x-order": 13},
    "anything": {"x-order": 14},
}
DOCUMENT = {
    "components": {
        "schemas": {
            "Input": {"type": "object", "properties": PROPERTIES},
            "style": {"type": "string", "enum": ["plain", "loud"]},
        }
    }
}

Read = Callable[..., dict[str, Any]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return lambda *texts, document=DOCUMENT: read_inputs(texts, document, tmp_path)


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["prompt= as it stands, with = and \\n "], " as it stands, with = and \\n "),
        (["prompt="], ""),
        (["prompt=null"], "null"),
        (["prompt=@@handle"], "@handle"),
        (["prompt=@@@"], "@@"),
        (["n=3"], 3),
        (["n=3.0"], 3),
        (["scale=-0.5"], -0.5),
        (["scale=1e3"], 1000.0),
        (["loud=yes"], True),
        (["loud=FALSE"], False),
        (["style=loud"], "loud"),
        (["sizes=[1, 2]"], [1, 2]),
        (["sizes=1", "sizes=2"], [1, 2]),
        (["sizes=7"], [7]),
        (["sizes=[]"], []),
        (["tags=a", "tags=b,c"], ["a", "b,c"]),
        (['tags=["a", "b"]'], ["a", "b"]),
        (["tags=[draft] of mine"], ["[draft] of mine"]),
        (["tags=[1]", "tags=x"], ["[1]", "x"]),
        (['box={"x": [1]}'], {"x": [1]}),
        (["image=https://example.org/a.png"], "https://example.org/a.png"),
        (["image=data:,x"], "data:,x"),
        (["key=s3cret"], "s3cret"),
        (["maybe=null"], None),
        (["either=5"], 5),
        (["either=five"], "five"),
        (["source=5"], 5),
        (["anything=5"], 5),
        (["anything=[1]"], [1]),
        (["anything=NaN"], "NaN"),
        (["anything=word"], "word"),
    ],
)
def test_a_value_is_read_by_the_type_of_its_input(read: Read, texts: list[str], value: Any) -> None:
    name = texts[0].partition("=")[0]
    found = read(*texts)
    assert found == {name: value}
    assert type(found[name]) is type(value)


def test_files_are_named_with_an_at_sign(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a b=c.png", "two.png"):
        (tmp_path / name).write_bytes(b"\xff")
    found = read(
        "image=@a b=c.png", "images=@two.png", "images=https://example.org/x", f"source=@{tmp_path}/two.png"
    )
    two = OnDisk(tmp_path / "two.png")
    assert found["image"] == OnDisk(tmp_path / "a b=c.png")
    assert found["images"] == [two, "https://example.org/x"]
    assert found["source"] == two
    files: list[str] = []
    assert as_json(found, lambda path: files.append(path) or "F")["images"] == ["F", "https://example.org/x"]
    assert files == [str(tmp_path / "a b=c.png"), str(two), str(two)]


def test_of_an_input_that_is_no_file_the_text_of_the_file_counts(read: Read, tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("once\nupon\n")
    (tmp_path / "sizes.json").write_text("[3, 4]\n")
    (tmp_path / "n").write_text("2\n")
    (tmp_path / "key").write_text("s3cret\n")
    found = read(
        f"prompt=@{tmp_path}/story.txt",
        f"sizes=@{tmp_path}/sizes.json",
        f"n=@{tmp_path}/n",
        f"key=@{tmp_path}/key",
    )
    assert found == {"prompt": "once\nupon\n", "sizes": [3, 4], "n": 2, "key": "s3cret"}


def test_standard_input_is_a_file_or_a_text_once(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pipe(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    pipe(b"\x89PNG")
    path = read("image=@-")["image"]
    assert isinstance(path, OnDisk)
    assert Path(path).read_bytes() == b"\x89PNG"
    pipe(b"a text")
    assert read("prompt=@-") == {"prompt": "a text"}
    pipe(b"a text")
    with pytest.raises(CommandFailed, match="standard input was taken already"):
        read("prompt=@-", "image=@-")


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["promt=x"], "there is no input 'promt' (did you mean prompt?)"),
        (["n"], "-i n: expected KEY=VALUE"),
        (["=3"], "-i : expected KEY=VALUE"),
        (["n=many"], "input n must be an integer"),
        (["n=1_0"], "input n must be an integer"),
        (["n=2.5"], "input n must be an integer, not a fraction"),
        (["n=5"], "input n: must be less than or equal to 4"),
        (["n=1", "n=2"], "input n is given more than once"),
        (["scale=inf"], "input scale must be a number"),
        (["loud=maybe"], "input loud must be true or false"),
        (["style=odd"], 'input style: must be one of the following: "plain", "loud"'),
        (["sizes=[1, x]"], "input sizes must be a list, as JSON"),
        (["sizes=1,2"], "input sizes must be an integer"),
        (['sizes=["a"]'], "input sizes.0: invalid type"),
        (["box=[1]"], "input box must be an object, as JSON"),
        (["image=cat.png"], "input image is a file: write @PATH"),
        (["image=@/no/such.png"], "input image is @/no/such.png, and there is no such file"),
        (["prompt=@/no/such"], "input prompt is @/no/such, which cannot be read"),
        (["source=word"], "input source must be file or integer"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_input(read: Read, texts: list[str], said: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        read(*texts)
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.message.startswith(said)
    assert "\n" not in caught.value.line()


def test_every_problem_is_told_with_the_inputs_that_there_are(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": PROPERTIES, "required": ["prompt"]}
    document = {"components": {"schemas": {**DOCUMENT["components"]["schemas"], "Input": schema}}}
    with pytest.raises(CommandFailed) as caught:
        read_inputs(["n=9", "style=odd"], document, tmp_path)
    line = caught.value.line()
    assert line.startswith("input prompt is required; input n: must be less than or equal to 4; input style:")
    assert "(inputs: prompt string needed; n integer 1..4 = 1; scale number; loud boolean; " in line
    assert 'style plain|loud = "plain"; sizes list of integer; ' in line
    assert "image file; images list of file; key secret; " in line


def test_a_secret_that_does_not_fit_is_not_shown(tmp_path: Path) -> None:
    rule = {**PROPERTIES["key"], "minLength": 20}
    document = {"components": {"schemas": {"Input": {"properties": {"key": rule}}}}}
    with pytest.raises(CommandFailed) as caught:
        read_inputs(["key=s3cret-1"], document, tmp_path)
    assert "input key: string length must be" in caught.value.line()
    assert "s3cret" not in caught.value.line()
    with pytest.raises(CommandFailed) as caught:
        read_inputs(["key=@s3cret-1"], document, tmp_path)
    assert "input key begins with @, and is no text file: write @@" in caught.value.line()
    assert "s3cret" not in caught.value.line()


def test_without_a_schema_values_are_what_they_look_like(read: Read, tmp_path: Path) -> None:
    found = read("n=3", "name=x", "list=[1]", "flag=true", document=None)
    assert found == {"n": 3, "name": "x", "list": [1], "flag": True}


def test_a_model_that_takes_any_name_gets_it(read: Read) -> None:
    document = {"components": {"schemas": {"Input": {"properties": {}, "additionalProperties": True}}}}
    assert read("whatever=1", document=document) == {"whatever": 1}
