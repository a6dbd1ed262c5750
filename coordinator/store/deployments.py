"""Deployments: an account's own names for a version of a model and what it is to run on.

Each change makes a new release, numbered from 1; only the current one is kept.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.protocol.names import valid_name
from coordinator.store.connections import Connections
from coordinator.store.errors import Invalid, NameTaken
from coordinator.store.schema import accounts, deployments

_COLUMNS = tuple(deployments.c)
_NAMES = tuple(str(column.name) for column in _COLUMNS)


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment with its current release, which is of ``released_at``."""

    account: str
    name: str
    created_at: int
    number: int
    released_at: int
    model: str
    version: str
    gpu: str
    """Name of the GPU that it runs on; empty when any worker of the model will do."""
    min_instances: int
    max_instances: int
    """What its owner wished for: workers come and go by themselves."""


class Deployments:
    """The deployments of all accounts; each call is about one account's own."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        c = deployments.c
        self._get = connections.prepare(
            select(*_COLUMNS).where(c.account == bindparam("account"), c.name == bindparam("name"))
        )

    async def create(self, row: Deployment) -> None:
        """Store a new one. Raises Invalid for its name, NameTaken when the account has it already."""
        if not valid_name(row.name):
            raise Invalid(f"{row.name!r} is no name of a deployment", "use letters, digits and . _ @ -")
        insert = self._connections.insert
        values = {name: getattr(row, name) for name in _NAMES}

        async def put(connection: AsyncConnection) -> None:
            await connection.execute(
                insert(accounts).on_conflict_do_nothing(),
                {"name": row.account, "created_at": row.created_at},
            )
            made = await connection.execute(insert(deployments).on_conflict_do_nothing(), values)
            if made.rowcount == 0:
                raise NameTaken(f"there is a deployment {row.account}/{row.name} already")

        await self._connections.write(put)

    async def get(self, account: str, name: str) -> Deployment | None:
        row = await self._get.first(account=account, name=name)
        return None if row is None else _from_row(row)

    async def release(
        self, account: str, name: str, changes: Mapping[str, Any], now: int
    ) -> Deployment | None:
        """Change fields, which makes a new release unless they are as they were; None without such one."""
        own = (deployments.c.account == account, deployments.c.name == name)

        async def put(connection: AsyncConnection) -> Deployment | None:
            row = (await connection.execute(select(*_COLUMNS).where(*own))).first()
            if row is None:
                return None
            before = _from_row(row)
            after = msgspec.structs.replace(before, **changes)
            if after == before:
                return before
            after = msgspec.structs.replace(after, number=before.number + 1, released_at=now)
            values = {field: getattr(after, field) for field in (*changes, "number", "released_at")}
            await connection.execute(update(deployments).where(*own).values(**values))
            return after

        return await self._connections.write(put)

    async def delete(self, account: str, name: str) -> bool:
        """Whether there was one."""
        gone = delete(deployments).where(deployments.c.account == account, deployments.c.name == name)

        async def take(connection: AsyncConnection) -> bool:
            return (await connection.execute(gone)).rowcount > 0

        return await self._connections.write(take)

    async def list(
        self, account: str, *, before: tuple[int, str] | None = None, limit: int
    ) -> list[Deployment]:
        """A page of the account's deployments, newest first; ``before`` is (created_at, name) of the last one
        of the page before."""
        c = deployments.c
        statement = (
            select(*_COLUMNS)
            .where(c.account == account)
            .order_by(c.created_at.desc(), c.name.desc())
            .limit(limit)
        )
        if before is not None:
            statement = statement.where(tuple_(c.created_at, c.name) < tuple_(*before))
        return [_from_row(row) for row in await self._connections.rows(statement)]


def _from_row(row: Any) -> Deployment:
    return Deployment(**dict(zip(_NAMES, row, strict=True)))
