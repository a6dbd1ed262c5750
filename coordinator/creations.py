"""Which creations the control index may not have yet. Pure.

Every prediction is told to the index when it is created, in the order of its place. Up to the ``watermark``
the index has all of them, for good: it is persisted, so that a load tells again only what is above it,
however much waits. What waits on disk is told again a page at a time.
"""

import heapq


class Creations:
    """The creations of one coordinator."""

    def __init__(self) -> None:
        self._last = 0
        self._places: dict[str, int] = {}
        self._untold: set[int] = set()
        self._in_order: list[int] = []
        self._again_after: int | None = None
        self._again_until = 0

    def __len__(self) -> int:
        """How many are on their way to the index."""
        return len(self._places)

    def load(self, watermark: int, last: int) -> None:
        """Take up where the last instance was: between these places there may be some to be told again."""
        self._last = max(watermark, last)
        if last > watermark:
            self._again_after, self._again_until = watermark, last

    def told(self, prediction: str, place: int) -> None:
        """It is on its way to the index."""
        self._last = max(self._last, place)
        if self._places.setdefault(prediction, place) != place:
            raise ValueError(f"{prediction} has a place already")
        if place not in self._untold:
            self._untold.add(place)
            heapq.heappush(self._in_order, place)

    def must_be_told_again(self, place: int) -> bool:
        """Whether the index may lack one of an earlier instance that nobody has told again yet."""
        return self._again_after is not None and self._again_after < place <= self._again_until

    def indexed(self, prediction: str) -> None:
        """The index has it."""
        self._untold.discard(self._places.pop(prediction, 0))
        while self._in_order and self._in_order[0] not in self._untold:
            heapq.heappop(self._in_order)

    @property
    def watermark(self) -> int:
        """The highest place up to which the index has every creation."""
        known = self._in_order[0] - 1 if self._in_order else self._last
        return known if self._again_after is None else min(known, self._again_after)

    # --- after a load -------------------------------------------------------------------------------------

    @property
    def page(self) -> tuple[int, int] | None:
        """(after, up to) which place some wait to be told again; None when there are no more."""
        return None if self._again_after is None else (self._again_after, self._again_until)

    def paged(self, last: int | None) -> None:
        """Everything up to this place has been told again; None: there are no more."""
        self._again_after = last if last is not None and last < self._again_until else None
