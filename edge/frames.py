"""What a reader of an event stream gets: events and documents to Server-Sent Events. Pure.

Clients decide the rules: an id on every event, four event names only, comments as heartbeats, one space
after ``data:``. Frames come in pieces, lazily: who reads slowly holds one piece, not a whole result.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from coordinator.calls import Events
from coordinator.prediction import Document, Status
from coordinator.protocol.messages import Event, StoredFile
from edge.places import START, Place

RETRY_MS = 1000
"""After how long a browser connects again."""
HELLO = b": hi\nretry: %d\n\n" % RETRY_MS
HEARTBEAT = b": still here\n\n"
LEAVING = b": the server leaves: come back with the id of the last event\n\n"
REVOKED = b": the token was revoked\n\n"
TOO_SLOW = b": you read too slowly: come back with the id of the last event\n\n"
REPLACED = "The worker was lost and the prediction runs again from its start: read it again."
# The Python client's parser also ends lines at these, and would lose the rest of the line.
_LINE_ENDS = re.compile("\r\n|[\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_decode_items = msgspec.json.Decoder(list[Raw]).decode
_decode = msgspec.json.decode

RenderValue = Callable[[bytes | None, Sequence[StoredFile]], Raw]


class SharedFrames:
    """Frames that several readers get, without their ids: made once. Forgets the oldest over a limit."""

    def __init__(self, limit_bytes: int = 4 * 1024 * 1024) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._kept: dict[tuple[str, int, int], bytes] = {}

    def get(self, key: tuple[str, int, int], make: Callable[[Event], bytes], event: Event) -> bytes:
        """The body of an event, by prediction, attempt and sequence."""
        body = self._kept.get(key)
        if body is None:
            body = make(event)
            self._kept[key] = body
            self._bytes += len(body)
            while self._bytes > self._limit_bytes:
                self._bytes -= len(self._kept.pop(next(iter(self._kept))))
        return body


class Frames:
    """One reader's place in one prediction. Feed it what the coordinator says; it gives the bytes to send.

    What ``take`` and ``finish`` give must be used up: the place moves with it.
    """

    def __init__(self, render: RenderValue, place: Place = START, shared: SharedFrames | None = None) -> None:
        self._render = render
        self._shared = shared or SharedFrames()
        self._lost = False
        self.place = place._replace(ended=False)
        self.ended = False
        """``done`` was made: nothing follows."""

    def take(self, events: Events) -> Iterator[bytes]:
        """The frames for what came after the place."""
        document = events.document
        if events.attempt and events.attempt != self.place.attempt:
            if self.place.items:
                # A terminal document may still be the reader's own attempt, reported late.
                yield from self.finish(document) if document.status.terminal else self._replaced()
                return
            self.place, self._lost = Place(events.attempt), False
        # What is lost from the middle comes from the document at the end, so that the order is kept.
        self._lost = self._lost or events.lost
        yield from self._news(document)
        for event in () if self._lost else events.events:
            if event.seq > self.place.seq:
                yield from self._event(document.id, event)
        if document.status.terminal:
            yield from self.finish(document)

    def finish(self, document: Document) -> Iterator[bytes]:
        """The frames that an ended prediction still owes the reader, ``done`` included."""
        attempt = _attempt_of(document)
        if self.place.items and attempt not in (0, self.place.attempt):
            yield from self._replaced()
            return
        if attempt and attempt != self.place.attempt:
            self.place = Place(attempt)
        if rest := document.logs[self.place.logs :]:
            self.place = self.place._replace(logs=self.place.logs + len(rest))
            yield self._frame(framed("logs", rest))
        items = _items(document)
        for item in items[self.place.items :]:
            self.place = self.place._replace(seq=self.place.seq + 1, items=self.place.items + 1)
            yield self._frame(self._output(bytes(item), document.files))
        yield from self._last(document)
        if document.status is Status.FAILED:
            yield from self._end("error", document.error or "The prediction failed.")
        elif document.status is Status.CANCELED:
            yield from self._end("canceled")
        else:
            yield from self._end()

    def _event(self, prediction: str, event: Event) -> Iterator[bytes]:
        place = self.place._replace(seq=event.seq)
        if event.kind == "output":
            self.place = place._replace(items=place.items + 1)
            key = (prediction, place.attempt, event.seq)
            yield self._frame(self._shared.get(key, lambda one: self._output(one.data, one.files), event))
        elif event.kind == "logs":
            text = text_of(event.data)
            self.place = place._replace(logs=place.logs + len(text))
            if text:  # the agent empties the oldest when there are too many
                yield self._frame(framed("logs", text))
        else:
            self.place = place

    def _output(self, item: bytes | Raw, files: Sequence[StoredFile]) -> bytes:
        return framed("output", text_of(self._render(bytes(item), files)))

    def _news(self, document: Document) -> Iterator[bytes]:
        """What is to be said of the prediction itself, before its events."""
        return iter(())

    def _last(self, document: Document) -> Iterator[bytes]:
        """What is to be said of an ended one, after its events."""
        return iter(())

    def _replaced(self) -> Iterator[bytes]:
        return self._end("error", REPLACED)

    def _end(self, reason: str = "", detail: str = "") -> Iterator[bytes]:
        if detail:
            yield self._frame(framed("error", as_json({"detail": detail})))
        self.place = self.place._replace(ended=True)
        self.ended = True
        yield self._frame(framed("done", as_json({"reason": reason} if reason else {})))

    def _frame(self, body: bytes) -> bytes:
        return b"id: %s\n%s" % (self.place.id.encode(), body)


def saw_the_end(place: Place, document: Document) -> bool:
    """Whether the reader comes back though it was told the end, and there is nothing new to tell."""
    current = document.attempts[-1].number if document.attempts else 0
    return place.ended and (document.status.terminal or place.attempt != current)


def framed(event: str, data: str) -> bytes:
    """An event without its id."""
    lines = "".join(f"data: {line}\n" for line in _LINE_ENDS.split(data))
    return f"event: {event}\n{lines}\n".encode("utf-8", "replace")


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _attempt_of(document: Document) -> int:
    """The attempt that an ended prediction's output is of."""
    finished = [attempt.number for attempt in document.attempts if attempt.outcome == "finished"]
    return max(finished, default=document.attempts[-1].number if document.attempts else 0)


def _items(document: Document) -> list[Raw]:
    """An ended prediction's output as events: the items of a list, or all of it as one."""
    output = document.output
    if output is None or output == b"null":
        return []
    return _decode_items(output) if output.startswith(b"[") else [Raw(output)]


def text_of(value: Raw) -> str:
    """A string as it is, any other JSON as JSON."""
    raw = bytes(value)
    if not raw.startswith(b'"'):
        return raw.decode("utf-8", "replace")
    try:
        return str(_decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError):  # escapes that are no Unicode: an agent may send them
        return raw.decode("utf-8", "replace")
