"""What could be served now, in order: one lane for each class and need. Pure.

A lane is a tree of seats, of accounts, of their tokens, of those tokens' end users; at its leaves are lines.
A share has a seat in each lane in which anything of it waits, and all its seats have its rank.
"""

from typing import Any

from coordinator.scheduling.line import Line
from coordinator.scheduling.ranking import Ranking
from coordinator.scheduling.shares import Share


class Seat:
    """A share's place in one lane; the root share's is the lane itself."""

    __slots__ = ("_below", "_taken", "above", "lines", "order", "share")

    def __init__(self, share: Share, above: "Seat | None" = None) -> None:
        self.share = share
        self.above = above
        self.order: Ranking[Seat] = Ranking()
        """The seats below that take part."""
        self.lines: Ranking[Line] = Ranking()
        """Of an end user: what waits."""
        self._below: dict[str, Seat] = {}
        self._taken = False

    def join(self, line: Line) -> None:
        """Let a line take part in this lane, or take its new head into account."""
        seat = self
        for share in line.path:
            below = seat._below.get(share.key)
            if below is None:
                below = seat._below[share.key] = Seat(share, seat)
                share.seats.append(below)
            seat = below
        seat.lines.set(line, (line.head.sequence,))
        seat.update()

    def leave(self, line: Line) -> None:
        seat = self
        for share in line.path:
            seat = seat._below[share.key]
        seat.lines.remove(line)
        seat.update()

    def update(self) -> None:
        """What it holds has changed, or its share: see who takes part, from here up."""
        seat, above = self, self.above
        while above is not None:
            takes_part = bool(seat.order.ranks or seat.lines.ranks) and not seat.share.held
            if takes_part != seat._taken:
                seat._taken = takes_part
                if takes_part:
                    seat.share.sat_down()
                else:
                    seat.share.stood_up()
                    above.order.remove(seat)
            if takes_part:
                above.order.set(seat, seat.share.rank)
            if not seat._below and not seat.lines.ranks:
                del above._below[seat.share.key]
                seat.share.seats.remove(seat)
            seat, above = above, above.above

    @property
    def empty(self) -> bool:
        return not self._below

    def first(self) -> tuple[tuple[Any, ...], Line] | None:
        """The line to be served, and what orders it among those of other lanes."""
        ranks: tuple[Any, ...] = ()
        seat = self.order.first()
        while seat is not None:
            ranks = (*ranks, seat.share.rank)
            if line := seat.lines.first():
                return (*ranks, line.head.sequence), line
            seat = seat.order.first()
        return None
