"""What administrators send and get: the public field names of ``/v1/admin``."""

from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import UNSET, Meta, UnsetType

from coordinator.store.config import ModelConfig
from coordinator.store.model_rows import Visibility
from edge.model_settings import LEAST, MOST

Count = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
Lifetime = Annotated[float, Meta(ge=1, le=1e10)]
Scope = Literal["submit", "read", "worker", "keys", "admin"]
Money = Annotated[float, Meta(ge=0, le=1e12)]
Bytes = Annotated[int, Meta(ge=0, le=(1 << 62))]


class TokenBody(msgspec.Struct):
    """A token to be made."""

    name: str
    account: str = "default"
    scopes: tuple[Scope, ...] = ("submit", "read")
    pools: tuple[str, ...] = ("default",)
    models: tuple[str, ...] = ()
    expire_s: Lifetime | None = None
    worker: str | None = None
    share: float = 1.0
    max_running: Count = 0
    creations_per_min: Count | None = None
    requests_per_min: Count | None = None
    retention_s: Seconds | None = None
    daily_predictions: Count | None = None
    daily_run_s: Seconds | None = None
    daily_budget: Money | None = None
    overflow_per_day: Count | None = None
    overflow_cost_per_day: Money | None = None
    replicate: str | None = None


class TokenChanges(msgspec.Struct):
    """What is to be changed of a token; null takes a limit of its own away."""

    scopes: tuple[Scope, ...] | UnsetType = UNSET
    pools: tuple[str, ...] | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    share: float | UnsetType = UNSET
    max_running: Count | UnsetType = UNSET
    creations_per_min: Count | UnsetType | None = UNSET
    requests_per_min: Count | UnsetType | None = UNSET
    retention_s: Seconds | UnsetType | None = UNSET
    daily_predictions: Count | UnsetType | None = UNSET
    daily_run_s: Seconds | UnsetType | None = UNSET
    daily_budget: Money | UnsetType | None = UNSET
    overflow_per_day: Count | UnsetType | None = UNSET
    overflow_cost_per_day: Money | UnsetType | None = UNSET
    expire_s: Lifetime | UnsetType | None = UNSET


class RotateBody(msgspec.Struct):
    """How long the secret before the new one goes on."""

    overlap_s: Seconds = 3600.0


class ImportedBody(msgspec.Struct):
    """One token of a Cogflare of 2022."""

    label: str
    secret: str
    allow: bool
    replicate: str | None = None
    worker: str | None = None


class ImportBody(msgspec.Struct):
    """Tokens of a Cogflare of 2022, all or nothing unless ``skip_bad``."""

    entries: tuple[ImportedBody, ...]
    account: str = "default"
    skip_bad: bool = False
    dry_run: bool = False


class TokenOut(msgspec.Struct):
    """A token's record, without its secret."""

    id: str
    name: str
    account: str
    scopes: list[Scope]
    pools: list[str]
    models: list[str]
    share: float
    max_running: int
    creations_per_min: int | None
    requests_per_min: int | None
    retention_s: float | None
    daily_predictions: int | None
    daily_run_s: float | None
    daily_budget: float | None
    overflow_per_day: int | None
    overflow_cost_per_day: float | None
    prefix: str
    allow: bool
    api: str
    replicate: bool
    made_by: str | None
    created_at: str
    last_used_at: str | None
    expires_at: str | None
    previous_until: str | None
    revoked_at: str | None


class NewTokenOut(TokenOut):
    """A token's record with its secret, ``token``, which is shown this once."""

    token: str


class ImportOut(msgspec.Struct):
    """What an import has done, or would do."""

    account: str
    applied: bool
    made: list[Any]
    changed: list[Any]
    unchanged: int
    problems: list[str]


class AdminAccountOut(msgspec.Struct):
    account: str
    share: float
    created_at: str
    outputs_bytes: int
    inputs_bytes: int
    uploads_bytes: int
    storage_at_most_bytes: int | None
    daily_predictions: int | None
    daily_run_s: float | None
    daily_budget: float | None


class AdminAccountChanges(msgspec.Struct):
    """0 or null is no limit."""

    share: float | UnsetType = UNSET
    storage_at_most_bytes: Bytes | UnsetType | None = UNSET
    daily_predictions: Count | UnsetType | None = UNSET
    daily_run_s: Seconds | UnsetType | None = UNSET
    daily_budget: Money | UnsetType | None = UNSET


