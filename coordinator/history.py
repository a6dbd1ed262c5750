"""What a running prediction has said so far, in bounded memory. Pure."""

import itertools
from collections import deque

import msgspec

from coordinator.protocol.messages import Event, StoredFile

_EVENT_BYTES = 120
"""Memory of an event besides its data."""
_decode_text = msgspec.json.Decoder(str).decode


def _cost(event: Event) -> int:
    return len(event.data) + _EVENT_BYTES


def _text(data: msgspec.Raw) -> str:
    """A JSON string; nothing for what an agent says that is none."""
    try:
        return _decode_text(data)
    except msgspec.DecodeError:
        return ""


class Recent:
    """The last events of one attempt, oldest first. Over the limit the oldest are forgotten."""

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
        self._bytes += _cost(event)
        while self._bytes > self._limit_bytes and len(self._events) > 1:
            self._bytes -= _cost(self._events.popleft())
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
        lengths = itertools.accumulate(map(_cost, events))
        fitting = sum(1 for _ in itertools.takewhile(lambda length: length <= limit_bytes, lengths))
        return events[: max(1, fitting)], missing


class History(Recent):
    """With the first outputs beside them, up to the same limit: clients that poll take the list of outputs
    for one that only grows."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self._first: list[Event] = []
        self._first_bytes = 0
        """Over the limit once an output had no room: then no later one is taken."""

    def add(self, event: Event) -> bool:
        if not super().add(event):
            return False
        if event.kind == "output" and self._first_bytes <= self._limit_bytes:
            self._first_bytes += _cost(event)
            if self._first_bytes <= self._limit_bytes or not self._first:
                self._first.append(event)
        return True

    def output(self) -> bytes | None:
        """The yielded items as a JSON list, as far as there is room; None when there were none."""
        items = [bytes(event.data) for event in self._first]
        return b"[" + b",".join(items) + b"]" if items else None

    def logs(self) -> str:
        """What is left of them."""
        return "".join(_text(event.data) for event in self._events if event.kind == "logs")

    def files(self) -> tuple[StoredFile, ...]:
        """Those of ``output``."""
        return tuple(file for event in self._first for file in event.files)


class _Nothing(History):
    def add(self, event: Event) -> bool:
        raise TypeError("this history is of predictions that have not begun")


NOTHING = _Nothing(0)
"""The history of every prediction that has not begun: they share it, for there may be many."""
