"""Time, as the runtime sees it: injected, so that tests can move it."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    def now(self) -> int:
        """Wall clock, microseconds since the epoch. For what people read and what must survive a restart."""

    def monotonic(self) -> float:
        """Seconds that never jump. For leases and time-outs."""

    def call_at(self, monotonic: float, callback: Callable[[], None]) -> Timer:
        """Call back once ``monotonic()`` has reached that time."""


class SystemClock:
    """The machine's clocks and the running loop's timers."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def call_at(self, monotonic: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(max(0.0, monotonic - time.monotonic()), callback)


async def sleep(clock: Clock, seconds: float) -> None:
    """Return after that many seconds of the clock."""
    over = asyncio.Event()
    timer = clock.call_at(clock.monotonic() + seconds, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()
