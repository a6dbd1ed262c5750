"""What a running prediction has said so far, in bounded memory. Pure."""

import itertools
from collections import deque

import msgspec

from coordinator.protocol.messages import Event, StoredFile

_EVENT_BYTES = 120
"""Memory of an event besides its data."""
_decode_text = msgspec.json.Decoder(str).decode


def _text(data: msgspec.Raw) -> str:
    """A JSON string; nothing for what an agent says that is none."""
    try:
        return _decode_text(data)
    except msgspec.DecodeError:
        return ""


class History:
    """The events of one attempt, oldest first. Over the limit the oldest are forgotten."""

    def __init__(self, limit_bytes: int) -> None:
        self.last_seq = 0
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._events: deque[Event] = deque()

    def add(self, event: Event) -> bool:
        """Keep a new event; False for one that is known already."""
        if event.seq <= self.last_seq:
            return False
        self.last_seq = event.seq
        self._events.append(event)
        self._bytes += len(event.data) + _EVENT_BYTES
        while self._bytes > self._limit_bytes and len(self._events) > 1:
            self._bytes -= len(self._events.popleft().data) + _EVENT_BYTES
        return True

    def after(self, seq: int, limit_bytes: int | None = None) -> tuple[tuple[Event, ...], bool]:
        """The events after ``seq``, and whether some of those are no longer known; with a limit only the
        first of them, about so much."""
        if seq >= self.last_seq:
            return (), False
        missing = self._events[0].seq > seq + 1
        newest_first = itertools.takewhile(lambda event: event.seq > seq, reversed(self._events))
        events = tuple(newest_first)[::-1]
        if limit_bytes is None or len(events) == 1:
            return events, missing
        lengths = itertools.accumulate(len(event.data) + _EVENT_BYTES for event in events)
        fitting = sum(1 for _ in itertools.takewhile(lambda length: length <= limit_bytes, lengths))
        return events[: max(1, fitting)], missing

    def output(self) -> bytes | None:
        """The yielded items so far as a JSON list; None when there were none."""
        items = [bytes(event.data) for event in self._events if event.kind == "output"]
        return b"[" + b",".join(items) + b"]" if items else None

    def logs(self) -> str:
        return "".join(_text(event.data) for event in self._events if event.kind == "logs")

    def files(self) -> tuple[StoredFile, ...]:
        return tuple(file for event in self._events for file in event.files)


class _Nothing(History):
    def add(self, event: Event) -> bool:
        raise TypeError("this history is of predictions that have not begun")


NOTHING = _Nothing(0)
"""The history of every prediction that has not begun: they share it, for there may be many."""
