"""What an agent has sent again for readers who are further behind than memory goes. Pure.

The agent holds the unfinished output; here is one batch of it at a time, for whoever is at that place.
"""

from coordinator.calls import SocketAddress
from coordinator.protocol.messages import Event

_KEPT_BYTES = 1024 * 1024
"""Agents send a quarter of it; more than this of a batch is dropped."""


class Recall:
    """Of one open attempt. Readers at different places take turns: one question is under way at a time."""

    def __init__(self) -> None:
        self._asked: tuple[SocketAddress, int] | None = None
        self._from_seq = 0
        self._events: tuple[Event, ...] = ()

    def after(self, seq: int) -> tuple[Event, ...]:
        """The events after ``seq``, if they are here."""
        if not self._events or not self._from_seq <= seq + 1 <= self._events[-1].seq:
            return ()
        return tuple(event for event in self._events if event.seq > seq)

    def asks(self, address: SocketAddress, from_seq: int) -> bool:
        """Whether the agent is to be asked now; then it counts as asked, by this session alone."""
        if self._asked is not None and self._asked[0] == address:
            return False
        self._asked = (address, from_seq)
        return True

    def give_up(self) -> None:
        """The answer has not come in time: the next reader asks again."""
        self._asked = None

    def take(self, from_seq: int, events: list[Event]) -> bool:
        """What came from the agent; False when it is not the answer. ``events`` are without those that are
        not to be shown."""
        if self._asked is None or self._asked[1] != from_seq:
            return False
        self._asked, self._from_seq = None, from_seq
        length = 0
        kept: list[Event] = []
        for event in events:
            length += len(event.data)
            if kept and length > _KEPT_BYTES:
                break
            kept.append(event)
        self._events = tuple(kept)
        return True
