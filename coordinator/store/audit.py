"""Who did what as an administrator: rows that are added, and never changed but for their outcome."""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.store.connections import Connections
from coordinator.store.schema import audit

DONE = "done"


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One act."""

    id: int
    at: int
    door: str
    """By which way: ``http``, ``socket``, ``files``."""
    who: str
    """Name of the token, or of the operating system's user."""
    token: str | None
    account: str | None
    """Of the token."""
    act: str
    target: str
    detail: bytes
    """JSON of what was ordered, without secrets."""
    outcome: str | None
    """``done``, or why not; None while it is not known, and for good when the server ended meanwhile."""


_COLUMNS = tuple(audit.c[name] for name in AuditRow.__struct_fields__)


class Audit:
    """An act is noted before it is done, so that none is missing whenever the process ends."""

    def __init__(self, connections: Connections, clock: Callable[[], int]) -> None:
        self._connections = connections
        self._clock = clock

    async def begin(
        self,
        *,
        door: str,
        who: str,
        token: str | None,
        account: str | None,
        act: str,
        target: str,
        detail: bytes,
    ) -> int:
        """Note what is about to be done; gives the row's number for ``end``."""
        row = {
            "at": self._clock(),
            "door": door,
            "who": who,
            "token": token,
            "account": account,
            "act": act,
            "target": target,
            "detail": detail.decode(),
        }

        async def work(connection: AsyncConnection) -> int:
            made = await connection.execute(audit.insert(), row)
            (number,) = made.inserted_primary_key or (0,)
            return int(number)

        return await self._connections.write(work)

    async def end(self, number: int, outcome: str, target: str | None = None) -> None:
        """Say what came of it, once; and what it was about where that is known only now."""
        values = {"outcome": outcome} | ({} if target is None else {"target": target})
        change = update(audit).where(audit.c.id == number, audit.c.outcome.is_(None)).values(**values)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(change)

        await self._connections.write(work)

    async def page(
        self,
        *,
        before: int | None = None,
        act: str | None = None,
        target: str | None = None,
        token: str | None = None,
        limit: int,
    ) -> list[AuditRow]:
        """Acts, newest first; ``act`` may be the first word alone, such as ``token``."""
        c = audit.c
        statement = select(*_COLUMNS).order_by(c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(c.id < before)
        if act is not None:
            statement = statement.where((c.act == act) | c.act.startswith(f"{act}.", autoescape=True))
        if target is not None:
            statement = statement.where(c.target == target)
        if token is not None:
            statement = statement.where(c.token == token)
        return [_row(row) for row in await self._connections.rows(statement)]


def _row(row: Any) -> AuditRow:
    fields = dict(zip(AuditRow.__struct_fields__, row, strict=True))
    return AuditRow(**{**fields, "detail": str(fields["detail"]).encode()})
