"""The output gate: nothing leaves an object before the writes that it depends on are durable.

Turns that write are numbered. An output of turn n waits until turn n is durable. An output that needs no
durability passes at once, unless one to the same destination still waits: then it waits behind it.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable

Release = Callable[[], None]


class Gate:
    """Holds the outputs of one instance. Pure: told of turns and commits, calls ``Release`` in order."""

    def __init__(self) -> None:
        self._durable = 0
        self._held: deque[tuple[int, Hashable, Release]] = deque()
        self._waiting: Counter[Hashable] = Counter()

    @property
    def empty(self) -> bool:
        return not self._held

    def passes(self, turn: int) -> bool:
        """Whether an output that depends on this turn may leave now."""
        return turn <= self._durable

    def hold(self, turn: int, destination: Hashable, release: Release) -> None:
        """Let out once ``turn`` is durable; at once if it is."""
        if turn <= self._durable and not self._waiting[destination]:
            release()
            return
        self._held.append((max(turn, self._held[-1][0] if self._held else 0), destination, release))
        self._waiting[destination] += 1

    def overtake_nothing(self, destination: Hashable, release: Release) -> None:
        """Let out at once, or behind what the same destination still waits for."""
        if not self._waiting.get(destination):
            release()
            return
        self._held.append((self._held[-1][0], destination, release))
        self._waiting[destination] += 1

    def durable(self, turn: int) -> None:
        """Everything up to this turn is durable: let out what waited for it, in order."""
        self._durable = turn
        while self._held and self._held[0][0] <= turn:
            _, destination, release = self._held.popleft()
            self._waiting[destination] -= 1
            if not self._waiting[destination]:
                del self._waiting[destination]
            release()

    def discard(self) -> None:
        """The instance is dead: what waits was never said."""
        self._held.clear()
        self._waiting.clear()
