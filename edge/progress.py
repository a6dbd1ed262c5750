"""Tells a person at a terminal, or a log, how far a long command is."""

import sys
import time

SHOW_S = 0.1
"""Shortest time between two looks on a terminal; elsewhere each step is one line."""


class Progress:
    """On stderr. ``end`` before anything else is printed."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._step = ""
        self._shown_at = 0.0

    def show(self, step: str, done: int, total: int) -> None:
        """So many of so many; 0 when it is not known how many there are."""
        if not self._terminal:
            if step != self._step:
                self._step = step
                print(f"cogflare: {step} ...", file=sys.stderr)
            return
        now = time.monotonic()
        if step == self._step and now - self._shown_at < SHOW_S:
            return
        self._step, self._shown_at = step, now
        count = f" {done} of {total}" if total else f" {done}" if done else ""
        print(f"\r\x1b[K{step}{count}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._terminal and self._step:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._step = ""
