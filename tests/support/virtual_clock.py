"""A clock that stands still until a test moves it."""

import asyncio
import heapq
import itertools
from collections.abc import Callable

_TURNS_OF_THE_LOOP = 20
"""Enough for what a callback started to reach its next wait."""


async def breathe() -> None:
    """Let every task run that can."""
    for _ in range(_TURNS_OF_THE_LOOP):
        await asyncio.sleep(0)


class _Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """Implements ``actor.clock.Clock``. Timers run in order of time, each with the clock at its time."""

    def __init__(self, now: int = 1_700_000_000_000_000) -> None:
        self._now_at_zero = now
        self._elapsed_s = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _Timer]] = []

    def now(self) -> int:
        return self._now_at_zero + round(self._elapsed_s * 1e6)

    def monotonic(self) -> float:
        return self._elapsed_s

    def call_at(self, monotonic: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (monotonic, next(self._order), timer))
        if monotonic <= self._elapsed_s:
            asyncio.get_running_loop().call_soon(self._run_due)
        return timer

    async def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self._elapsed_s + seconds
        await breathe()
        while self._timers and self._timers[0][0] <= end:
            self._elapsed_s = max(self._elapsed_s, self._timers[0][0])
            self._run_due()
            await breathe()
        self._elapsed_s = end
        await breathe()

    async def stall(self, seconds: float) -> None:
        """The process stands still for that long: afterwards all timers that are due run, late."""
        self._elapsed_s += seconds
        await self.advance(0.0)

    def set_wall_clock(self, by_s: float) -> None:
        """Someone sets the wall clock, back or forth; the monotonic one knows nothing of it."""
        self._now_at_zero += round(by_s * 1e6)

    def _run_due(self) -> None:
        while self._timers and self._timers[0][0] <= self._elapsed_s:
            _, _, timer = heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
