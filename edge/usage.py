"""Reports of what predictions came to: what is asked, and how it is answered."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Literal

import msgspec

from coordinator.metering import Amounts
from coordinator.store.daily_limits import DailyLimits
from coordinator.store.database import Store
from coordinator.store.errors import Invalid
from coordinator.store.usage import GROUPS, Line, Wanted
from coordinator.today import Owner, Today
from edge.control import AskUsage

DEFAULT_GROUPS = ("day",)
DEFAULT_DAYS = 30
"""How far back a report goes that does not say it, today included,"""
MOST_DAYS = 400
"""and how far any goes."""
MOST_LINES = 50_000
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(9000, 1, 1)
"""Days that anybody can mean."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would carry out."""


class UsageLineOut(msgspec.Struct, omit_defaults=True):
    """Sums of predictions; first by what they are grouped, as far as that was asked."""

    created: int
    succeeded: int
    failed: int
    canceled: int
    run_seconds: float
    output_bytes: int
    spend: float
    overflow_predictions: int
    overflow_spend: float
    day: str | None = None
    account: str | None = None
    token: str | None = None
    token_name: str | None = None
    end_user: str | None = None
    model: str | None = None


class UsageLimitOut(msgspec.Struct):
    """A limit of the day, and what of it is gone: ``used`` for good, ``expected`` of what waits and runs."""

    of: Literal["token", "account"]
    limit: Literal["daily_predictions", "daily_seconds", "daily_budget"]
    at_most: float
    used: float
    expected: float


class UsageOut(msgspec.Struct, rename={"first": "from", "last": "to"}):
    """What an account's predictions came to. ``created`` is of the day of the creation, all else of the day
    of the end. ``account`` is null for all."""

    first: str
    last: str
    account: str | None
    group_by: list[str]
    currency: str
    results: list[UsageLineOut]
    total: UsageLineOut
    limits: list[UsageLimitOut]
    """Today's, of the token that asks and its account."""


AMOUNTS = (
    "created",
    "succeeded",
    "failed",
    "canceled",
    "run_seconds",
    "output_bytes",
    "spend",
    "overflow_predictions",
    "overflow_spend",
)


async def report(store: Store, order: AskUsage, currency: str) -> UsageOut:
    """Raises Invalid, which names the parameter, for what cannot be asked."""
    wanted = _wanted(order, store.usage.today.day)
    lines = await store.usage.report(wanted, MOST_LINES + 1)
    if len(lines) > MOST_LINES:
        raise Invalid(
            f"group_by: the report has more than {MOST_LINES} lines", "ask for fewer days or groups"
        )
    names: dict[str, str] = {}
    if "token" in wanted.group_by:
        names = {token.id: token.name for token in await store.tokens.list(wanted.account)}
    total = Amounts()
    for line in lines:
        total.add(line.amounts)
    return UsageOut(
        first=_day(wanted.first),
        last=_day(wanted.last),
        account=wanted.account,
        group_by=list(wanted.group_by),
        currency=currency,
        results=[_line(wanted.group_by, line, names) for line in lines],
        total=UsageLineOut(**_amounts(total)),
        limits=[],
    )


def limits_of(today: Today, owner: Owner, limits: DailyLimits) -> list[UsageLimitOut]:
    """Those that it has."""
    used, expected = today.used(owner), today.expected(owner)
    found: list[tuple[Any, float | None, float, float]] = [
        ("daily_predictions", limits.predictions, used.created, 0.0),
        ("daily_seconds", limits.run_s, round(used.run_s, 6), round(expected.run_s, 6)),
        ("daily_budget", limits.budget, round(used.money, 9), round(expected.money, 9)),
    ]
    return [
        UsageLimitOut(owner.kind, name, at_most, had, ahead)
        for name, at_most, had, ahead in found
        if at_most is not None
    ]


def _wanted(order: AskUsage, today: int) -> Wanted:
    groups = tuple(dict.fromkeys(order.group_by))
    if unknown := [name for name in groups if name not in GROUPS]:
        raise Invalid(f"group_by: {unknown[0]!r} is none of {', '.join(GROUPS)}")
    last = today if order.last is None else _parsed("to", order.last)
    first = last - DEFAULT_DAYS + 1 if order.first is None else _parsed("from", order.first)
    if first > last:
        raise Invalid(f"from: {_day(first)} is after {_day(last)}")
    if last - first >= MOST_DAYS:
        raise Invalid(f"from: a report is of at most {MOST_DAYS} days")
    return Wanted(
        first=first,
        last=last,
        group_by=groups,
        account=order.account,
        token=order.token,
        end_user=order.end_user,
        model=order.model,
    )


def _parsed(name: str, text: str) -> int:
    try:
        found = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        found = None
    if found is None or not FIRST_DAY <= found <= LAST_DAY:
        raise Invalid(f"{name}: {text[:40]!r} is no day such as 2026-03-01")
    return (found - FIRST_DAY).days


def _day(number: int) -> str:
    return (FIRST_DAY + timedelta(days=number)).isoformat()


def _line(groups: Sequence[str], line: Line, names: Mapping[str, str]) -> UsageLineOut:
    shown: dict[str, Any] = dict(zip(groups, line.group, strict=True))
    if "day" in shown:
        shown["day"] = _day(shown["day"])
    if "token" in shown:
        shown["token_name"] = names.get(shown["token"], "")
    return UsageLineOut(**shown, **_amounts(line.amounts))


def _amounts(amounts: Amounts) -> dict[str, Any]:
    return {
        "created": amounts.created,
        "succeeded": amounts.succeeded,
        "failed": amounts.failed,
        "canceled": amounts.canceled,
        "run_seconds": round(amounts.run_s, 6),
        "output_bytes": amounts.output_bytes,
        "spend": round(amounts.spend, 9),
        "overflow_predictions": amounts.overflowed,
        "overflow_spend": round(amounts.overflow_spend, 9),
    }


def columns(groups: Sequence[str]) -> list[str]:
    """Of a report as a table."""
    shown = [name for group in groups for name in ((group, "token_name") if group == "token" else (group,))]
    return [*shown, *AMOUNTS]


def as_csv(answer: Mapping[str, Any]) -> str:
    """A report's lines, for spreadsheets. What would be a formula there has an apostrophe before it, for the
    names of end users are anybody's."""
    names = columns(answer["group_by"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*names, "currency"])
    for line in answer["results"]:
        writer.writerow([*(_cell(line.get(name, "")) for name in names), answer["currency"]])
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
