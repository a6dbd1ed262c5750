"""How many bytes the files of each account take, counted by the same writes that make and delete their rows.

outputs   files that its predictions gave
inputs    files that live as long as predictions use them: they stood in inputs as data URLs
uploads   files that it uploaded
"""

from collections.abc import Mapping

import msgspec
from sqlalchemy import bindparam, case, delete, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.store.connections import Connections
from coordinator.store.schema import HAS_FILES, accounts, files, predictions, storage_use


class Use(msgspec.Struct, frozen=True):
    """Bytes, or a change of them."""

    outputs: int = 0
    inputs: int = 0
    uploads: int = 0

    @property
    def total(self) -> int:
        return self.outputs + self.inputs + self.uploads

    def __add__(self, other: "Use") -> "Use":
        return Use(self.outputs + other.outputs, self.inputs + other.inputs, self.uploads + other.uploads)


def of_file(size: int, *, bound: bool) -> Use:
    return Use(inputs=size) if bound else Use(uploads=size)


class StorageUse:
    """The counts of all accounts."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        c = storage_use.c
        insert = connections.insert(storage_use)
        new = insert.excluded
        names = ("outputs", "inputs", "uploads")
        self._add = insert.on_conflict_do_update(
            index_elements=[c.account], set_={name: c[name] + new[name] for name in names}
        )
        self._get = connections.prepare(
            select(c.outputs, c.inputs, c.uploads).where(c.account == bindparam("account"))
        )
        self._at_most = connections.prepare(
            select(accounts.c.storage_at_most).where(accounts.c.name == bindparam("name"))
        )

    async def add(self, connection: AsyncConnection, changes: Mapping[str, Use]) -> None:
        """Count changes, by account, in the transaction that makes them."""
        rows = [
            {"account": account} | msgspec.structs.asdict(use)
            for account, use in changes.items()
            if use != Use()
        ]
        if rows:
            await connection.execute(self._add, rows)

    async def get(self, account: str) -> Use:
        row = await self._get.first(account=account)
        return Use() if row is None else Use(*row)

    async def at_most(self, account: str) -> int | None:
        """What the account may take; None for no limit."""
        row = await self._at_most.first(name=account)
        return None if row is None else row[0]

    async def all(self) -> dict[str, Use]:
        """By account; who never had a file is not in it."""
        c = storage_use.c
        rows = await self._connections.rows(select(c.account, c.outputs, c.inputs, c.uploads))
        return {account: Use(*counts) for account, *counts in rows}

    async def recount(self) -> None:
        """Count anew from the rows, in one transaction: it reads an index of those predictions that have
        files, and all uploaded files."""
        zero = literal(0)
        sizes = (
            case((files.c.bound, files.c.size), else_=zero),
            case((files.c.bound, zero), else_=files.c.size),
        )
        p = predictions.c
        each = union_all(
            select(
                p.account.label("account"),
                p.file_bytes.label("outputs"),
                zero.label("inputs"),
                zero.label("uploads"),
            ).where(HAS_FILES),
            select(files.c.account, zero, *sizes),
        ).subquery()
        sums = (func.sum(each.c[name]) for name in ("outputs", "inputs", "uploads"))
        counted = select(each.c.account, *sums).group_by(each.c.account)
        anew = storage_use.insert().from_select(["account", "outputs", "inputs", "uploads"], counted)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(storage_use))
            await connection.execute(anew)

        await self._connections.write(work)
