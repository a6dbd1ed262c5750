"""What administrators send and get: the public field names of ``/v1/admin``."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Count = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
Scope = Literal["submit", "read", "worker", "keys", "admin"]
Bytes = Annotated[int, Meta(ge=0, le=(1 << 62))]


class TokenBody(msgspec.Struct):
    """A token to be made."""

    name: str
    account: str = "default"
    scopes: tuple[Scope, ...] = ("submit", "read")
    pools: tuple[str, ...] = ("default",)
    models: tuple[str, ...] = ()
    expire_s: Seconds | None = None
    worker: str | None = None
    share: float = 1.0
    max_running: Count = 0
    creations_per_min: Count | None = None
    requests_per_min: Count | None = None
    retention_s: Seconds | None = None
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
    expire_s: Seconds | UnsetType | None = UNSET


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


class AdminAccountChanges(msgspec.Struct):
    """``storage_at_most_bytes`` 0 or null is no limit."""

    share: float | UnsetType = UNSET
    storage_at_most_bytes: Bytes | UnsetType | None = UNSET


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
