"""Whatever a model says: a reader by the letter of the standard gets it, and nothing twice."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from coordinator.calls import Events
from coordinator.prediction import Attempt, Document, Status
from coordinator.protocol.messages import Event, StoredFile
from edge.commands.predicting.events import EventReader
from edge.frames import HELLO, Frames
from edge.places import START, Place, read_place
from edge.streams import gathered
from tests.support import sse

awkward = st.sampled_from(list("\r\n\0\t :\ufeff\u2028\u2029\x85\v\f\x1c\x1d\x1e\x7f" + "aé漢🙂"))
texts = st.text(awkward, max_size=12) | st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
values = (
    texts
    | st.integers()
    | st.none()
    | st.lists(texts, max_size=2)
    | st.dictionaries(texts, texts, max_size=2)
)
said = st.lists(
    st.tuples(st.just("output"), values)
    | st.tuples(st.just("logs"), texts)
    | st.tuples(st.just("metrics"), st.just({"n": 1})),
    max_size=12,
)  # fmt: skip


def render(output: bytes | None, files: Sequence[StoredFile]) -> Raw:
    return Raw(output or b"null")


def events_of(said: list[tuple[str, Any]], document: Document) -> Events:
    events = tuple(
        Event(seq=seq, kind=kind, data=Raw(msgspec.json.encode(value)))  # type: ignore[arg-type]
        for seq, (kind, value) in enumerate(said, 1)
    )
    return Events(attempt=1, events=events, cursor="", document=document)


def document_of(said: list[tuple[str, Any]], status: Status) -> Document:
    outputs = [value for kind, value in said if kind == "output"]
    return Document(
        id="p",
        account="a",
        token="t",
        pool="default",
        model="m/n",
        created_at=1,
        input=b"{}",
        status=status,
        output=msgspec.json.encode(outputs) if status.terminal else None,
        logs="".join(value for kind, value in said if kind == "logs") if status.terminal else "",
        attempts=(
            Attempt(
                number=1, agent="x", agent_name="x", incarnation="i", dispatched_at=1, outcome="finished"
            ),
        ),
    )


def shown(kind: str, value: Any) -> tuple[str, str]:
    """An event as a reader should have it: line ends are line feeds, for there is no way to say others."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    lines = text.replace("\r\n", "\n")
    for end in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029":
        lines = lines.replace(end, "\n")
    return kind, lines


def expected(said: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [shown(kind, value) for kind, value in said if kind == "output" or (kind == "logs" and value)]


def live(said: list[tuple[str, Any]], place: Place = START) -> bytes:
    frames = Frames(render, place)
    return b"".join(gathered(frames.take(events_of(said, document_of(said, Status.PROCESSING)))))


def ended(said: list[tuple[str, Any]], place: Place) -> bytes:
    frames = Frames(render, place)
    return b"".join(gathered(frames.finish(document_of(said, Status.SUCCEEDED))))


@given(said)
def test_every_text_arrives(said: list[tuple[str, Any]]) -> None:
    found, retry = sse.parse(HELLO + live(said))
    assert [(one.event, one.data) for one in found] == expected(said)
    assert retry == 1000
    assert len({one.id for one in found}) == len(found)


@given(said, st.data())
def test_from_any_id_exactly_the_rest_comes(said: list[tuple[str, Any]], data: st.DataObject) -> None:
    whole, _ = sse.parse(live(said))
    seen = data.draw(st.integers(0, len(whole)))
    place = read_place(whole[seen - 1].id if seen else "")
    assert place is not None
    rest, _ = sse.parse(live(said, place))
    assert rest == whole[seen:]


@given(said, st.data())
def test_after_the_end_from_any_id_exactly_the_rest_comes(
    said: list[tuple[str, Any]], data: st.DataObject
) -> None:
    """The events are forgotten: what is left are the list of outputs and the log, in no common order."""
    whole, _ = sse.parse(live(said))
    seen = data.draw(st.integers(0, len(whole)))
    place = read_place(whole[seen - 1].id if seen else "")
    assert place is not None
    rest, _ = sse.parse(ended(said, place))
    assert (rest[-1].event, rest[-1].data) == ("done", "{}")
    outputs = [shown("output", value) for kind, value in said if kind == "output"]
    had = [one for one in whole[:seen] if one.event == "output"]
    assert [(one.event, one.data) for one in rest if one.event == "output"] == outputs[len(had) :]
    logs = "".join(one.data for one in (*whole[:seen], *rest) if one.event == "logs")
    assert logs.replace("\n", "") == "".join(shown(k, v)[1] for k, v in said if k == "logs").replace("\n", "")


@given(said, st.lists(st.integers(1, 7), max_size=30))
def test_our_own_reader_hears_the_same_however_the_bytes_are_cut(
    said: list[tuple[str, Any]], cuts: list[int]
) -> None:
    stream, reader, heard = HELLO + live(said), EventReader(), []
    for length in cuts:
        heard.extend(reader.feed(stream[:length]))
        stream = stream[length:]
    heard.extend(reader.feed(stream))
    assert [(one.name, one.data) for one in heard] == expected(said)


@given(st.lists(st.integers(1, 200_000), max_size=6))
def test_what_is_written_is_cut_and_never_changed(lengths: list[int]) -> None:
    pieces = [bytes([number]) * length for number, length in enumerate(lengths)]
    chunks = list(gathered(iter(pieces)))
    assert b"".join(chunks) == b"".join(pieces)
    assert all(0 < len(chunk) <= 64 * 1024 for chunk in chunks)
