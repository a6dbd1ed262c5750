"""Where a waiting prediction stands, and what stands before it. Pure.

The order is made anew at each pick; a position says how many will begin before, if nobody else comes and all
take equally long. What is on a token's shelf is left out: nobody knows whose it is.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from coordinator.scheduling.flow import Needs
from coordinator.scheduling.line import Line
from coordinator.scheduling.shares import Share


@dataclass(frozen=True, slots=True)
class Place:
    ahead: int
    """How many will begin before."""
    of_token: int
    """Those of them that are of the same token."""
    behind_share: bool
    """Others go first because they have had less of their share."""
    held: bool
    """The token runs as many as it may."""


Group = tuple[int, Needs | None]
"""A class, and the needs of those that nothing could serve yet: among others these do not count."""


class Census:
    """How many wait of whom, in each class, at one moment."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._groups: Counter[Group] = Counter()
        """How many, in all."""
        self._shares: Counter[tuple[Group, Share]] = Counter()
        self._below: dict[tuple[Group, Share], dict[Share, None]] = {}
        for line in lines:
            count = len(line) + line.shelf.count
            if not count or line.path[1].held:
                continue
            group = (line.flow.urgency, line.flow.needs) if line.lane is None else (line.lane, None)
            self._groups[group] += count
            for share in line.path:
                self._shares[group, share] += count
                if share.parent is not None:
                    self._below.setdefault((group, share.parent), {})[share] = None

    def place(self, line: Line, before: int, cost_s: float) -> Place:
        """Of one that has so many before it in its line."""
        lane = line.flow.urgency if line.lane is None else line.lane
        rivals: tuple[Group, Group] = ((lane, None), (lane, line.flow.needs))
        ahead, levels, passed = before, [], False
        for share in reversed(line.path):
            begins = share.time + ahead * cost_s / share.weight
            for other in self._siblings(rivals, share):
                waiting = sum(self._shares[group, other] for group in rivals)
                turns = ceil((begins - other.time) * other.weight / cost_s)
                turns += (
                    begins == other.time + turns * cost_s / other.weight and other.rank[1:] < share.rank[1:]
                )
                ahead += max(0, min(turns, waiting))
                passed = passed or (other.time < share.time and turns > 0 and waiting > 0)
            levels.append(ahead)
        needs = (None, line.flow.needs)
        ahead += sum(n for group, n in self._groups.items() if group[0] < lane and group[1] in needs)
        return Place(ahead, of_token=levels[0], behind_share=passed, held=line.path[1].held)

    def _siblings(self, groups: Iterable[Group], share: Share) -> list[Share]:
        if share.parent is None:
            return []
        parent = share.parent
        found = {other: None for group in groups for other in self._below.get((group, parent), ())}
        return [other for other in found if other is not share]
