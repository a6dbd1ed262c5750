"""Who runs next, and where. Pure: queue and sessions in, assignment out.

Order is a persisted rank (class, sequence); what goes back keeps its rank and so stands at the head.
A prediction pinned to a version waits for a session of that version and holds up nobody else.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar


class Rank(NamedTuple):
    """Lower goes first."""

    urgency: int
    sequence: int


class Offer(Protocol):
    """A session with a slot to give."""

    @property
    def agent(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def free(self) -> int:
        """Slots that the session would take now."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One queued prediction. ``version`` is empty when any will do; ``avoid`` is the agent that lost it."""

    id: str
    rank: Rank
    version: str = ""
    avoid: str = ""
    input_bytes: int = 0


class Queue:
    """What waits for one model, by rank and version."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}
        self._heaps: dict[str, list[tuple[Rank, str]]] = {}
        self.input_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, prediction: str) -> bool:
        return prediction in self._waiting

    def add(self, waiting: Waiting) -> None:
        if waiting.id in self._waiting:
            raise ValueError(f"{waiting.id} waits already")
        self._waiting[waiting.id] = waiting
        self.input_bytes += waiting.input_bytes
        heapq.heappush(self._heaps.setdefault(waiting.version, []), (waiting.rank, waiting.id))

    def discard(self, prediction: str) -> None:
        """Take out; nothing happens when it is not there."""
        waiting = self._waiting.pop(prediction, None)
        if waiting is not None:
            self.input_bytes -= waiting.input_bytes

    def head(self, version: str) -> Waiting | None:
        """The next one pinned to this version, or with the empty string the next unpinned one."""
        heap = self._heaps.get(version)
        while heap:
            rank, prediction = heap[0]
            waiting = self._waiting.get(prediction)
            if waiting is not None and waiting.rank == rank and waiting.version == version:
                return waiting
            heapq.heappop(heap)
        self._heaps.pop(version, None)
        return None


OfferT = TypeVar("OfferT", bound=Offer)


def pick(queue: Queue, offers: Iterable[OfferT]) -> tuple[Waiting, OfferT] | None:
    """The lowest rank that any offer can serve, with the best offer for it: not the agent that lost it, if
    another offers; then the one with most free slots."""
    best: tuple[Rank, bool, int] | None = None
    chosen: tuple[Waiting, OfferT] | None = None
    unpinned = queue.head("")
    for offer in offers:
        pinned = queue.head(offer.version)
        waiting = pinned if unpinned is None or (pinned and pinned.rank < unpinned.rank) else unpinned
        if waiting is None:
            continue
        order = (waiting.rank, offer.agent == waiting.avoid, -offer.free)
        if best is None or order < best:
            best, chosen = order, (waiting, offer)
    return chosen
