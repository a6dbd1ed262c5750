"""Tokens: the records behind API keys. Only a secret's SHA-256 is kept; the secret is shown once."""

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import BindParameter, bindparam, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.protocol.names import valid_name
from coordinator.store.accounts import check_share
from coordinator.store.connections import Connections
from coordinator.store.daily_limits import DailyLimits, amount_or_none, count_or_none, limits_of
from coordinator.store.errors import Ambiguous, Invalid, NameTaken, NotFound
from coordinator.store.schema import accounts, tokens

SCOPES = ("submit", "read", "worker", "keys", "admin")
KEY_SCOPES = ("submit", "read")
"""What a key may have that a token of scope ``keys`` makes for a user of its own."""
SECRET_PREFIX = "cf_"  # noqa: S105 - how every secret begins, not one of them
ID_PREFIX = "tok_"
PREFIX_LENGTH = 8
MAX_SECRET_LENGTH = 1024

_COLUMNS = tuple(column for column in tokens.c if column.name not in ("hash", "previous_hash"))
_OF_ACCOUNT = ("share", "storage_at_most", "daily_predictions", "daily_run_s", "daily_budget")
_NAMES = (*(str(column.name) for column in _COLUMNS), *(f"account_{name}" for name in _OF_ACCOUNT))
RECORDS = select(*_COLUMNS, *(accounts.c[name] for name in _OF_ACCOUNT)).join(
    accounts, accounts.c.name == tokens.c.account
)
_NAME_HINT = "use 1 to 64 letters, digits and . _ @ - inside"
_PATTERN = re.compile(r"[a-z0-9._/*?\[\]!-]+")
_AT_ONCE = 500
"""Secrets looked up by one statement."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token's record; never its secret."""

    id: str
    account: str
    name: str
    scopes: frozenset[str]
    pools: tuple[str, ...]
    """In order of preference."""
    models: tuple[str, ...] = ()
    """fnmatch patterns of what a worker may register; empty: any name that no other account owns."""
    share: float = 1.0
    """Weight beside the other tokens of its account."""
    max_running: int = 0
    """Predictions of it that may run at once on each model; 0 is no limit."""
    creations_per_min: int | None = None
    requests_per_min: int | None = None
    """How often it may create, and ask for anything else; 0 is no limit, None the server's."""
    retention_s: float | None = None
    """How long its predictions are kept after their end; None leaves it to the model."""
    daily_predictions: int | None = None
    daily_run_s: float | None = None
    daily_budget: float | None = None
    """What it may have in a day (``daily_limits.py``); 0 and None are no limit."""
    overflow_per_day: int | None = None
    overflow_cost_per_day: float | None = None
    """What of it may run at a provider in a day; 0 is no limit, None the server's."""
    account_share: float = 1.0
    account_storage_at_most: int | None = None
    account_daily_predictions: int | None = None
    account_daily_run_s: float | None = None
    account_daily_budget: float | None = None
    worker: str | None = None
    replicate: bytes | None = None
    """Provider key, encrypted before it comes here."""
    allow: bool = True
    api: str = "replicate"
    prefix: str
    """The secret's first characters, to recognise it in a list."""
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    generation: int = 1
    """Which of its secrets this is, counted from 1."""
    previous_until: int | None = None
    """How long the secret before is good, too."""
    last_used_at: int | None = None
    parent: str | None = None
    """Id of the token that made it for a user of its own."""

    @property
    def daily(self) -> DailyLimits:
        return limits_of(self.daily_predictions, self.daily_run_s, self.daily_budget)

    @property
    def account_daily(self) -> DailyLimits:
        """Its account's."""
        return limits_of(self.account_daily_predictions, self.account_daily_run_s, self.account_daily_budget)

    def usable(self, now: int) -> bool:
        """Whether the token is good at ``now``, in microseconds since the epoch."""
        return self.allow and self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret, and looked up."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def new_id() -> str:
    """An id for a new token."""
    return ID_PREFIX + base64.b32encode(secrets.token_bytes(10)).decode().lower()


