"""What can be set on ``cogflare usage``."""

from dataclasses import dataclass, field

from edge.where import WHERE, Where


@dataclass(frozen=True)
class UsageSettings:
    """``cogflare usage``."""

    where: Where = field(default_factory=Where, metadata=WHERE)
    group_by: tuple[str, ...] = field(
        default=("day",),
        metadata={
            "help": "what the sums are broken down by",
            "choices": ("day", "account", "token", "end_user", "model"),
            "variable": "USAGE_GROUP_BY",
        },
    )
    first: str | None = field(
        default=None,
        metadata={
            "help": "first day, such as 2026-03-01 (UTC); 30 days back when not given",
            "option": "from",
            "metavar": "DAY",
            "variable": "USAGE_FROM",
        },
    )
    last: str | None = field(
        default=None,
        metadata={
            "help": "last day; today when not given",
            "option": "to",
            "metavar": "DAY",
            "variable": "USAGE_TO",
        },
    )
    account: str | None = field(
        default=None, metadata={"help": "only this account; all when not given", "variable": "USAGE_ACCOUNT"}
    )
    of_token: str | None = field(
        default=None, metadata={"help": "only the token with this id", "metavar": "ID"}
    )
    end_user: str | None = field(default=None, metadata={"help": "only this end user", "metavar": "USER"})
    model: str | None = field(
        default=None, metadata={"help": "only this model", "metavar": "MODEL", "variable": "USAGE_MODEL"}
    )
    csv: bool = field(default=False, metadata={"help": "print CSV"})
    json: bool = field(default=False, metadata={"help": "print JSON"})
