"""Accounts: the tenants, and their shares."""

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.store.connections import Connections
from coordinator.store.errors import Invalid, NotFound
from coordinator.store.schema import accounts

SMALLEST_SHARE, LARGEST_SHARE = 0.001, 1000.0


class Account(msgspec.Struct, frozen=True):
    """``share`` is its weight beside other accounts whose predictions wait for the same model."""

    name: str
    created_at: int
    share: float


class Accounts:
    """All accounts. One is made with its first token, or its first model."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def set_share(self, name: str, share: float) -> Account:
        """Raises Invalid, NotFound."""
        check_share(share)
        c = accounts.c

        async def work(connection: AsyncConnection) -> Account:
            await connection.execute(update(accounts).where(c.name == name).values(share=share))
            row = (
                await connection.execute(select(c.name, c.created_at, c.share).where(c.name == name))
            ).first()
            if row is None:
                raise NotFound(f"there is no account {name}", "an account is made with its first token")
            return Account(*row)

        return await self._connections.write(work)

    async def list(self) -> list[Account]:
        """By name."""
        c = accounts.c
        rows = await self._connections.rows(
            select(c.name, c.created_at, c.share).order_by(func.lower(c.name))
        )
        return [Account(*row) for row in rows]


def check_share(share: float) -> None:
    if not SMALLEST_SHARE <= share <= LARGEST_SHARE:
        raise Invalid(f"{share:g} is no share", f"use a number from {SMALLEST_SHARE:g} to {LARGEST_SHARE:g}")
