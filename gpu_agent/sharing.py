"""How the models of one agent share its slots. Pure: time comes in as an argument.

While something waits for a model (``demand``), free slots are offered to such models alone, each slot to one:
to the one that has used slots least, by time. One that was idle starts level with the others, without credit
for the past. A slot that its model does not take within ``PATIENCE_S`` goes to the next, for what waits there
cannot run here now. While nothing waits, every model is offered all that is free: who comes first has it.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

PATIENCE_S = 1.0
PASSED_OVER_S = 5.0
"""How long a model that did not take its slot is passed over, if others want it."""
_LEARN = 0.3
"""Weight of the newest run in the expected time of the next."""

Model = TypeVar("Model", bound=Hashable)


@dataclass(slots=True)
class _Share:
    used_s: float = 0.0
    """Time of slots used, runs that have not ended with their expected time."""
    run_s: float = 1.0
    """Expected time of a run."""
    waits: bool = False
    offered_at: float | None = None
    """Since when a slot is held for it alone."""
    passed_until: float = 0.0


class Sharing(Generic[Model]):
    """Keeps account of the models of one agent."""

    def __init__(self) -> None:
        self._shares: dict[Model, _Share] = {}

    def demand(self, model: Model, waiting: int) -> None:
        """So many wait for it, as its server says."""
        share = self._share(model)
        if waiting and not share.waits:
            others = [other.used_s for other in self._shares.values() if other.waits]
            share.used_s = max(share.used_s, min(others, default=share.used_s))
        share.waits = waiting > 0
        share.offered_at, share.passed_until = None, 0.0

    def forget_demand(self) -> None:
        """The connection is gone: who waits will be told anew."""
        for share in self._shares.values():
            share.waits, share.offered_at = False, None

    def began(self, model: Model) -> float:
        """It took a slot; gives what that was charged, for ``ended``."""
        share = self._share(model)
        share.used_s += share.run_s
        share.offered_at = None
        return share.run_s

    def ended(self, model: Model, charged_s: float, took_s: float) -> None:
        """Its run is over."""
        share = self._share(model)
        share.used_s += took_s - charged_s
        share.run_s += _LEARN * (took_s - share.run_s)

    def offers(self, rooms: Mapping[Model, int], free: int, now: float) -> dict[Model, int]:
        """What each model is offered, given how many more it could run and how many slots are free."""
        wanting = [model for model, room in rooms.items() if room and self._wants(model, now)]
        if not wanting or not free:
            return {model: min(room, free) for model, room in rooms.items()}
        offers = dict.fromkeys(rooms, 0)
        while free and (open_ := [model for model in wanting if offers[model] < rooms[model]]):
            least = min(open_, key=lambda model: self._after(model, offers[model]))
            offers[least] += 1
            free -= 1
        for model in rooms:
            if model in wanting:
                share = self._share(model)
                if offers[model] and share.offered_at is None:
                    share.offered_at = now
            else:
                offers[model] = min(rooms[model], free)
        return offers

    def _wants(self, model: Model, now: float) -> bool:
        share = self._share(model)
        if share.offered_at is not None and now - share.offered_at > PATIENCE_S:
            share.offered_at, share.passed_until = None, now + PASSED_OVER_S
        return share.waits and now >= share.passed_until

    def _after(self, model: Model, more: int) -> float:
        share = self._share(model)
        return share.used_s + more * share.run_s

    def _share(self, model: Model) -> _Share:
        return self._shares.setdefault(model, _Share())
