"""Members in the order of a rank that changes. Pure."""

import heapq
from typing import Any, Generic, TypeVar

M = TypeVar("M")

_SLACK = 16
"""A heap is rebuilt once more than half of it, and this many, are out of date."""


class Ranking(Generic[M]):
    """The member with the lowest rank first; no two have the same. A change costs O(log n), to ask for the
    first costs nothing that a change has not paid for."""

    __slots__ = ("_changes", "_heap", "ranks")

    def __init__(self) -> None:
        self.ranks: dict[M, tuple[Any, ...]] = {}
        self._heap: list[tuple[tuple[Any, ...], int, M]] = []
        self._changes = 0

    def __len__(self) -> int:
        return len(self.ranks)

    def set(self, member: M, rank: tuple[Any, ...]) -> None:
        """Give a member its rank, whether it had one or not."""
        if self.ranks.get(member) == rank:
            return
        self.ranks[member] = rank
        self._changes += 1
        heapq.heappush(self._heap, (rank, self._changes, member))
        if len(self._heap) > 2 * len(self.ranks) + _SLACK:
            self._heap = [(rank, n, member) for n, (member, rank) in enumerate(self.ranks.items())]
            heapq.heapify(self._heap)
            self._changes = len(self._heap)

    def remove(self, member: M) -> None:
        """Take out; nothing happens when it is not there."""
        self.ranks.pop(member, None)

    def first(self) -> M | None:
        heap = self._heap
        while heap:
            rank, _, member = heap[0]
            if self.ranks.get(member) == rank:
                return member
            heapq.heappop(heap)
        return None
