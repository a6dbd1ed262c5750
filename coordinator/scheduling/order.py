"""Which line is served next. Pure: time and offers come in as arguments.

Only needs that something could serve once take part: who waits for hardware that is not there saves nothing.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from coordinator.scheduling.flow import Needs, Offer
from coordinator.scheduling.lanes import Seat
from coordinator.scheduling.line import Line
from coordinator.scheduling.shares import Share

CLASSES = 3
_SLACK = 64
"""The heap of ageing is rebuilt once more than half of it, and this many, are out of date."""


class Order:
    """The lines of a queue by class, age, need and share."""

    def __init__(self, root: Share, ageing_s: float) -> None:
        self._root = root
        self._ageing = round(ageing_s * 1e6)
        self._now = 0
        self._lanes: tuple[dict[Needs, Seat], ...] = tuple({} for _ in range(CLASSES))
        self._needs: defaultdict[str, dict[Needs, dict[Line, None]]] = defaultdict(dict)
        """Version -> needs of it -> the lines that have them."""
        self._met: set[Needs] = set()
        self._lines: dict[Line, None] = {}
        self._older: list[tuple[int, int, Line]] = []
        """When which line gains a class."""
        self._aged = 0

    def open(self, line: Line) -> None:
        """A new line: ``place`` it once something waits in it."""
        self._lines[line] = None
        needs = line.flow.needs
        self._needs[needs.version].setdefault(needs, {})[line] = None

    def close(self, line: Line) -> None:
        """Nothing of it waits any more."""
        del self._lines[line]
        self._move(line, None)
        needs = line.flow.needs
        lines = self._needs[needs.version]
        del lines[needs][line]
        if not lines[needs]:
            del lines[needs]
            self._met.discard(needs)
        if not lines:
            del self._needs[needs.version]

    def place(self, line: Line) -> None:
        """After its head may have changed: the lane that it belongs to by now."""
        if not line:
            self._move(line, None)
            return
        if line.flow.needs not in self._met:
            return
        head = line.head
        age = max(0, self._now - head.since) // self._ageing
        self._move(line, max(0, line.flow.urgency - age))
        ages_at = head.since + (age + 1) * self._ageing
        if line.lane and line.ages_at != ages_at:
            line.ages_at = ages_at
            self._aged += 1
            heapq.heappush(self._older, (ages_at, self._aged, line))
            if len(self._older) > _SLACK and len(self._older) > 2 * self._root.waiting:
                self._older = [item for item in self._older if self._ages(*item)]
                heapq.heapify(self._older)

    def _move(self, line: Line, lane: int | None) -> None:
        """Into the new lane first: who only changes lanes has not been idle."""
        old, line.lane = line.lane, lane
        needs = line.flow.needs
        if lane is not None:
            seat = self._lanes[lane].get(needs)
            if seat is None:
                seat = self._lanes[lane][needs] = Seat(self._root)
            seat.join(line)
        if old is not None and old != lane:
            seat = self._lanes[old][needs]
            seat.leave(line)
            if seat.empty:
                del self._lanes[old][needs]

    @staticmethod
    def _ages(at: int, _: int, line: Line) -> bool:
        return bool(line.lane) and line.ages_at == at

    def grow_older(self, now: int) -> None:
        self._now = max(self._now, now)
        while self._older and self._older[0][0] <= self._now:
            item = heapq.heappop(self._older)
            if self._ages(*item):
                self.place(item[2])

    def first(self, offers: Sequence[Offer]) -> Line | None:
        """The line to be served next, of those that any offer can serve."""
        if len(self._lines) == 1:
            (line,) = self._lines
            if line.lane is None:  # nobody to compare it with, so it needs no place
                able = bool(line) and not line.path[1].held and _any_meets(line.flow.needs, offers)
                return line if able else None
        servable = self._servable(offers)
        for lanes in self._lanes:
            best: tuple[tuple[Any, ...], Line] | None = None
            for needs in servable:
                found = lanes[needs].first() if needs in lanes else None
                if found is not None and (best is None or found[0] < best[0]):
                    best = found
            if best is not None:
                return best[1]
        return None

    def _servable(self, offers: Sequence[Offer]) -> list[Needs]:
        versions = {"", *(offer.version for offer in offers)}
        wanted = [needs for version in versions for needs in self._needs.get(version, ())]
        servable = [needs for needs in wanted if _any_meets(needs, offers)]
        for needs in servable:
            if needs not in self._met:
                self._met.add(needs)
                for line in sorted(self._needs[needs.version][needs], key=_arrival):
                    self.place(line)
        return servable


def _any_meets(needs: Needs, offers: Iterable[Offer]) -> bool:
    return any(needs.met_by(offer.version, offer.gpus) for offer in offers)


def _arrival(line: Line) -> int:
    return line.head.sequence if line else 0
