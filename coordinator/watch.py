"""What can be said of all coordinators of a process: counted by object number, read when somebody asks."""

import asyncio
from collections.abc import Iterable
from typing import Any

from coordinator.figures import Figures
from coordinator.model import Model
from coordinator.tally import Commits, Tally

_AT_ONCE = 100
"""Objects that are looked at before others get their turn."""


class Watch:
    """Tallies outlive the instances that count in them. The first ``most`` objects have one each, all others
    one together: neither memory nor what is shown grows with the number of models."""

    def __init__(self, most: int) -> None:
        self.commits = Commits()
        self.tallies: dict[int, Tally] = {}
        self.others = Tally()
        self._most = most
        self._asleep: dict[int, Figures] = {}
        """Of objects that have left memory, as long as something waits in them."""

    def tally(self, number: int) -> Tally:
        found = self.tallies.get(number)
        if found is not None:
            return found
        if len(self.tallies) >= self._most:
            return self.others
        self.tallies[number] = Tally()
        return self.tallies[number]

    def spent(self, number: int, cost: float) -> None:
        """A provider has cost that."""
        self.tally(number).cost += cost

    def leaves(self, number: int, actor: Any) -> None:
        """An object leaves memory."""
        model: Model = actor
        last = model.figures()
        self._asleep.pop(number, None)
        if last.worth_keeping:
            self._asleep[number] = last

    async def figures(self, live: Iterable[tuple[int, Any]]) -> dict[int, Figures]:
        """By object number: of those in memory, and of those that sleep over something."""
        found: dict[int, Figures] = {}
        for count, (number, model) in enumerate(live, 1):
            found[number] = model.figures()
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return {**self._asleep, **found}
