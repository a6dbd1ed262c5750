"""Tokens: the records behind API keys. Only a secret's SHA-256 is kept; the secret is shown once."""

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.protocol.names import valid_name
from coordinator.store.accounts import check_share
from coordinator.store.connections import Connections
from coordinator.store.errors import Ambiguous, Invalid, NameTaken, NotFound
from coordinator.store.schema import accounts, tokens

SCOPES = ("submit", "read", "worker", "admin")
SECRET_PREFIX = "cf_"  # noqa: S105 - how every secret begins, not one of them
ID_PREFIX = "tok_"
PREFIX_LENGTH = 8
MAX_SECRET_LENGTH = 1024

_COLUMNS = tuple(column for column in tokens.c if column.name != "hash")
_NAMES = (*(str(column.name) for column in _COLUMNS), "account_share", "account_storage_at_most")
_RECORDS = select(*_COLUMNS, accounts.c.share, accounts.c.storage_at_most).join(
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
    account_share: float = 1.0
    account_storage_at_most: int | None = None
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

    def usable(self, now: int) -> bool:
        """Whether the token is good at ``now``, in microseconds since the epoch."""
        return self.allow and self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret, and looked up."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def new_id() -> str:
    """An id for a new token."""
    return ID_PREFIX + base64.b32encode(secrets.token_bytes(10)).decode().lower()


def hint_of(secret: str) -> str:
    """The first characters of a secret that somebody else chose: few enough to keep the rest a secret."""
    return secret[: min(PREFIX_LENGTH, len(secret) // 4)]


class Tokens:
    """The tokens of all accounts."""

    def __init__(self, connections: Connections, clock: Callable[[], int]) -> None:
        self._connections = connections
        self._clock = clock
        self._by_hash = connections.prepare(_RECORDS.where(tokens.c.hash == bindparam("hash")))
        self._by_id = connections.prepare(_RECORDS.where(tokens.c.id == bindparam("id")))

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
        replicate: bytes | None = None,
    ) -> tuple[Token, str]:
        """Make a token, and its account when that is new. The second value is the secret, for the only time.

        Raises NameTaken when a live token of the account has the name, Invalid for bad names or scopes.
        """
        wanted = frozenset(scopes)
        _check(name, account, wanted, pools)
        _check_patterns(models)
        check_share(share)
        if not 0 <= max_running < 1 << 31:
            raise Invalid(f"{max_running} is no number of predictions", "0 is no limit")
        for rate in (creations_per_min, requests_per_min):
            if rate is not None and not 0 <= rate < 1 << 31:
                raise Invalid(f"{rate} is no number of requests a minute", "0 is no limit")
        now = self._clock()
        secret = SECRET_PREFIX + secrets.token_urlsafe(32)
        token = Token(
            id=new_id(),
            account=account,
            name=name,
            scopes=wanted,
            pools=tuple(pools),
            models=tuple(models),
            worker=worker,
            share=share,
            max_running=max_running,
            creations_per_min=creations_per_min,
            requests_per_min=requests_per_min,
            retention_s=retention_s,
            replicate=replicate,
            api=api,
            prefix=secret[:PREFIX_LENGTH],
            created_at=now,
            expires_at=expires_at,
        )
        row = _to_row(token) | {"hash": hash_secret(secret)}
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
        """The record of a secret, usable or not: ask ``usable``. None when it is nobody's."""
        if not 0 < len(secret) <= MAX_SECRET_LENGTH:
            return None
        row = await self._by_hash.first(hash=hash_secret(secret))
        return None if row is None else _from_row(row)

    async def by_id(self, id: str) -> Token | None:
        row = await self._by_id.first(id=id)
        return None if row is None else _from_row(row)

    async def known(self, secrets: Sequence[str]) -> dict[str, Token]:
        """The records of those of these secrets that anybody has, by secret."""
        hashes = {hash_secret(secret): secret for secret in secrets}
        found: dict[str, Token] = {}
        for start in range(0, len(hashes), _AT_ONCE):
            batch = tuple(hashes)[start : start + _AT_ONCE]
            statement = _RECORDS.add_columns(tokens.c.hash).where(tokens.c.hash.in_(batch))
            for *row, hash in await self._connections.rows(statement):
                found[hashes[bytes(hash)]] = _from_row(row)
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
        rows = [_to_row(token) | {"hash": hash_secret(secret)} for token, secret in made]
        new_account = self._connections.insert(accounts).on_conflict_do_nothing()

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(new_account, {"name": account, "created_at": now})
            if rows:
                await connection.execute(tokens.insert(), rows)
            for token in changed:
                await connection.execute(update(tokens).where(tokens.c.id == token.id).values(_to_row(token)))

        try:
            await self._connections.write(work)
        except IntegrityError:
            raise NameTaken("one of these tokens has been made meanwhile", "import the file again") from None

    async def list(self, account: str | None = None) -> list[Token]:
        """All tokens, or those of one account, revoked ones too, oldest first."""
        statement = _RECORDS.order_by(tokens.c.created_at, tokens.c.id)
        if account is not None:
            statement = statement.where(tokens.c.account == account)
        return [_from_row(row) for row in await self._connections.rows(statement)]

    async def revoke(self, id_or_name: str, account: str | None = None) -> Token:
        """End a token for good and return it; a revoked one stays as it is.

        A name means the live token of that name, or else the one revoked last. Raises NotFound, and Ambiguous
        when the name is used by several accounts and none was given.
        """
        named = or_(tokens.c.id == id_or_name, tokens.c.name == id_or_name)
        statement = _RECORDS.where(named)
        if account is not None:
            statement = statement.where(tokens.c.account == account)

        async def work(connection: AsyncConnection) -> Token:
            found = [_from_row(row) for row in (await connection.execute(statement)).all()]
            token = _choose(id_or_name, found)
            if token.revoked_at is not None:
                return token
            now = self._clock()
            await connection.execute(update(tokens).where(tokens.c.id == token.id).values(revoked_at=now))
            return msgspec.structs.replace(token, revoked_at=now)

        return await self._connections.write(work)

    async def count(self) -> int:
        """How many tokens were ever made: 0 means that this is a first start."""
        rows = await self._connections.rows(select(func.count()).select_from(tokens))
        return int(rows[0][0])


def _choose(id_or_name: str, found: list[Token]) -> Token:
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


def _check(name: str, account: str, scopes: frozenset[str], pools: tuple[str, ...]) -> None:
    if not valid_name(name) or name.startswith(ID_PREFIX):
        raise Invalid(f"{name!r} is no name for a token", _NAME_HINT)
    if not valid_name(account):
        raise Invalid(f"{account!r} is no name for an account", _NAME_HINT)
    if not scopes or not scopes <= set(SCOPES):
        unknown = ", ".join(sorted(scopes - set(SCOPES))) or "none"
        raise Invalid(f"unknown scopes: {unknown}", f"scopes are {', '.join(SCOPES)}")
    if not pools:
        raise Invalid("no pool is named", "name at least one pool")
    for pool in pools:
        if not valid_name(pool):
            raise Invalid(f"{pool!r} is no name for a pool", _NAME_HINT)


def _check_patterns(models: Iterable[str]) -> None:
    """Raises Invalid for what no name of a model can be like."""
    for pattern in models:
        if not _PATTERN.fullmatch(pattern) or ("/" not in pattern and "*" not in pattern):
            raise Invalid(f"no model is called like {pattern!r}", "use owner/name in lower case, * for any")


def _to_row(token: Token) -> dict[str, Any]:
    row = {str(column.name): getattr(token, str(column.name)) for column in _COLUMNS}
    for name in ("scopes", "pools", "models"):
        values = row[name]
        row[name] = msgspec.json.encode(sorted(values) if name == "scopes" else values).decode()
    return row


def _from_row(row: Any) -> Token:
    fields = dict(zip(_NAMES, row, strict=True))
    for name in ("scopes", "pools", "models"):
        fields[name] = msgspec.json.decode(fields[name])
    fields["allow"] = bool(fields["allow"])
    return msgspec.convert(fields, Token)
