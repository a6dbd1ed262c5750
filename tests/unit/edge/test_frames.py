"""Server-Sent Events from events and documents, without a server."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from coordinator.calls import Events
from coordinator.prediction import Attempt, Document, Status
from coordinator.protocol.messages import Event, StoredFile
from edge.frames import REPLACED, Frames, SharedFrames, saw_the_end
from edge.places import Place
from tests.support.sse import parse


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


def took(frames: Frames, events: Events) -> bytes:
    return b"".join(frames.take(events))


def test_each_line_is_a_data_line_and_spaces_are_kept() -> None:
    frames = Frames(render)
    assert took(frames, events((1, "output", " a\r\nb\rc\n"))) == (
        b"id: 1:1\nevent: output\ndata:  a\ndata: b\ndata: c\ndata: \n\n"
    )
    assert took(frames, events((2, "output", ""))) == b"id: 1:2\nevent: output\ndata: \n\n"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e"])
def test_what_pythons_client_takes_for_a_line_end_is_one(separator: str) -> None:
    assert took(Frames(render), events((1, "output", f"a{separator}b"))) == (
        b"id: 1:1\nevent: output\ndata: a\ndata: b\n\n"
    )


def test_metrics_are_not_shown_but_counted() -> None:
    frames = Frames(render)
    assert took(frames, events((1, "metrics", {"n": 1}), (2, "output", "a"))).startswith(
        b"id: 1:2.1\nevent: output\n"
    )
    assert frames.place.cursor == "1:2"


def test_known_events_are_not_repeated() -> None:
    frames = Frames(render, Place(1, 2, 2))
    assert took(frames, events((2, "output", "b"), (3, "output", "c"))).count(b"event:") == 1


def test_a_replaced_attempt_ends_a_stream_that_has_output() -> None:
    frames = Frames(render)
    took(frames, events((1, "output", "a")))
    frame = took(frames, events(attempt=2, replaced=True)).decode()
    assert frames.ended
    assert frame.split("\n\n")[0].endswith(msgspec.json.encode({"detail": REPLACED}).decode())
    assert 'id: 1:1/end\nevent: done\ndata: {"reason":"error"}' in frame


def test_a_replaced_attempt_without_output_is_followed_by_the_next() -> None:
    frames = Frames(render)
    took(frames, events((1, "logs", "starting")))
    assert took(frames, events(attempt=2, replaced=True)) == b""
    assert frames.place.cursor == "2:0"
    assert b"id: 2:1\n" in took(frames, events((1, "output", "a"), attempt=2))


def test_a_terminal_document_of_another_attempt_is_not_mixed_in() -> None:
    frames = Frames(render, Place(1, 2, 2))
    ended = document(Status.SUCCEEDED, ["x", "y", "z"], attempt=2)
    assert b'"reason":"error"' in took(frames, events(attempt=0, of=ended, replaced=True))


def test_lost_events_come_from_the_document_at_the_end() -> None:
    frames = Frames(render)
    took(frames, events((1, "output", "a")))
    assert took(frames, events((5, "output", "e"), lost=True)) == b""
    assert took(frames, events((6, "output", "f"))) == b""
    rest = took(frames, events(of=document(Status.SUCCEEDED, list("abcdef")))).decode()
    assert [line for line in rest.splitlines() if line.startswith("data")] == [
        *(f"data: {letter}" for letter in "bcdef"),
        "data: {}",
    ]


def test_logs_that_were_never_streamed_come_at_the_end() -> None:
    frames = Frames(render)
    took(frames, events((1, "logs", "one\n"), (2, "output", "a")))
    ended = document(Status.SUCCEEDED, ["a"], logs="one\ntwo\n")
    sent, _ = parse(b"".join(frames.finish(ended)))
    assert sent == [("logs", "1:2.1.8", "two\n"), ("done", "1:2.1.8/end", "{}")]


def test_an_output_that_is_no_list_is_one_event() -> None:
    sent, _ = parse(b"".join(Frames(render).finish(document(Status.SUCCEEDED, {"a": 1}))))
    assert [one.data for one in sent] == ['{"a":1}', "{}"]
    sent, _ = parse(b"".join(Frames(render).finish(document(Status.SUCCEEDED, None))))
    assert [one.event for one in sent] == ["done"]


def test_canceled_before_any_attempt() -> None:
    frames = Frames(render)
    assert b"".join(frames.finish(document(Status.CANCELED, attempt=0))) == (
        b'id: 0:0/end\nevent: done\ndata: {"reason":"canceled"}\n\n'
    )


def test_who_was_told_the_end_is_not_told_again() -> None:
    ended, running = document(Status.SUCCEEDED, ["a"]), document(attempt=2)
    assert saw_the_end(Place(1, 1, 1, ended=True), ended)
    assert saw_the_end(Place(0, 0, ended=True), document(Status.CANCELED, attempt=0))
    assert saw_the_end(Place(1, 1, 1, ended=True), running), "its attempt was replaced, and it was told"
    assert not saw_the_end(Place(1, 1, 1), ended)
    assert not saw_the_end(Place(2, 1, 1, ended=True), running)


def test_a_stray_escape_of_an_agent_does_not_end_the_stream() -> None:
    stray = Event(seq=1, kind="output", data=Raw(b'"\\ud800"'))
    sent, _ = parse(took(Frames(render), msgspec.structs.replace(events(), events=(stray,))))
    assert [one.data for one in sent] == ['"\\ud800"']


def test_readers_share_what_is_the_same_for_all() -> None:
    rendered: list[bytes | None] = []

    def counting(output: bytes | None, files: Sequence[StoredFile]) -> Raw:
        rendered.append(output)
        return Raw(output or b"null")

    shared = SharedFrames(limit_bytes=100)
    batch = events((1, "output", "a"), (2, "output", "b"))
    first, second = (took(Frames(counting, shared=shared), batch) for _ in range(2))
    assert first == second
    assert rendered == [b'"a"', b'"b"']
    took(Frames(counting, shared=shared), events((3, "output", "c" * 100)))
    took(Frames(counting, shared=shared), batch)
    assert len(rendered) == 5, "what is over the limit is forgotten"
