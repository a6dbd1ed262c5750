"""Server-Sent Events from events and documents, without a server."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from coordinator.calls import Events
from coordinator.prediction import Attempt, Document, Status
from coordinator.protocol.messages import Event, StoredFile
from edge.frames import REPLACED, Frames


def render(output: bytes | None, files: Sequence[StoredFile]) -> Raw:
    return Raw(output or b"null")


def document(
    status: Status = Status.PROCESSING, output: Any = None, attempt: int = 1, **more: Any
) -> Document:
    return Document(
        id="p",
        account="a",
        token="t",
        pool="default",
        model="m/n",
        created_at=1,
        input=b"{}",
        status=status,
        output=None if output is None else msgspec.json.encode(output),
        attempts=tuple(
            Attempt(
                number=number,
                agent="x",
                agent_name="x",
                incarnation="i",
                dispatched_at=1,
                outcome="finished" if number == attempt and status.terminal else "lost",
            )
            for number in range(1, attempt + 1)
        ),
        streams=True,
        **more,
    )


def events(*items: tuple[int, str, Any], attempt: int = 1, of: Document | None = None, **more: Any) -> Events:
    return Events(
        attempt=attempt,
        events=tuple(
            Event(seq=seq, kind=kind, data=Raw(msgspec.json.encode(data)))  # type: ignore[arg-type]
            for seq, kind, data in items
        ),
        cursor="",
        document=of or document(attempt=attempt),
        **more,
    )


def test_each_line_is_a_data_line_and_spaces_are_kept() -> None:
    frames = Frames(render)
    assert frames.take(events((1, "output", " a\r\nb\rc\n"))) == (
        b"event: output\nid: 1:1\ndata:  a\ndata: b\ndata: c\ndata: \n\n"
    )
    assert frames.take(events((2, "output", ""))) == b"event: output\nid: 1:2\ndata: \n\n"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e"])
def test_what_pythons_client_takes_for_a_line_end_is_one(separator: str) -> None:
    assert Frames(render).take(events((1, "output", f"a{separator}b"))) == (
        b"event: output\nid: 1:1\ndata: a\ndata: b\n\n"
    )


def test_metrics_are_not_shown_but_counted() -> None:
    frames = Frames(render)
    assert frames.take(events((1, "metrics", {"n": 1}), (2, "output", "a"))).startswith(
        b"event: output\nid: 1:2.1\n"
    )
    assert frames.cursor == "1:2"


def test_known_events_are_not_repeated() -> None:
    frames = Frames(render, "1:2")
    assert frames.take(events((2, "output", "b"), (3, "output", "c"))).count(b"event:") == 1


def test_a_replaced_attempt_ends_a_stream_that_has_output() -> None:
    frames = Frames(render)
    frames.take(events((1, "output", "a")))
    frame = frames.take(events(attempt=2, replaced=True)).decode()
    assert frames.ended
    assert frame.split("\n\n")[0].endswith(msgspec.json.encode({"detail": REPLACED}).decode())
    assert 'event: done\nid: 1:2\ndata: {"reason":"error"}' in frame


def test_a_replaced_attempt_without_output_is_followed_by_the_next() -> None:
    frames = Frames(render)
    frames.take(events((1, "logs", "starting")))
    assert frames.take(events(attempt=2, replaced=True)) == b""
    assert frames.cursor == "2:0"
    assert b"id: 2:1\n" in frames.take(events((1, "output", "a"), attempt=2))


def test_a_terminal_document_of_another_attempt_is_not_mixed_in() -> None:
    frames = Frames(render, "1:2")
    ended = document(Status.SUCCEEDED, ["x", "y", "z"], attempt=2)
    assert b'"reason":"error"' in frames.take(events(attempt=0, of=ended, replaced=True))


def test_lost_events_come_from_the_document_at_the_end() -> None:
    frames = Frames(render)
    frames.take(events((1, "output", "a")))
    assert frames.take(events((5, "output", "e"), lost=True)) == b""
    assert frames.take(events((6, "output", "f"))) == b""
    rest = frames.take(events(of=document(Status.SUCCEEDED, list("abcdef")))).decode()
    assert [line for line in rest.splitlines() if line.startswith("data")] == [
        *(f"data: {letter}" for letter in "bcdef"),
        "data: {}",
    ]


def test_canceled_before_any_attempt() -> None:
    frames = Frames(render)
    assert frames.finish(document(Status.CANCELED, attempt=0)) == (
        b'event: done\nid: 0:1\ndata: {"reason":"canceled"}\n\n'
    )


@pytest.mark.parametrize("id", ["", "x", "1", "1:", ":1", "1:2:3", "1:2.", "-1:2", "9" * 99 + ":1"])
def test_ids_that_are_not_ours_begin_at_the_start(id: str) -> None:
    assert Frames(render, id).cursor == ""
