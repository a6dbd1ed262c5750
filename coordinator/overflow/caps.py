"""How much of a provider a token may have in a day (UTC): predictions, and what they cost."""

import logging
from collections.abc import Callable
from contextlib import suppress

import msgspec

from coordinator.actor.clock import Clock
from coordinator.errors import Unavailable
from coordinator.overflow.errand import Errand
from coordinator.overflow.provider import Remote
from coordinator.protocol.limits import ServerLimits
from coordinator.store.overflow_days import OverflowDays
from coordinator.store.tokens import Tokens

log = logging.getLogger(__name__)

_DAY = 86_400_000_000
UNKNOWN_S = 5.0
"""When to ask again of a control store that does not answer."""


class DailyCaps:
    """Implements ``carrier.Caps``. What cannot be counted does not begin."""

    def __init__(
        self,
        days: OverflowDays,
        clock: Clock,
        limits: ServerLimits,
        tokens: Tokens | None = None,
        on_cost: Callable[[int, float], None] | None = None,
    ) -> None:
        """``tokens`` may have limits of their own; ``on_cost`` is told what one has cost, and of which object
        it was."""
        self._tokens = tokens
        self._on_cost = on_cost
        self._days = days
        self._clock = clock
        self._limits = limits

    async def reserve(self, errand: Errand) -> float:
        now = self._clock.now()
        try:
            most, most_cost = await self._most(errand.token)
            taken = await self._days.take(errand.token, now // _DAY, most=most, most_cost=most_cost)
        except Unavailable as error:
            log.warning("overflow: what a token has had today is not known: %s", error)
            return UNKNOWN_S
        return 0.0 if taken else (_DAY - now % _DAY) / 1e6 + 1.0

    async def _most(self, token: str) -> tuple[int, float]:
        """Predictions and money; 0 is no limit."""
        most, most_cost = self._limits.overflow_per_day, self._limits.overflow_cost_per_day
        record = None if self._tokens is None else await self._tokens.by_id(token)
        if record is None:
            return most, most_cost
        own, own_cost = record.overflow_per_day, record.overflow_cost_per_day
        return most if own is None else own, most_cost if own_cost is None else own_cost

    async def release(self, errand: Errand) -> None:
        with suppress(Unavailable):  # then it has had one less today
            await self._days.give_back(errand.token, self._clock.now() // _DAY)

    async def settle(self, errand: Errand, remote: Remote) -> None:
        cost = cost_of(errand, remote)
        if cost:
            if self._on_cost is not None:
                self._on_cost(errand.number, cost)
            try:
                await self._days.spend(errand.token, self._clock.now() // _DAY, cost)
            except Unavailable as error:
                log.warning("overflow: what %s has cost was not counted: %s", errand.prediction, error)


def cost_of(errand: Errand, remote: Remote) -> float:
    """By the time that the provider says it ran, and the price of its model."""
    try:
        seconds = msgspec.json.decode(remote.metrics.get("predict_time", b"0"), type=float)
    except msgspec.DecodeError:
        return 0.0
    return max(0.0, seconds) * errand.target.price_s