class RotatedSecretOut(msgspec.Struct):
    """An account's new webhook secret; until then webhooks are signed with the one before, too."""

    account: str
    key: str
    previous_until: str


class ActOut(msgspec.Struct):
    """One act of an administrator; ``outcome`` is ``done``, or why not, or null when it is not known."""

    id: int
    at: str
    door: Literal["http", "socket", "files"]
    who: str
    token: str | None
    account: str | None
    act: str
    target: str
    detail: dict[str, Any]
    outcome: str | None


class AdminModelOut(msgspec.Struct):
    """A model of any account. ``settings`` is what it sets; ``paused`` where nothing of it begins."""

    model: str
    account: str
    visibility: Visibility
    created_at: str
    runs: int
    pools: list[str]
    paused: list[str]
    latest_version: str | None
    settings: dict[str, Any]


def _setting(field: Any) -> Any:
    """What may be said of a setting: a value in its bounds, or null for the server's."""
    kind = field.type
    if field.name in LEAST:
        whole = kind in (int, int | None)
        bounds = Meta(ge=int(LEAST[field.name]), le=int(MOST.get(field.name, 1e10)))
        kind = Annotated[int if whole else float, bounds]
    return Union[kind, None, UnsetType]  # noqa: UP007 - made of values


AdminModelChanges = msgspec.defstruct(
    "AdminModelChanges",
    [
        ("visibility", Visibility | UnsetType, UNSET),
        *((each.name, _setting(each), UNSET) for each in msgspec.structs.fields(ModelConfig)),
    ],
    namespace={"__doc__": "What is to be changed of a model's settings; null leaves it to the server again."},
)


class PoolBody(msgspec.Struct):
    """One pool of a model, or all of its pools."""

    pool: str | None = None


class AdminQueueOut(msgspec.Struct):
    """What waits and runs of one model in one pool."""

    pool: str
    model: str
    paused: bool
    waiting: int
    waiting_input_bytes: int
    oldest_at: str | None
    oldest_s: float | None
    running: int
    workers: int
    free: int
    reason: str | None
    webhooks: int


class WorkerOut(msgspec.Struct):
    """A worker with one of its models."""

    worker: str
    agent: str
    pool: str
    model: str
    version: str
    attached: bool
    state: str
    reason: str
    since: str | None
    probe_at: str | None
    strikes: int
    running: int
    free: int


class WorkersOut(msgspec.Struct):
    """How a worker stands with each of its models now."""

    results: list[WorkerOut]


class QueuesOut(msgspec.Struct):
    """How the queues of a model stand now."""

    results: list[AdminQueueOut]


class MarkBody(msgspec.Struct):
    """With one model, or with all that the worker has."""

    model: str | None = None


class CancelBody(msgspec.Struct):
    """Which predictions that have not ended are canceled: those that are all of this. Without any of it
    ``all`` must be true. ``cursor`` is ``next`` of the answer before, for the rest."""

    account: str | None = None
    model: str | None = None
    token: str | None = None
    end_user: str | None = None
    status: Literal["starting", "processing"] | None = None
    created_before: str | None = None
    all: bool = False
    dry_run: bool = False
    cursor: str | None = None


class CanceledOut(msgspec.Struct):
    """A prediction that was canceled, or, while it runs, is being."""

    id: str
    account: str
    model: str
    token: str
    status: str
    created_at: str


class CancelOut(msgspec.Struct):
    """``canceled`` is 0 when it was only tried; ``next`` is where to go on, null when that is all."""

    canceled: int
    predictions: list[CanceledOut]
    next: str | None


class DeadOut(msgspec.Struct):
    """A prediction that workers or storage failed, not its model."""

    id: str
    account: str
    pool: str
    model: str
    error_code: str | None
    error: str | None
    completed_at: str | None
    workers: list[str]


class RedriveBody(msgspec.Struct):
    """Ids of dead letters."""

    ids: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1000)]


class RedrivenOut(msgspec.Struct):
    id: str
    model: str
    redriven_from: str
    status: str


class RedriveOut(msgspec.Struct):
    """What each is tried again as."""

    results: list[RedrivenOut]
