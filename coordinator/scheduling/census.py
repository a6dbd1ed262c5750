"""Where a waiting prediction stands, and what stands before it. Pure.

The order is made anew at each pick; a position says how many will begin before, if nobody else comes and all
take equally long. What is on a token's shelf is left out: nobody knows whose it is.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from coordinator.scheduling.line import Line
from coordinator.scheduling.shares import Share


@dataclass(frozen=True, slots=True)
class Place:
    ahead: int
    """How many will begin before."""
    of_token: int
    """Those of them that are of the same token."""
    behind_share: bool
    """Others go first though they came later: theirs have had less."""
    held: bool
    """The token runs as many as it may."""


class Census:
    """How many wait of whom, in each class, at one moment."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._urgent: Counter[int] = Counter()
        """Class -> how many, in all."""
        self._shares: Counter[tuple[int, Share]] = Counter()
        """Class, share -> how many."""
        self._below: dict[tuple[int, Share], dict[Share, None]] = {}
        for line in lines:
            count = len(line) + line.shelf.count
            if line.lane is None or not count or line.path[1].held:
                continue
            self._urgent[line.lane] += count
            for share in line.path:
                self._shares[line.lane, share] += count
                if share.parent is not None:
                    self._below.setdefault((line.lane, share.parent), {})[share] = None

    def place(self, line: Line, before: int, cost_s: float) -> Place:
        """Of one that has so many before it in its line."""
        lane = line.flow.urgency if line.lane is None else line.lane
        ahead, levels, passed = before, [], False
        for share in reversed(line.path):
            begins = share.time + ahead * cost_s / share.weight
            parent = share.parent
            for other in self._below.get((lane, parent), ()) if parent is not None else ():
                if other is not share:
                    turns = ceil((begins - other.time) * other.weight / cost_s)
                    turns = max(0, min(turns, self._shares[lane, other]))
                    ahead += turns
                    passed = passed or turns > 0
            levels.append(ahead)
        ahead += sum(count for urgent, count in self._urgent.items() if urgent < lane)
        return Place(ahead, of_token=levels[0], behind_share=passed, held=line.path[1].held)
