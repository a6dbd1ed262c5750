"""How much a token or an account may have in a day (UTC)."""

import math

import msgspec

from coordinator.store.errors import Invalid


class DailyLimits(msgspec.Struct, frozen=True):
    """None is no limit."""

    predictions: int | None = None
    """Created."""
    run_s: float | None = None
    """Seconds that they run."""
    budget: float | None = None
    """Money, in that of the prices."""


NO_LIMITS = DailyLimits()


def limits_of(predictions: int | None, run_s: float | None, budget: float | None) -> DailyLimits:
    """As a record says them: 0 is no limit, too."""
    return DailyLimits(predictions or None, run_s or None, budget or None)


def count_or_none(value: int | None) -> int | None:
    """0 is no limit, too. Raises Invalid."""
    if value is not None and not 0 <= value < 1 << 63:
        raise Invalid(f"{value} is no number of predictions a day", "0 is no limit")
    return value or None


def amount_or_none(value: float | None) -> float | None:
    """0 is no limit, too. Raises Invalid."""
    if value is not None and (value < 0 or not math.isfinite(value)):
        raise Invalid(f"{value:g} is no amount a day", "0 is no limit")
    return value or None
