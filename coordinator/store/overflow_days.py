"""What each token has had of providers in a day: counted before it begins, for no crash to give away more."""

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.store.connections import Connections
from coordinator.store.schema import overflow_days

DAYS_KEPT = 7


class OverflowDays:
    """A day is a number: days since the epoch, UTC."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def take(self, token: str, day: int, *, most: int, most_cost: float) -> bool:
        """Count one more, unless ``most`` have been or ``most_cost`` is spent; 0 is no limit."""
        c, insert = overflow_days.c, self._connections.insert
        row = (c.token == token, c.day == day)

        async def work(connection: AsyncConnection) -> bool:
            new = {"token": token, "day": day, "count": 0, "cost": 0.0}
            made = await connection.execute(insert(overflow_days).on_conflict_do_nothing(), new)
            if made.rowcount:
                old = (c.token == token, c.day < day - DAYS_KEPT)
                await connection.execute(delete(overflow_days).where(*old))
            count, cost = (await connection.execute(select(c.count, c.cost).where(*row))).one()
            if 0 < most <= count or 0 < most_cost <= cost:
                return False
            await connection.execute(update(overflow_days).where(*row).values(count=c.count + 1))
            return True

        return await self._connections.write(work)

    async def give_back(self, token: str, day: int) -> None:
        """One that was counted has not begun."""
        await self._add(token, day, count=-1)

    async def spend(self, token: str, day: int, cost: float) -> None:
        """One that was counted has cost so much."""
        await self._add(token, day, cost=cost)

    async def of(self, token: str, day: int) -> tuple[int, float]:
        """How many, and what they have cost."""
        c = overflow_days.c
        rows = await self._connections.rows(select(c.count, c.cost).where(c.token == token, c.day == day))
        return (rows[0][0], rows[0][1]) if rows else (0, 0.0)

    async def _add(self, token: str, day: int, *, count: int = 0, cost: float = 0.0) -> None:
        c = overflow_days.c

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                update(overflow_days)
                .where(c.token == token, c.day == day)
                .values(count=c.count + count, cost=c.cost + cost)
            )

        await self._connections.write(work)
