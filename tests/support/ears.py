"""The signals of the runner, as a test hears them."""

import os
import select
import signal
import time
from typing import Any

SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Ears:
    """Hears the signals that this process gets, one by one, whatever threads it has beside the main one: to
    block them there, and wait for them, would leave the others to die of them."""

    def __init__(self) -> None:
        self._users = 0
        self._kept: list[Any] = []
        self._wakeup = -1
        self._ends = (-1, -1)

    def open(self) -> None:
        """Counted: the last ``close`` closes."""
        self._users += 1
        if self._users == 1:
            self._ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._kept = [signal.signal(number, lambda *_: None) for number in SIGNALS]
            self._wakeup = signal.set_wakeup_fd(self._ends[1], warn_on_full_buffer=False)

    def close(self) -> None:
        self._users -= 1
        if self._users == 0:
            signal.set_wakeup_fd(self._wakeup)
            for number, handler in zip(SIGNALS, self._kept, strict=True):
                signal.signal(number, handler)
            for end in self._ends:
                os.close(end)

    def hear(self, timeout_s: float, *wanted: signal.Signals) -> signal.Signals | None:
        """The next one, of those wanted alone if some are named; None when there is none in time."""
        deadline = time.monotonic() + timeout_s
        while select.select([self._ends[0]], [], [], max(0.0, deadline - time.monotonic()))[0]:
            number = os.read(self._ends[0], 1)[0]
            if number in (wanted or SIGNALS):
                return signal.Signals(number)
        return None


EARS = Ears()
"""Of this process."""
