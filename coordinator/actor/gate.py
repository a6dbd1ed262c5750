"""The output gate: nothing leaves an object before the writes that it depends on are durable.

Turns that write are numbered. An output of turn n waits until turn n is durable. An output that needs no
durability passes at once, unless one to the same destination still waits: then it waits behind it.
"""

from collections import deque
from collections.abc import Callable, Hashable

Release = Callable[[], None]

_SLACK = 1000
"""Destinations that are remembered beyond those that wait, before the others are forgotten."""


class Gate:
    """Holds the outputs of one instance. Pure: told of turns and commits, calls ``Release`` in order."""

    def __init__(self) -> None:
        self._durable = 0
        self._held: deque[tuple[int, Release]] = deque()
        self._last: dict[Hashable, int] = {}
        """The turn that the last output to a destination waits for, or waited."""

    @property
    def empty(self) -> bool:
        return not self._held

    def passes(self, turn: int) -> bool:
        """Whether an output that depends on this turn may leave now."""
        return turn <= self._durable

    def hold(self, turn: int, destination: Hashable, release: Release) -> None:
        """Let out once ``turn`` is durable; at once if it is."""
        if turn <= self._durable and self._last.get(destination, 0) <= self._durable:
            release()
            return
        held = self._held
        if held and held[-1][0] > turn:
            turn = held[-1][0]
        held.append((turn, release))
        self._last[destination] = turn

    def overtake_nothing(self, destination: Hashable, release: Release) -> None:
        """Let out at once, or behind what the same destination still waits for."""
        self.hold(self._last.get(destination, 0), destination, release)

    def durable(self, turn: int) -> None:
        """Everything up to this turn is durable: let out what waited for it, in order."""
        self._durable = turn
        held = self._held
        while held and held[0][0] <= turn:
            held.popleft()[1]()
        if len(self._last) > len(held) + _SLACK:
            self._last = {destination: last for destination, last in self._last.items() if last > turn}

    def discard(self) -> None:
        """The instance is dead: what waits was never said."""
        self._held.clear()
        self._last.clear()
