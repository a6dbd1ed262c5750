"""How fast a backup goes, and whether it is to end."""

import threading
import time

from coordinator.backup.errors import BackupFailed, BackupStopped

BREATH_S = 0.001
"""Shortest rest after each step, in which whoever waits for the same file gets it."""


class Pace:
    """``spend`` is called by the thread of the backup alone, ``stop`` by any other."""

    def __init__(self, rate_bytes: int) -> None:
        self.moved_bytes = 0
        self._rate_bytes = rate_bytes
        self._due = time.monotonic()
        self._limit: tuple[float, str, str] | None = None
        self._stopped = threading.Event()

    def spend(self, count: int) -> None:
        """So many bytes were read or written: rest until that is no more than the rate allows.

        Raises BackupStopped, and BackupFailed once the time of ``limit`` is over.
        """
        now = time.monotonic()
        self.moved_bytes += count
        self._due = max(self._due, now) + count / self._rate_bytes
        if self._stopped.wait(max(self._due - time.monotonic(), BREATH_S)):
            raise BackupStopped("the backup was stopped")
        if self._limit is not None and now > self._limit[0]:
            raise BackupFailed(*self._limit[1:])

    def limit(self, seconds: float, message: str, hint: str) -> None:
        """From now on, until ``unlimited``, there is only so much time."""
        self._limit = (time.monotonic() + seconds, message, hint)

    def unlimited(self) -> None:
        self._limit = None

    def stop(self) -> None:
        """End the backup at its next step. Safe at any time and twice."""
        self._stopped.set()
