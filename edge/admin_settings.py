"""What can be set on the commands that administer tokens, queues and predictions, beside ``settings.py``."""

from dataclasses import dataclass, field

from edge.daily_settings import DAILY, TokenDailySettings
from edge.where import WHERE, Where

_JSON = {"help": "print JSON"}
_WHICH = {"help": "the token's name, or its id (tok_...)", "positional": True, "metavar": "TOKEN"}
_ACCOUNT = {"help": "account of the name, if several have it"}


@dataclass(frozen=True)
class TokenSetSettings:
    """``cogflare token set``. Its variables have names of their own: what is set is one token's."""

    which: str = field(metadata=_WHICH)
    where: Where = field(default_factory=Where, metadata=WHERE)
    account: str | None = field(default=None, metadata=_ACCOUNT)
    scope: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "what it may do from now on",
            "choices": ("submit", "read", "worker", "keys", "admin"),
            "variable": "TOKEN_SCOPE",
        },
    )
    pool: tuple[str, ...] = field(
        default=(),
        metadata={"help": "its pools, the preferred one first", "variable": "TOKEN_POOL"},
    )
    allow_model: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "models that it may use and register, as me/*",
            "metavar": "PATTERN",
            "variable": "TOKEN_ALLOW_MODEL",
        },
    )
    share: float | None = field(
        default=None, metadata={"help": "its weight beside others of its account", "variable": "TOKEN_SHARE"}
    )
    max_running: int | None = field(
        default=None,
        metadata={
            "help": "predictions of it that may run at once on each model; 0 is no limit",
            "minimum": 0,
            "variable": "TOKEN_MAX_RUNNING",
        },
    )
    creations_per_min: int | None = field(
        default=None,
        metadata={
            "help": "how often it may create in a minute; 0 is no limit",
            "minimum": 0,
            "variable": "TOKEN_CREATIONS_PER_MIN",
        },
    )
    requests_per_min: int | None = field(
        default=None,
        metadata={
            "help": "how often it may ask for anything else in a minute; 0 is no limit",
            "minimum": 0,
            "variable": "TOKEN_REQUESTS_PER_MIN",
        },
    )
    retention_s: float | None = field(
        default=None,
        metadata={
            "help": "how long its predictions are kept after their end",
            "option": "retention",
            "variable": "TOKEN_SET_RETENTION",
        },
    )
    expire_s: float | None = field(
        default=None,
        metadata={
            "help": "end it after this time from now",
            "minimum": 1,
            "variable": "TOKEN_SET_EXPIRE_S",
        },
    )
    daily: TokenDailySettings = field(default_factory=TokenDailySettings, metadata=DAILY)
    reset: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "what it has no limit of its own for any more",
            "choices": (
                "allow-model",
                "creations-per-min",
                "requests-per-min",
                "retention",
                "expire-s",
                "overflow-per-day",
                "overflow-cost-per-day",
            ),
            "variable": "TOKEN_RESET",
        },
    )
    json: bool = field(default=False, metadata=_JSON)


@dataclass(frozen=True)
class TokenRotateSettings:
    """``cogflare token rotate``."""

    which: str = field(metadata=_WHICH)
    where: Where = field(default_factory=Where, metadata=WHERE)
    account: str | None = field(default=None, metadata=_ACCOUNT)
    overlap_s: float = field(
        default=3600.0, metadata={"help": "how long the secret before is good, too; 0 ends it at once"}
    )
    output: str = field(
        default="",
        metadata={
            "help": "write the secret to this new file (mode 0600) instead of showing it",
            "metavar": "PATH",
        },
    )
    json: bool = field(default=False, metadata={"help": "print JSON, the secret included"})


@dataclass(frozen=True)
class AuditListSettings:
    """``cogflare audit list``."""

    where: Where = field(default_factory=Where, metadata=WHERE)
    act: str | None = field(
        default=None, metadata={"help": "only such acts, as token.create, or all of token", "metavar": "ACT"}
    )
    target: str | None = field(
        default=None,
        metadata={"help": "only what was done to this: a token's id, a model, an account", "metavar": "WHAT"},
    )
    by: str | None = field(
        default=None, metadata={"help": "only what was done with this token", "metavar": "ID"}
    )
    limit: int = field(default=100, metadata={"help": "how many at most", "minimum": 1})
    json: bool = field(default=False, metadata=_JSON)


@dataclass(frozen=True)
class ModelPauseSettings:
    """``cogflare model pause`` and ``resume``."""

    model: str = field(metadata={"help": "owner/name of a model", "positional": True})
    where: Where = field(default_factory=Where, metadata=WHERE)
    pool: str | None = field(default=None, metadata={"help": "only in this pool", "variable": "MODEL_POOL"})
    json: bool = field(default=False, metadata=_JSON)


@dataclass(frozen=True)
class QueueListSettings:
    """``cogflare queue list``."""

    where: Where = field(default_factory=Where, metadata=WHERE)
    model: str | None = field(
        default=None, metadata={"help": "only the queues of this model", "variable": "QUEUE_MODEL"}
    )
    all: bool = field(
        default=False,
        metadata={"help": "also queues of models that nobody uses now", "variable": "QUEUE_ALL"},
    )
    json: bool = field(default=False, metadata=_JSON)


@dataclass(frozen=True)
class PredictionCancelSettings:
    """``cogflare prediction cancel``. Nothing in the environment says what is canceled by accident: its
    variables are its own."""

    where: Where = field(default_factory=Where, metadata=WHERE)
    account: str | None = field(
        default=None, metadata={"help": "those of this account", "variable": "CANCEL_ACCOUNT"}
    )
    model: str | None = field(
        default=None, metadata={"help": "those of this model", "variable": "CANCEL_MODEL"}
    )
    made_by: str | None = field(
        default=None,
        metadata={"help": "those that this token made", "metavar": "ID", "variable": "CANCEL_MADE_BY"},
    )
    end_user: str | None = field(
        default=None, metadata={"help": "those of this end user", "variable": "CANCEL_END_USER"}
    )
    status: str | None = field(
        default=None,
        metadata={
            "help": "those that wait (starting), or that run (processing)",
            "choices": ("starting", "processing"),
            "variable": "CANCEL_STATUS",
        },
    )
    older_s: float | None = field(
        default=None, metadata={"help": "those that were made so long ago", "variable": "CANCEL_OLDER_S"}
    )
    all: bool = field(
        default=False, metadata={"help": "every one, where nothing else is given", "variable": "CANCEL_ALL"}
    )
    dry_run: bool = field(
        default=False, metadata={"help": "say which, and change nothing", "variable": "CANCEL_DRY_RUN"}
    )
    json: bool = field(default=False, metadata=_JSON)
