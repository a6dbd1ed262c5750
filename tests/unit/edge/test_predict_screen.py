"""What ``cogflare predict`` shows, saves and reads: streams, output files, event streams."""

import io
from pathlib import Path
from typing import Any

import pytest

from edge.commands.predicting.events import Event, EventReader
from edge.commands.predicting.remote_output import unseen
from edge.commands.predicting.saving import OutputFolder, Saved
from edge.commands.predicting.screen import CLEAR_LINE, Output, Screen
from edge.exits import CommandFailed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def document(output: dict[str, Any]) -> dict[str, Any]:
    return {"components": {"schemas": {"Output": output}}}


STREAM = {"type": "array", "x-cog-array-type": "iterator"}
TEXT = {**STREAM, "x-cog-array-display": "concatenate"}


def shown(output: dict[str, Any], items: list[Any], value: Any, *, silent: bool = False) -> str:
    out = io.StringIO()
    showing = Output(Screen(out, io.StringIO()), document(output), silent=silent)
    for item in items:
        showing.add(item)
    showing.finish(value)
    return out.getvalue()


@pytest.mark.parametrize(
    ("output", "items", "value", "text"),
    [
        (TEXT, ["Hel", "lo", " you"], ["Hel", "lo", " you"], "Hello you\n"),
        (TEXT, ["a\n"], ["a\n", "b"], "a\nb\n"),
        (TEXT, [], [], ""),
        (STREAM, ["one"], ["one", {"n": 1}, Saved("x.png")], 'one\n{"n": 1}\nx.png\n'),
        ({}, [], "a string", "a string\n"),
        ({}, [], Saved("out/x.png"), "out/x.png\n"),
        ({}, [], [Saved("x.png"), Saved("y.png")], "x.png\ny.png\n"),
        ({}, [], {"text": "ä", "file": Saved("x")}, '{\n  "text": "ä",\n  "file": "x"\n}\n'),
        ({}, [], ["a"], '[\n  "a"\n]\n'),
        ({}, [], 0, "0\n"),
        ({}, [], None, ""),
    ],
)
def test_outputs_on_stdout(output: dict[str, Any], items: list[Any], value: Any, text: str) -> None:
    assert shown(output, items, value) == text
    assert shown(output, items, value, silent=True) == ""


async def test_a_status_line_is_there_on_a_terminal_only_and_gives_way_to_logs() -> None:
    terminal, out = Terminal(), io.StringIO()
    screen = Screen(out, terminal)
    async with screen.status("running"):
        screen.change_status("canceling")
        screen.log("line\n")
        screen.log("half")
        screen.log(" a line\n")
    said = terminal.getvalue()
    assert said.startswith(
        "canceling, 0 s" + CLEAR_LINE + "line\ncanceling, 0 s" + CLEAR_LINE + "half a line\n"
    )
    assert said.endswith(CLEAR_LINE)
    plain = io.StringIO()
    screen = Screen(out, plain)
    async with screen.status("running"):
        screen.log("line\n")
    assert plain.getvalue() == "line\n"


async def test_on_one_terminal_the_status_does_not_cut_a_line_of_output() -> None:
    terminal = Terminal()
    screen = Screen(terminal, terminal)
    async with screen.status("running"):
        screen.change_status("streaming")
        screen.write("Hel")
        screen.write("lo\n")
    assert "Hello\n" in terminal.getvalue()


def test_an_own_line_begins_a_line() -> None:
    err = io.StringIO()
    screen = Screen(io.StringIO(), err)
    screen.log("unfinished")
    screen.say("it failed")
    assert err.getvalue() == "unfinished\ncogflare: it failed\n"


def test_output_files_never_overwrite(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"new")
    folder = OutputFolder(tmp_path / "new" / "out")
    names = [folder.copy(source, name) for name in ("a.png", "a.png", "a.png", "../../b", "", "c")]
    assert [Path(name).name for name in names] == ["a.png", "a-1.png", "a-2.png", "_.._b", "output", "c"]
    assert {Path(name).parent for name in names} == {tmp_path / "new" / "out"}
    assert folder.saved == names
    (tmp_path / "a.png").write_bytes(b"old")
    assert OutputFolder(tmp_path).copy(source, "a.png") == str(tmp_path / "a-1.png")
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_half_an_output_file_is_removed(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    with pytest.raises(KeyError), folder.writing("a.png") as file:
        file.write(b"half")
        raise KeyError
    assert not list(tmp_path.iterdir())
    assert not folder.saved


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandFailed, match="is not a directory"):
        OutputFolder(tmp_path / "file")
    with pytest.raises(CommandFailed, match="/file/below: an output file cannot be written: Not a directory"):
        OutputFolder(tmp_path / "file" / "below").copy(Path(__file__), "a")


STREAMED = (
    ": hi\n\n"
    "event: output\nid: 1:1\ndata: two\ndata: lines\n\n"
    "event: logs\r\nid: 1:2\r\ndata:  ä\r\n\r\n"
    "event: output\nid: 1:3\ndata: \n\n"
    "id: 1:4\n\n"
    "event: done\ndata: {}\n\n"
    "event: cut\ndata: off"
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_cut_anywhere(size: int) -> None:
    reader = EventReader()
    data = STREAMED.encode()
    found = [event for at in range(0, len(data), size) for event in reader.feed(data[at : at + size])]
    assert found == [
        Event("output", "two\nlines"),
        Event("logs", " ä"),
        Event("output", ""),
        Event("done", "{}"),
    ]
    assert reader.last_id == "1:4"


@pytest.mark.parametrize(
    ("seen", "logs", "rest"),
    [
        ("", "a\n", "a\n"),
        ("a\n", "a\nb\n", "b\n"),
        ("a\n", "a\n", ""),
        ("10%\n20%\n", "10%\r20%\r\n30%\r", "30%\n"),
        (
            "a long beginning\nthe end\n",
            "[... left out ...]\nthe end\nmore\n",
            "[... left out ...]\nthe end\nmore\n",
        ),
        ("x" * 300 + "the end\n", "[...]\n" + "x" * 250 + "the end\nmore\n", "more\n"),
    ],
)
def test_of_a_log_only_what_is_new_is_shown(seen: str, logs: str, rest: str) -> None:
    assert unseen(seen, logs) == rest
