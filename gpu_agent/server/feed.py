"""The events of one prediction, numbered, for those who stream it: the newest ones are kept for replay."""

import asyncio
from collections import deque
from typing import Any, NamedTuple

LOG_BYTES = 1 << 20
"""Log text that the events of one prediction hold at most; output is held by the prediction anyway."""
LIVE = 1024
"""Events that a stream may be behind when none are kept for replay."""


class Event(NamedTuple):
    number: int
    kind: str
    data: Any
    """To be encoded as JSON; bytes are JSON already."""


class Feed:
    """Numbers go up from 1. ``ended`` once the last event is there."""

    def __init__(self, capacity: int) -> None:
        self.replays = capacity > 0
        self.last = 0
        self.ended = False
        self.streams = 0
        """How many are being sent of it. Written by the routes, as the next one."""
        self.owned = False
        """A stream made the prediction: without one it is of no use."""
        self._kept: deque[Event] = deque(maxlen=capacity or LIVE)
        self._log_length = 0
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, kind: str, data: Any) -> None:
        """Note an event; ``tell`` once after the last of several."""
        self.last += 1
        if kind == "log":
            self._log_length += len(data["data"])
        if len(self._kept) == self._kept.maxlen or self._log_length > LOG_BYTES:
            self._drop()
        self._kept.append(Event(self.last, kind, data))

    def _drop(self) -> None:
        while self._kept:
            gone = self._kept.popleft()
            if gone.kind == "log":
                self._log_length -= len(gone.data["data"])
            if self._log_length <= LOG_BYTES:
                return

    def end(self, kind: str, data: Any) -> None:
        self.add(kind, data)
        self.ended = True
        self.tell()

    def tell(self) -> None:
        """Wake those who wait for events."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def start(self) -> int:
        """The number after which a stream without a past begins."""
        return 0 if self.replays else self.last

    def since(self, number: int) -> tuple[list[Event], int]:
        """The events after this number, and how many before them are gone."""
        oldest = self.last - len(self._kept)
        missed = max(0, oldest - number)
        return [event for event in self._kept if event.number > number] if number < self.last else [], missed

    def more(self) -> "asyncio.Future[None]":
        """Resolved when there is a new event. Cancelling it is safe."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter
