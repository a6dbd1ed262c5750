"""Names that clients give to what they create, so that a repeated request creates nothing more.

A name is reserved before anything is created, with the ids that will be used: whatever is killed in between,
the same request again uses the same ids.
"""

from typing import Any, Literal

import msgspec
from sqlalchemy import bindparam, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.store.connections import Connections
from coordinator.store.schema import aliases

Kind = Literal["id", "key"]
"""A prediction's id of the client's own, or an ``Idempotency-Key``."""

_NAMES = ("account", "kind", "name", "digest", "ids", "created_at", "expires_at")
_COLUMNS = tuple(aliases.c[name] for name in _NAMES)


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """One name. ``expires_at`` None keeps it for good."""

    account: str
    kind: Kind
    name: str
    digest: bytes
    """Of the request that it stands for."""
    ids: tuple[str, ...]
    """Ids of predictions, one for each that the request asks for; an empty one is of what was refused."""
    created_at: int
    expires_at: int | None = None


class Aliases:
    """The names of all accounts; each account has its own."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        c = aliases.c
        self._get = connections.prepare(
            select(*_COLUMNS).where(
                c.account == bindparam("account"),
                c.kind == bindparam("kind"),
                c.name == bindparam("name"),
                or_(c.expires_at.is_(None), c.expires_at > bindparam("now")),
            )
        )

    async def get(self, account: str, kind: Kind, name: str, now: int) -> Alias | None:
        """The name, unless its time is over."""
        row = await self._get.first(account=account, kind=kind, name=name, now=now)
        return None if row is None else _from_row(row)

    async def reserve(self, alias: Alias) -> Alias:
        """Take a name, durably. Gives what it stands for from now on: this, or what somebody reserved before
        and whose time is not over."""
        c = aliases.c
        this = (c.account == alias.account, c.kind == alias.kind, c.name == alias.name)
        values = {name: getattr(alias, name) for name in _NAMES} | {"ids": ",".join(alias.ids)}
        insert = self._connections.insert(aliases).on_conflict_do_nothing()

        async def work(connection: AsyncConnection) -> Any:
            if (await connection.execute(insert, values)).rowcount:
                return None
            over = delete(aliases).where(*this, c.expires_at <= alias.created_at)
            if (await connection.execute(over)).rowcount:
                await connection.execute(insert, values)
                return None
            return (await connection.execute(select(*_COLUMNS).where(*this))).one()

        row = await self._connections.write(work)
        return alias if row is None else _from_row(row)

    async def forget(self, now: int, limit: int) -> int:
        """Delete names whose time is over, at most so many; gives how many that were."""
        c = aliases.c
        key = (c.account, c.kind, c.name)
        over = select(*key).where(c.expires_at <= now).order_by(c.expires_at).limit(limit)

        async def work(connection: AsyncConnection) -> int:
            rows = (await connection.execute(over)).all()
            for account, kind, name in rows:
                await connection.execute(
                    delete(aliases).where(c.account == account, c.kind == kind, c.name == name)
                )
            return len(rows)

        return await self._connections.write(work)


def _from_row(row: Any) -> Alias:
    fields = dict(zip(_NAMES, row, strict=True))
    fields["ids"] = tuple(fields["ids"].split(","))
    return Alias(**fields)
