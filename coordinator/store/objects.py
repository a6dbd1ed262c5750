"""Objects: which coordinator has which number, and which of them must be awake."""

from typing import Any

import msgspec
from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.protocol.names import training_queue
from coordinator.store.connections import Connections
from coordinator.store.errors import NotFound, ObjectNotFound
from coordinator.store.schema import objects

_COLUMNS = tuple(objects.c[name] for name in ("number", "pool", "model", "active", "alarm_at", "paused"))


class ObjectRow(msgspec.Struct, frozen=True, kw_only=True):
    """One coordinator: the durable object of one pool and model."""

    number: int
    pool: str
    model: str
    active: bool
    alarm_at: int | None = None
    paused: bool = False
    """It begins nothing until it is resumed."""


class Objects:
    """All objects that ever were. Numbers start at 1 and are never given out again."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        c = objects.c
        self._find = connections.prepare(
            select(c.number).where(c.pool == bindparam("pool"), c.model == bindparam("model"))
        )
        self._describe = connections.prepare(select(*_COLUMNS).where(c.number == bindparam("number")))

    async def number(self, pool: str, model: str) -> int:
        """The object's number; makes the object when there is none. Safe when several ask at once."""
        found = await self.find(pool, model)
        if found is not None:
            return found
        create = self._connections.insert(objects).on_conflict_do_nothing()
        row = {"pool": pool, "model": model, "active": False, "alarm_at": None}

        async def insert(connection: AsyncConnection) -> None:
            await connection.execute(create, row)

        await self._connections.write(insert)
        made = await self.find(pool, model)
        if made is None:
            raise NotFound(f"object {pool} {model} is gone")
        return made

    async def find(self, pool: str, model: str) -> int | None:
        row = await self._find.first(pool=pool, model=model)
        return None if row is None else int(row[0])

    async def all(self, model: str | None = None) -> list[ObjectRow]:
        """Every object, or those of one model's predictions and trainings, by number."""
        c = objects.c
        statement = select(*_COLUMNS).order_by(c.number)
        if model is not None:
            statement = statement.where(c.model.in_((model, training_queue(model))))
        return [_row(row) for row in await self._connections.rows(statement)]

    async def describe(self, number: int) -> ObjectRow | None:
        row = await self._describe.first(number=number)
        return None if row is None else _row(row)

    async def activate(self, number: int) -> None:
        """The object is to be awake, also after a restart. Raises ObjectNotFound."""
        await self._set(number, active=True, alarm_at=None)

    async def deactivate(self, number: int, alarm_at: int | None) -> None:
        """The object may sleep until ``alarm_at``, or until it is called. Raises ObjectNotFound."""
        await self._set(number, active=False, alarm_at=alarm_at)

    async def pause(self, number: int, paused: bool) -> None:
        """Note that its coordinator begins nothing, or does again. Raises ObjectNotFound."""
        await self._set(number, paused=paused)

    async def to_wake(self, now: int) -> list[int]:
        """Numbers of the objects that must be awake at ``now``: active, or with an alarm that is due."""
        c = objects.c
        statement = select(c.number).where(or_(c.active.is_(True), c.alarm_at <= now)).order_by(c.number)
        return [int(row[0]) for row in await self._connections.rows(statement)]

    async def next_alarm(self) -> int | None:
        """When the first sleeping object must wake."""
        rows = await self._connections.rows(select(func.min(objects.c.alarm_at)))
        return None if rows[0][0] is None else int(rows[0][0])

    async def _set(self, number: int, **values: Any) -> None:
        change = update(objects).where(objects.c.number == number).values(values)

        async def work(connection: AsyncConnection) -> None:
            if (await connection.execute(change)).rowcount == 0:
                raise ObjectNotFound(f"there is no object {number}")

        await self._connections.write(work)


def _row(row: Any) -> ObjectRow:
    number, pool, model, active, alarm_at, paused = row
    return ObjectRow(
        number=number, pool=pool, model=model, active=bool(active), alarm_at=alarm_at, paused=bool(paused)
    )
