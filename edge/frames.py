"""What a reader of an event stream gets: events and documents to Server-Sent Events. Pure.

Clients decide the rules: an id on every event, four event names only, comments as heartbeats, one space
after ``data:``. An event's id is ``attempt:seq``. Where the number of output items that the reader has by
then is not ``seq``, it follows as ``.n``: a reader that comes back after the end gets exactly the rest.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from coordinator.calls import Events
from coordinator.prediction import Document, Status
from coordinator.protocol.messages import StoredFile

HELLO = b": hi\n\n"
HEARTBEAT = b": still here\n\n"
REPLACED = "The worker was lost and the prediction runs again from its start: read it again."
_EVENT_ID = re.compile(r"(\d{1,9}):(\d{1,15})(?:\.(\d{1,15}))?")
# The Python client's parser also ends lines at these, and would lose the rest of the line.
_LINE_ENDS = re.compile("\r\n|[\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_decode_items = msgspec.json.Decoder(list[Raw]).decode
_decode = msgspec.json.decode

RenderValue = Callable[[bytes | None, Sequence[StoredFile]], Raw]


class Frames:
    """One reader's place in one prediction. Feed it what the coordinator says; it gives the bytes to send."""

    def __init__(self, render: RenderValue, last_event_id: str = "") -> None:
        self._render = render
        self._attempt = 0
        self._seq = 0
        self._items = 0
        self._lost = False
        self.ended = False
        """``done`` was made: nothing follows."""
        match = _EVENT_ID.fullmatch(last_event_id)
        if match is not None:
            self._attempt, self._seq = int(match[1]), int(match[2])
            self._items = self._seq if match[3] is None else int(match[3])

    @property
    def cursor(self) -> str:
        """Where to listen from."""
        return f"{self._attempt}:{self._seq}" if self._attempt else ""

    def saw_the_end(self, document: Document) -> bool:
        """Whether the reader comes back with the id of the last event of this ended prediction."""
        return self._attempt != 0 and self._items > len(_items(document))

    def take(self, events: Events) -> bytes:
        """The frames for what came after the cursor."""
        if events.attempt and events.attempt != self._attempt:
            if self._items:
                # A terminal document may still be the reader's own attempt, reported late.
                return self.finish(events.document) if events.document.status.terminal else self._replaced()
            self._attempt, self._seq, self._lost = events.attempt, 0, False
        # What is lost from the middle comes from the document at the end, so that the order is kept.
        self._lost = self._lost or events.lost
        frames = []
        if not self._lost:
            for event in events.events:
                if event.seq <= self._seq:
                    continue
                self._seq = event.seq
                if event.kind == "output":
                    self._items += 1
                    frames.append(self._frame("output", _text(self._render(bytes(event.data), event.files))))
                elif event.kind == "logs":
                    frames.append(self._frame("logs", _text(event.data)))
        if events.document.status.terminal:
            frames.append(self.finish(events.document))
        return b"".join(frames)

    def finish(self, document: Document) -> bytes:
        """The frames that an ended prediction still owes the reader, ``done`` included."""
        attempt = _attempt_of(document)
        if self._items and attempt not in (0, self._attempt):
            return self._replaced()
        frames = []
        if not self._seq:
            self._attempt = attempt
            if document.logs:
                frames.append(self._frame("logs", document.logs))
        for item in _items(document)[self._items :]:
            self._seq += 1
            self._items += 1
            frames.append(self._frame("output", _text(self._render(bytes(item), document.files))))
        if document.status is Status.FAILED:
            frames.append(self._end("error", document.error or "The prediction failed."))
        elif document.status is Status.CANCELED:
            frames.append(self._end("canceled"))
        else:
            frames.append(self._end())
        return b"".join(frames)

    def _replaced(self) -> bytes:
        return self._end("error", REPLACED)

    def _end(self, reason: str = "", detail: str = "") -> bytes:
        self.ended = True
        # One more than there are: a browser that connects again with this id is told to stop.
        self._seq += 1
        self._items += 1
        error = self._frame("error", _json({"detail": detail})) if detail else b""
        return error + self._frame("done", _json({"reason": reason} if reason else {}))

    def _frame(self, event: str, data: str) -> bytes:
        id = f"{self._attempt}:{self._seq}"
        if self._items != self._seq:
            id = f"{id}.{self._items}"
        lines = "".join(f"data: {line}\n" for line in _LINE_ENDS.split(data))
        return f"event: {event}\nid: {id}\n{lines}\n".encode("utf-8", "replace")


def _attempt_of(document: Document) -> int:
    """The attempt that an ended prediction's output is of."""
    finished = [attempt.number for attempt in document.attempts if attempt.outcome == "finished"]
    return max(finished, default=document.attempts[-1].number if document.attempts else 0)


def _items(document: Document) -> list[Raw]:
    if document.output is None or not document.output.startswith(b"["):
        return []
    return _decode_items(document.output)


def _text(value: Any) -> str:
    """A string as it is, any other JSON as JSON."""
    raw = bytes(value)
    return str(_decode(raw)) if raw.startswith(b'"') else raw.decode()


def _json(value: dict[str, str]) -> str:
    return msgspec.json.encode(value).decode()
