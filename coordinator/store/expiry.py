"""What is to be removed of stored predictions, and when: rows by their ``sweep_at``.

Every change is guarded by the ``sweep_at`` that was read: what somebody else has changed since is left to the
next look. Files are the caller's to delete, before it says here that they are gone.
"""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.keeping import is_over
from coordinator.prediction import Document, decode, encode
from coordinator.store.connections import Connections
from coordinator.store.index import bytes_of, dead_of
from coordinator.store.schema import aliases, files, input_uses, predictions
from coordinator.store.storage_use import StorageUse, Use


class Due(msgspec.Struct, frozen=True):
    """A prediction that the sweep has something to do for, as it is stored."""

    document: Document
    sweep_at: int


class Swept(msgspec.Struct, frozen=True):
    """What has become of one: ``after`` None is forgotten, ``sweep_at`` when it is due next."""

    due: Due
    after: Document | None
    sweep_at: int | None = None


class Expiry:
    """Of all accounts."""

    def __init__(self, connections: Connections, use: StorageUse) -> None:
        self._connections = connections
        self._use = use
        c = predictions.c
        self._change = (
            update(predictions)
            .where(c.id == bindparam("this"))
            .values({name: bindparam(name) for name in ("document", "sweep_at", "file_bytes", "dead")})
        )

    async def due(self, now: int, limit: int) -> list[Due]:
        """What is due, longest first."""
        c = predictions.c
        statement = select(c.document, c.sweep_at).where(c.sweep_at <= now).order_by(c.sweep_at).limit(limit)
        return [Due(decode(row[0]), row[1]) for row in await self._connections.rows(statement)]

    async def next_at(self) -> int | None:
        """When the next one is due, prediction or uploaded file."""
        c = predictions.c
        of_predictions = select(func.min(c.sweep_at)).where(c.sweep_at.is_not(None))
        of_files = select(func.min(files.c.expires_at))
        found = [(await self._connections.rows(statement))[0][0] for statement in (of_predictions, of_files)]
        return min((at for at in found if at is not None), default=None)

    async def held(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of the files that predictions have in their inputs which have not ended."""
        if not keys:
            return frozenset()
        used_by = input_uses.join(predictions, predictions.c.id == input_uses.c.prediction)
        statement = (
            select(input_uses.c.key)
            .select_from(used_by)
            .where(input_uses.c.key.in_(keys), predictions.c.completed_at.is_(None))
        )
        return frozenset(row[0] for row in await self._connections.rows(statement))

    async def expire(self, id: str, account: str, now: int) -> Due | None:
        """Let an ended prediction's time be over now; nobody is shown its data from then on. None when the
        index does not have its end, or it is no longer there."""
        c = predictions.c
        row_of = select(c.document, c.sweep_at).where(c.id == id, c.account == account)

        async def work(connection: AsyncConnection) -> Due | None:
            row = (await connection.execute(row_of)).first()
            if row is None:
                return None
            document = decode(row[0])
            if not document.status.terminal:
                return None
            if is_over(document, now):
                return Due(document, now if row[1] is None else row[1])
            document = replace(document, expires_at=now)
            values = {"document": encode(document), "sweep_at": now}
            await connection.execute(update(predictions).where(c.id == id).values(**values))
            return Due(document, now)

        return await self._connections.write(work)

    async def write(self, swept: Sequence[Swept], now: int) -> None:
        """Say what has become of them, in one transaction."""
        if not swept:
            return
        c = predictions.c
        known = select(c.id, c.sweep_at, c.file_bytes).where(c.id.in_([s.due.document.id for s in swept]))

        async def work(connection: AsyncConnection) -> None:
            rows = {row[0]: row[1:] for row in await connection.execute(known)}
            ours = [s for s in swept if rows.get(s.due.document.id, (None,))[0] == s.due.sweep_at]
            kept = [(s, s.after) for s in ours if s.after is not None]
            if kept:
                await connection.execute(self._change, [_values(after, s.sweep_at) for s, after in kept])
            changes: defaultdict[str, Use] = defaultdict(Use)
            for each in ours:
                left = 0 if each.after is None else bytes_of(each.after)
                changes[each.due.document.account] += Use(outputs=left - rows[each.due.document.id][1])
            await self._use.add(connection, changes)
            gone = [s.due.document.id for s in ours if s.after is None or s.after.data_removed]
            await self._release(connection, gone, now)
            await self._forget(connection, [s.due.document for s in ours if s.after is None])

        await self._connections.write(work)

    async def _release(self, connection: AsyncConnection, ids: Sequence[str], now: int) -> None:
        """They use no files any more. What lived for that alone is due now."""
        c = input_uses.c
        found = await connection.execute(select(c.key).where(c.prediction.in_(ids)).distinct())
        keys = {row[0] for row in found}
        if not keys:
            return
        await connection.execute(delete(input_uses).where(c.prediction.in_(ids)))
        in_use = await connection.execute(select(c.key).where(c.key.in_(keys)).distinct())
        free = keys - {row[0] for row in in_use}
        await connection.execute(
            update(files).where(files.c.key.in_(free), files.c.bound).values(expires_at=now)
        )

    async def _forget(self, connection: AsyncConnection, documents: Sequence[Document]) -> None:
        for document in documents:
            await connection.execute(delete(predictions).where(predictions.c.id == document.id))
            if document.own_id:
                c = aliases.c
                await connection.execute(
                    delete(aliases).where(
                        c.account == document.account,
                        c.kind == "id",
                        c.name == document.own_id,
                        c.ids == document.id,
                    )
                )


def _values(document: Document, sweep_at: int | None) -> dict[str, object]:
    return {
        "this": document.id,
        "document": encode(document),
        "sweep_at": sweep_at,
        "file_bytes": bytes_of(document),
        "dead": dead_of(document),
    }
