"""Predictions by id: those that have not ended, and those that have and can still be looked up, which are
bounded in number, age and bytes."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from gpu_agent.server.prediction import Past, Prediction
from gpu_agent.server.settings import CogServerLimits

OVERHEAD_BYTES = 1024
"""What a prediction costs besides its JSON."""


@dataclass(frozen=True, slots=True)
class _Kept:
    past: Past
    ended_at: float
    size: int


class History:
    """The last ended predictions, by id. A later one of the same id takes the place of the earlier one."""

    def __init__(self, limits: CogServerLimits) -> None:
        self._limits = limits
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0

    def add(self, past: Past) -> None:
        self._drop(past.id)
        # Its events hold the output once more.
        size = len(past.body) * (1 if past.feed is None else 2) + OVERHEAD_BYTES
        self._kept[past.id] = _Kept(past, time.monotonic(), size)
        self._size += size
        while self._kept and (len(self._kept) > self._limits.kept or self._size > self._limits.kept_bytes):
            self._drop(next(iter(self._kept)))
        self._expire()

    def get(self, id: str) -> Past | None:
        self._expire()
        kept = self._kept.get(id)
        return None if kept is None else kept.past

    def _expire(self) -> None:
        oldest = time.monotonic() - self._limits.kept_s
        while self._kept:
            id, kept = next(iter(self._kept.items()))
            if kept.ended_at >= oldest:
                return
            self._drop(id)

    def _drop(self, id: str) -> None:
        kept = self._kept.pop(id, None)
        if kept is not None:
            self._size -= kept.size


class Book:
    """Of each id the one prediction, whichever model runs it."""

    def __init__(self, limits: CogServerLimits) -> None:
        self.open: dict[str, Prediction] = {}
        """Not yet ended. Written by whoever takes one on, and by ``close``."""
        self.waiting = 0
        """Those without a slot. Written by the queues that they wait in."""
        self._history = History(limits)

    def get(self, id: str) -> Prediction | Past | None:
        """One that has not ended, or that has lately."""
        return self.open.get(id) or self._history.get(id)

    def running(self, id: str) -> Prediction | None:
        """One that has not ended."""
        return self.open.get(id)

    def close(self, prediction: Prediction) -> None:
        """It has ended."""
        del self.open[prediction.id]
        self._history.add(prediction.past())

    def cancel_all(self) -> None:
        for prediction in tuple(self.open.values()):
            prediction.cancel()

    async def finish(self) -> None:
        """Wait until each has ended."""
        while self.open:
            await next(iter(self.open.values())).until_ended()
