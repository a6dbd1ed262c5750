"""What a token and its account may have in a day: looked up in memory, refused before anything is stored."""

from collections.abc import Iterator
from typing import NamedTuple

from coordinator import calls
from coordinator.metering import DAY_US
from coordinator.store.daily_limits import NO_LIMITS, DailyLimits
from coordinator.today import Owner, Today
from edge.auth import Principal
from edge.errors import Problem
from edge.quantities import format_duration
from edge.times import rfc3339

AHEAD_RETRY_S = 60.0
"""When to ask again of what is not spent but expected: that may turn out to be less."""


class _Over(NamedTuple):
    """What has reached its limit. ``spent``: that is for the rest of the day."""

    reason: str
    spent: bool


def limited(principal: Principal) -> bool:
    """Whether there is any limit to look at."""
    return principal.daily != NO_LIMITS or principal.account_daily != NO_LIMITS


def refuse(today: Today, principal: Principal, now: int, currency: str) -> None:
    """Raises Problem ``daily_limit`` when one more is too many."""
    for owner, limits in limits_of(principal):
        over = _over(today, owner, limits, currency)
        if over is not None:
            left_s = (DAY_US - now % DAY_US) / 1e6
            ends = rfc3339(now - now % DAY_US + DAY_US)
            raise Problem(
                "daily_limit",
                f"{over.reason} The day ends at {ends}.",
                retry_after_s=left_s if over.spent else min(left_s, AHEAD_RETRY_S),
                # Whoever repeats it by itself would only wait.
                headers=((b"x-should-retry", b"false"),),
            )


def take(today: Today, principal: Principal, call: calls.Create, now: int, currency: str) -> bool:
    """Count what is about to be created; whether there is anything to be given back. Raises Problem."""
    refuse(today, principal, now, currency)
    return today.take(call.id, call.account, call.token, call.model)


def limits_of(principal: Principal) -> Iterator[tuple[Owner, DailyLimits]]:
    """Those of the token, and of its account, as far as they have any."""
    if principal.daily != NO_LIMITS:
        yield Owner("token", principal.counts_as), principal.daily
    if principal.account_daily != NO_LIMITS:
        yield Owner("account", principal.account), principal.account_daily


def _over(today: Today, owner: Owner, limits: DailyLimits, currency: str) -> _Over | None:
    used, who = today.used(owner), f"Your {owner.kind}"
    if limits.predictions is not None and used.created >= limits.predictions:
        text = f"{who} may create {limits.predictions} predictions a day (daily_predictions), and has."
        return _Over(text, spent=True)
    ahead = today.expected(owner)
    if limits.run_s is not None and used.run_s + ahead.run_s >= limits.run_s:
        limit = f"{who} may run {format_duration(limits.run_s)} a day (daily_seconds)"
        had = f"{used.run_s:.1f} s have run"
        return _said(limit, had, f"{ahead.run_s:.1f} s", spent=used.run_s >= limits.run_s)
    if limits.budget is not None and used.money + ahead.money >= limits.budget:
        limit = f"{who} may spend {limits.budget:g} {currency} a day (daily_budget)"
        had = f"{used.money:.6g} {currency} are spent"
        expected = f"{ahead.money:.6g} {currency}"
        return _said(limit, had, expected, spent=used.money >= limits.budget)
    return None


def _said(limit: str, had: str, expected: str, *, spent: bool) -> _Over:
    if spent:
        return _Over(f"{limit}: {had}.", spent=True)
    return _Over(f"{limit}: {had}, and what waits and runs will probably take {expected}.", spent=False)
