"""How much a token or an account may have in a day: options that several commands share."""

from dataclasses import dataclass, field, fields
from typing import Any

DAILY = {"help": "Limits of a day (UTC); 0 is no limit"}


@dataclass(frozen=True)
class DailySettings:
    """None leaves each as it is."""

    daily_predictions: int | None = field(
        default=None, metadata={"help": "predictions that may be created in a day", "minimum": 0}
    )
    daily_run_s: float | None = field(
        default=None,
        metadata={"help": "time that they may run in a day, such as 2h", "option": "daily_seconds"},
    )
    daily_budget: float | None = field(
        default=None,
        metadata={"help": "what they may cost in a day, by the prices of model set", "minimum": 0},
    )


@dataclass(frozen=True)
class TokenDailySettings(DailySettings):
    """And what of it may run at a provider."""

    overflow_per_day: int | None = field(
        default=None,
        metadata={
            "help": "predictions that may run at a provider in a day; the server's limit when not given",
            "minimum": 0,
            "variable": "TOKEN_OVERFLOW_PER_DAY",
        },
    )
    overflow_cost_per_day: float | None = field(
        default=None,
        metadata={
            "help": "what those may cost in a day; the server's limit when not given",
            "minimum": 0,
            "variable": "TOKEN_OVERFLOW_COST_PER_DAY",
        },
    )


def given(settings: DailySettings) -> dict[str, Any]:
    """What is said of them, by the names of the record."""
    values = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return {name: value for name, value in values.items() if value is not None}
