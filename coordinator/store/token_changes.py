"""What becomes of tokens after they were made: another secret, other rights, and when each was last used."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.store.connections import Connections
from coordinator.store.errors import Invalid, NotFound
from coordinator.store.schema import tokens
from coordinator.store.tokens import (
    PREFIX_LENGTH,
    RECORDS,
    Token,
    check,
    choose,
    from_row,
    hash_secret,
    new_secret,
    to_row,
)

LONGEST_OVERLAP_S = 90 * 86400.0
CHANGEABLE = (
    "scopes",
    "pools",
    "models",
    "share",
    "max_running",
    "creations_per_min",
    "requests_per_min",
    "retention_s",
    "daily_predictions",
    "daily_run_s",
    "daily_budget",
    "overflow_per_day",
    "overflow_cost_per_day",
    "expires_at",
)
_TYPES = {field.name: field.type for field in msgspec.structs.fields(Token)}
Position = tuple[int, str]
"""Where a page ends: (created_at, id) of its last token."""


class TokenChanges:
    """Tokens are named by id, or by name as ``Tokens.revoke`` has it. ``parent`` is the id of the token whose
    keys alone are meant."""

    def __init__(self, connections: Connections, clock: Callable[[], int]) -> None:
        self._connections = connections
        self._clock = clock
        c = tokens.c
        newer = or_(c.last_used_at.is_(None), c.last_used_at < bindparam("at"))
        self._use = (
            update(tokens).where(c.id == bindparam("token"), newer).values(last_used_at=bindparam("at"))
        )

    async def page(
        self,
        *,
        account: str | None = None,
        parent: str | None = None,
        after: Position | None = None,
        limit: int,
    ) -> list[Token]:
        """Tokens, revoked ones too, oldest first."""
        c = tokens.c
        statement = RECORDS.order_by(c.created_at, c.id).limit(limit)
        if account is not None:
            statement = statement.where(c.account == account)
        if parent is not None:
            statement = statement.where(c.parent == parent)
        if after is not None:
            statement = statement.where(tuple_(c.created_at, c.id) > tuple_(*after))
        return [from_row(row) for row in await self._connections.rows(statement)]

    async def count_keys(self, parent: str, now: int) -> int:
        """How many keys of this token are good."""
        c = tokens.c
        good = (c.parent == parent, c.revoked_at.is_(None), or_(c.expires_at.is_(None), c.expires_at > now))
        rows = await self._connections.rows(select(func.count()).select_from(tokens).where(*good))
        return int(rows[0][0])

    async def get(self, id_or_name: str, account: str | None = None, parent: str | None = None) -> Token:
        """Raises NotFound, Ambiguous."""
        return await self._connections.read(
            lambda connection: _named(connection, id_or_name, account, parent)
        )

    async def change(self, id_or_name: str, changes: Mapping[str, Any], account: str | None = None) -> Token:
        """Change some of ``CHANGEABLE``. Raises NotFound, Ambiguous, Invalid."""
        if not changes:
            raise Invalid("nothing to change was given", "see cogflare token set --help")
        if unknown := changes.keys() - set(CHANGEABLE):
            raise Invalid(f"{', '.join(sorted(unknown))} of a token cannot be changed")
        try:
            given = {name: msgspec.convert(value, _TYPES[name]) for name, value in changes.items()}
        except msgspec.ValidationError as error:
            raise Invalid(str(error)) from None

        async def work(connection: AsyncConnection) -> Token:
            token = await _live(connection, id_or_name, account, None)
            if token.parent is not None:
                raise Invalid(
                    f"{token.name} is a key that another token made", "revoke it, or change that one"
                )
            changed = msgspec.structs.replace(token, **given)
            check(changed)
            row = to_row(changed)
            values = {name: row[name] for name in changes}
            await connection.execute(update(tokens).where(tokens.c.id == token.id).values(**values))
            return changed

        return await self._connections.write(work)

    async def rotate(
        self, id_or_name: str, overlap_s: float, account: str | None = None, parent: str | None = None
    ) -> tuple[Token, str]:
        """Give a token another secret, the second value, for the only time. The one before is good for
        ``overlap_s`` more; any older one ends. Raises NotFound, Ambiguous, Invalid."""
        if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
            raise Invalid(
                f"{overlap_s:g} s is no overlap",
                f"use 0 to {LONGEST_OVERLAP_S / 86400:g} days; 0 ends it now",
            )

        async def work(connection: AsyncConnection) -> tuple[Token, str]:
            token = await _live(connection, id_or_name, account, parent)
            own = tokens.c.id == token.id
            secret, now = new_secret(), self._clock()
            rotated = msgspec.structs.replace(
                token,
                prefix=secret[:PREFIX_LENGTH],
                generation=token.generation + 1,
                previous_until=now + round(overlap_s * 1_000_000),
            )
            before = await connection.scalar(select(tokens.c.hash).where(own))
            values = to_row(rotated) | {"hash": hash_secret(secret), "previous_hash": before}
            await connection.execute(update(tokens).where(own).values(**values))
            return rotated, secret

        return await self._connections.write(work)

    async def used(self, last: Mapping[str, int]) -> None:
        """Note when tokens, by id, were used last; an earlier time changes nothing."""
        rows = [{"token": token, "at": at} for token, at in last.items()]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(self._use, rows)

        if rows:
            await self._connections.write(work)


async def _named(
    connection: AsyncConnection, id_or_name: str, account: str | None, parent: str | None
) -> Token:
    statement = RECORDS.where(or_(tokens.c.id == id_or_name, tokens.c.name == id_or_name))
    if account is not None:
        statement = statement.where(tokens.c.account == account)
    if parent is not None:
        statement = statement.where(tokens.c.parent == parent)
    return choose(id_or_name, [from_row(row) for row in (await connection.execute(statement)).all()])


async def _live(
    connection: AsyncConnection, id_or_name: str, account: str | None, parent: str | None
) -> Token:
    token = await _named(connection, id_or_name, account, parent)
    if token.revoked_at is not None:
        raise NotFound(f"the token {token.name} is revoked", "make a new one")
    return token