def new_secret() -> str:
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def hint_of(secret: str) -> str:
    """The first characters of a secret that somebody else chose: few enough to keep the rest a secret."""
    return secret[: min(PREFIX_LENGTH, len(secret) // 4)]


class Tokens:
    """The tokens of all accounts."""

    def __init__(self, connections: Connections, clock: Callable[[], int]) -> None:
        self._connections = connections
        self._clock = clock
        secret: BindParameter[bytes] = bindparam("hash")
        self._by_hash = connections.prepare(
            RECORDS.add_columns(tokens.c.hash).where(
                or_(tokens.c.hash == secret, tokens.c.previous_hash == secret)
            )
        )
        self._by_id = connections.prepare(RECORDS.where(tokens.c.id == bindparam("id")))

    async def create(
        self,
        *,
        name: str,
        account: str = "default",
        scopes: Iterable[str] = ("submit", "read"),
        pools: tuple[str, ...] = ("default",),
        models: tuple[str, ...] = (),
        expires_at: int | None = None,
        api: str = "replicate",
        worker: str | None = None,
        share: float = 1.0,
        max_running: int = 0,
        creations_per_min: int | None = None,
        requests_per_min: int | None = None,
        retention_s: float | None = None,
        daily_predictions: int | None = None,
        daily_run_s: float | None = None,
        daily_budget: float | None = None,
        overflow_per_day: int | None = None,
        overflow_cost_per_day: float | None = None,
        replicate: bytes | None = None,
        parent: str | None = None,
    ) -> tuple[Token, str]:
        """Make a token, and its account when that is new. The second value is the secret, for the only time.

        Raises NameTaken when a live token of the account has the name, Invalid for bad names or scopes.
        """
        now, secret = self._clock(), new_secret()
        token = Token(
            id=new_id(),
            account=account,
            name=name,
            scopes=frozenset(scopes),
            pools=tuple(pools),
            models=tuple(models),
            worker=worker,
            share=share,
            max_running=max_running,
            creations_per_min=creations_per_min,
            requests_per_min=requests_per_min,
            retention_s=retention_s,
            daily_predictions=daily_predictions,
            daily_run_s=daily_run_s,
            daily_budget=daily_budget,
            overflow_per_day=overflow_per_day,
            overflow_cost_per_day=overflow_cost_per_day,
            replicate=replicate,
            api=api,
            prefix=secret[:PREFIX_LENGTH],
            created_at=now,
            expires_at=expires_at,
            parent=parent,
        )
        check(token)
        row = to_row(token) | {"hash": hash_secret(secret)}
        new_account = self._connections.insert(accounts).on_conflict_do_nothing()

        async def insert(connection: AsyncConnection) -> None:
            await connection.execute(new_account, {"name": account, "created_at": now})
            await connection.execute(tokens.insert(), row)

        try:
            await self._connections.write(insert)
        except IntegrityError:
            raise NameTaken(
                f"account {account} already has a token named {name}", "revoke it first, or take another name"
            ) from None
        return token, secret

    async def by_secret(self, secret: str) -> Token | None:
        """The record of a secret, usable or not: ask ``usable``. None when it is nobody's. That of a secret
        which another one has followed ends when that secret does."""
        if not 0 < len(secret) <= MAX_SECRET_LENGTH:
            return None
        hash = hash_secret(secret)
        row = await self._by_hash.first(hash=hash)
        if row is None:
            return None
        *columns, current = row
        token = from_row(columns)
        return token if bytes(current) == hash else _as_before(token)

    async def by_id(self, id: str) -> Token | None:
        row = await self._by_id.first(id=id)
        return None if row is None else from_row(row)

    async def known(self, secrets: Sequence[str]) -> dict[str, Token]:
        """The records of those of these secrets that anybody has, or had before another one, by secret."""
        hashes = {hash_secret(secret): secret for secret in secrets}
        found: dict[str, Token] = {}
        for start in range(0, len(hashes), _AT_ONCE):
            batch = tuple(hashes)[start : start + _AT_ONCE]
            c = tokens.c
            statement = RECORDS.add_columns(c.hash, c.previous_hash).where(
                or_(c.hash.in_(batch), c.previous_hash.in_(batch))
            )
            for *row, hash, previous in await self._connections.rows(statement):
                for known in (hash, previous):
                    if known is not None and (secret := hashes.get(bytes(known))) is not None:
                        found[secret] = from_row(row)
        return found

    async def adopt(
        self,
        account: str,
        made: Sequence[tuple[Token, str]],
        changed: Sequence[Token],
        now: int,
    ) -> None:
        """Store records of secrets that others chose, and change known ones: all of it or nothing.

        Raises Invalid for a bad account, NameTaken when a secret or name has come into use meanwhile.
        """
        if not valid_name(account):
            raise Invalid(f"{account!r} is no name for an account", _NAME_HINT)
        rows = [to_row(token) | {"hash": hash_secret(secret)} for token, secret in made]
        new_account = self._connections.insert(accounts).on_conflict_do_nothing()

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(new_account, {"name": account, "created_at": now})
            if rows:
                await connection.execute(tokens.insert(), rows)
            for token in changed:
                await connection.execute(update(tokens).where(tokens.c.id == token.id).values(to_row(token)))

        try:
            await self._connections.write(work)
        except IntegrityError:
            raise NameTaken("one of these tokens has been made meanwhile", "import the file again") from None

    async def list(self, account: str | None = None) -> list[Token]:
        """All tokens, or those of one account, revoked ones too, oldest first."""
        statement = RECORDS.order_by(tokens.c.created_at, tokens.c.id)
        if account is not None:
            statement = statement.where(tokens.c.account == account)
        return [from_row(row) for row in await self._connections.rows(statement)]

    async def revoke(self, id_or_name: str, account: str | None = None, parent: str | None = None) -> Token:
        """End a token for good, and the keys that it has made, and return it; a revoked one stays as it is.

        A name means the live token of that name, or else the one revoked last. Raises NotFound, and Ambiguous
        when the name is used by several accounts and none was given. With ``parent`` only the keys count that
        this token has made.
        """
        named = or_(tokens.c.id == id_or_name, tokens.c.name == id_or_name)
        statement = RECORDS.where(named)
        if account is not None:
            statement = statement.where(tokens.c.account == account)
        if parent is not None:
            statement = statement.where(tokens.c.parent == parent)

        async def work(connection: AsyncConnection) -> Token:
            found = [from_row(row) for row in (await connection.execute(statement)).all()]
            token = choose(id_or_name, found)
            if token.revoked_at is not None:
                return token
            now = self._clock()
            made_by_it = (tokens.c.parent == token.id) & tokens.c.revoked_at.is_(None)
            ends = update(tokens).where(or_(tokens.c.id == token.id, made_by_it))
            await connection.execute(ends.values(revoked_at=now))
            return msgspec.structs.replace(token, revoked_at=now)

        return await self._connections.write(work)

    async def count(self) -> int:
        """How many tokens were ever made: 0 means that this is a first start."""
        rows = await self._connections.rows(select(func.count()).select_from(tokens))
        return int(rows[0][0])


def choose(id_or_name: str, found: list[Token]) -> Token:
    for token in found:
        if token.id == id_or_name:
            return token
    live = [token for token in found if token.revoked_at is None]
    if len(live) > 1:
        owners = ", ".join(sorted(token.account for token in live))
        raise Ambiguous(f"several accounts have a token named {id_or_name}: {owners}", "say which account")
    if live:
        return live[0]
    if not found:
        raise NotFound(f"there is no token {id_or_name}")
    return max(found, key=lambda token: token.revoked_at or 0)


def _as_before(token: Token) -> Token:
    """The record as the secret before the current one has it: it ends with that secret."""
    ends = min(at for at in (token.previous_until or 0, token.expires_at) if at is not None)
    return msgspec.structs.replace(token, expires_at=ends, generation=token.generation - 1)


def check(token: Token) -> None:
    """Raises Invalid for what no record may say."""
    if not valid_name(token.name) or token.name.startswith(ID_PREFIX):
        raise Invalid(f"{token.name!r} is no name for a token", _NAME_HINT)
    if not valid_name(token.account):
        raise Invalid(f"{token.account!r} is no name for an account", _NAME_HINT)
    if not token.scopes or not token.scopes <= set(SCOPES):
        unknown = ", ".join(sorted(token.scopes - set(SCOPES))) or "none"
        raise Invalid(f"unknown scopes: {unknown}", f"scopes are {', '.join(SCOPES)}")
    if not token.pools:
        raise Invalid("no pool is named", "name at least one pool")
    for pool in token.pools:
        if not valid_name(pool):
            raise Invalid(f"{pool!r} is no name for a pool", _NAME_HINT)
    _check_patterns(token.models)
    check_share(token.share)
    if not 0 <= token.max_running < 1 << 31:
        raise Invalid(f"{token.max_running} is no number of predictions", "0 is no limit")
    for rate in (token.creations_per_min, token.requests_per_min):
        if rate is not None and not 0 <= rate < 1 << 31:
            raise Invalid(f"{rate} is no number of requests a minute", "0 is no limit")
    if token.retention_s is not None and token.retention_s < 0:
        raise Invalid(f"{token.retention_s:g} is no time", "use seconds, or nothing")
    for count in (token.daily_predictions, token.overflow_per_day):
        count_or_none(count)
    for amount in (token.daily_run_s, token.daily_budget, token.overflow_cost_per_day):
        amount_or_none(amount)


def _check_patterns(models: Iterable[str]) -> None:
    """Raises Invalid for what no name of a model can be like."""
    for pattern in models:
        if not _PATTERN.fullmatch(pattern) or ("/" not in pattern and "*" not in pattern):
            raise Invalid(f"no model is called like {pattern!r}", "use owner/name in lower case, * for any")


def to_row(token: Token) -> dict[str, Any]:
    row = {str(column.name): getattr(token, str(column.name)) for column in _COLUMNS}
    for name in ("scopes", "pools", "models"):
        values = row[name]
        row[name] = msgspec.json.encode(sorted(values) if name == "scopes" else values).decode()
    return row


def from_row(row: Any) -> Token:
    fields = dict(zip(_NAMES, row, strict=True))
    for name in ("scopes", "pools", "models"):
        fields[name] = msgspec.json.decode(fields[name])
    fields["allow"] = bool(fields["allow"])
    return msgspec.convert(fields, Token)
