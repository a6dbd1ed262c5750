"""What is known of each model in each pool when somebody asks, and how many workers that comes to."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from coordinator.figures import Figures
from coordinator.host import Coordinators
from coordinator.scheduling.scale import desired_workers
from coordinator.store.objects import ObjectRow, Objects
from coordinator.tally import Tally

OTHER = "other"
"""Model and pool of all those together that are not shown by name. No model is called so: it has no slash."""


class ModelIs(NamedTuple):
    """One model in one pool now."""

    model: str
    pool: str
    figures: Figures
    tally: Tally
    desired: int


class WatchedModels:
    """``wait_s`` is the time in which what waits is to have begun."""

    def __init__(self, coordinators: Coordinators, objects: Objects, wait_s: float) -> None:
        self._coordinators = coordinators
        self._objects = objects
        self._wait_s = wait_s
        self._rows: dict[int, ObjectRow] = {}

    async def now(self) -> list[ModelIs]:
        """Each that has been in use since the start, or has something waiting, as they were made."""
        watch = self._coordinators.watch
        found = await watch.figures(self._coordinators.namespace.actors())
        numbers = sorted(found.keys() | watch.tallies.keys())
        await self._describe(numbers)
        return [
            self._one(row, found.get(number, Figures()), watch.tallies.get(number) or watch.others)
            for number in numbers
            if (row := self._rows.get(number)) is not None
        ]

    async def shown(self) -> list[ModelIs]:
        """The same with all those as one that have no tally of their own."""
        watch, models = self._coordinators.watch, await self.now()
        named = [each for each in models if each.tally is not watch.others]
        others = [each for each in models if each.tally is watch.others]
        return [*named, _together(others, watch.others)] if others else named

    async def _describe(self, numbers: Iterable[int]) -> None:
        missing = [number for number in numbers if number not in self._rows]
        if len(missing) == 1:
            row = await self._objects.describe(missing[0])
            self._rows.update({} if row is None else {row.number: row})
        elif missing:
            self._rows = {row.number: row for row in await self._objects.all()}

    def _one(self, row: ObjectRow, figures: Figures, tally: Tally) -> ModelIs:
        desired = desired_workers(
            figures.queued - figures.held, figures.running, figures.run_s, tally.slots, self._wait_s
        )
        return ModelIs(row.model, row.pool, figures, tally, desired)


def _together(models: Iterable[ModelIs], tally: Tally) -> ModelIs:
    """Sums; the age is that of the oldest, the run time such that the backlog is a sum, too."""
    models = list(models)
    states: Counter[str] = Counter()
    for each in models:
        states.update(each.figures.workers)
    all = [each.figures for each in models]
    queued = sum(one.queued for one in all)
    figures = Figures(
        queued=queued,
        held=sum(one.held for one in all),
        oldest_at=min((one.oldest_at for one in all if one.oldest_at is not None), default=None),
        run_s=sum(one.queued * one.run_s for one in all) / max(1, queued),
        running=sum(one.running for one in all),
        elsewhere=sum(one.elsewhere for one in all),
        workers=dict(states),
        busy=sum(one.busy for one in all),
        free=sum(one.free for one in all),
        webhooks=sum(one.webhooks for one in all),
    )
    return ModelIs(OTHER, OTHER, figures, tally, sum(each.desired for each in models))


def age_s(figures: Figures, now: int) -> float:
    """Of the oldest one that waits; 0 when none does."""
    return 0.0 if figures.oldest_at is None else max(0, now - figures.oldest_at) / 1_000_000
