"""Which creations may begin, of those that several may ask for at the same time under one id. Pure.

Who repeats a creation has looked for it: here, where it was unknown, and then in the index. Meanwhile another
may have created it, and it may have run and left for the index. So it begins only in the same life of the
coordinator that did not know it, and only if nobody has begun it in this life.
"""

from collections.abc import Callable

REMEMBERED = 10_000
"""Repeated creations that one life can tell of; with more it is a new life, and everybody looks again."""


class Repeats:
    """``token`` names a life like no other."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token
        self._begun: set[str] = set()
        self.life = token()

    def may_begin(self, prediction: str, life: str) -> bool:
        """Whether what was unknown in that life has not been here since."""
        return life == self.life and prediction not in self._begun

    def began(self, prediction: str) -> None:
        """It is created now: once that has left, it must not be taken for one that never was."""
        if len(self._begun) >= REMEMBERED:
            self._begun.clear()
            self.life = self._token()
        self._begun.add(prediction)
