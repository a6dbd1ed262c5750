"""The events of one running attempt, all of them, numbered, so that they can be sent again from anywhere.

Outputs are held whole (their sum is bounded by the result limit). Log text is bounded too: the text of the
oldest log events gives way, but their numbers stay.
"""

from collections import deque
from typing import Literal

import msgspec

from coordinator.protocol.messages import Event, StoredFile

Kind = Literal["output", "logs", "metrics"]

BATCH_BYTES = 256 * 1024
"""About how much goes into one progress message."""


class EventLog:
    """Numbered events from 1 on."""

    def __init__(self, log_bytes: int) -> None:
        self._log_limit_bytes = log_bytes
        self._log_bytes = 0
        self._logs: deque[int] = deque()
        self._events: list[Event] = []

    @property
    def last(self) -> int:
        """Number of the newest event; 0 when there is none."""
        return len(self._events)

    def add_output(self, data: bytes, files: tuple[StoredFile, ...]) -> None:
        self._add("output", data, files)

    def add_metrics(self, data: bytes) -> None:
        self._add("metrics", data)

    def add_logs(self, text: str) -> None:
        data = msgspec.json.encode(text)
        self._add("logs", data)
        self._logs.append(self.last)
        self._log_bytes += len(data)
        while self._log_bytes > self._log_limit_bytes and len(self._logs) > 1:
            oldest = self._logs.popleft() - 1
            self._log_bytes -= len(bytes(self._events[oldest].data))
            self._events[oldest] = msgspec.structs.replace(self._events[oldest], data=msgspec.Raw(b'""'))

    def batch(self, from_seq: int) -> tuple[Event, ...]:
        """The next events from this number on that make one message; empty when there is nothing."""
        length = 0
        found: list[Event] = []
        for index in range(max(from_seq, 1) - 1, len(self._events)):
            length += len(bytes(self._events[index].data))
            if found and length > BATCH_BYTES:
                break
            found.append(self._events[index])
        return tuple(found)

    def outputs(self) -> tuple[list[msgspec.Raw], tuple[StoredFile, ...]]:
        """Every output in order, and every file in order of appearance."""
        outputs = [event for event in self._events if event.kind == "output"]
        return [event.data for event in outputs], tuple(file for event in outputs for file in event.files)

    def _add(self, kind: Kind, data: bytes, files: tuple[StoredFile, ...] = ()) -> None:
        self._events.append(Event(seq=self.last + 1, kind=kind, data=msgspec.Raw(data), files=files))


def last_part(text: str, limit_bytes: int) -> str:
    """The text, or when it is over the limit its end with a mark in front. Never over the limit."""
    data = text.encode(errors="replace")
    if len(data) <= limit_bytes:
        return data.decode()
    mark = f"[{len(data) - limit_bytes} or more bytes of earlier logs left out]\n"
    return mark + data[len(data) - limit_bytes + len(mark) :].decode(errors="ignore")
