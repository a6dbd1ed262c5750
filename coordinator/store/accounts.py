"""Accounts: the tenants, their shares, and how much storage they may take."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.store.connections import Connections
from coordinator.store.daily_limits import amount_or_none, count_or_none
from coordinator.store.errors import Invalid, NotFound
from coordinator.store.schema import accounts

SMALLEST_SHARE, LARGEST_SHARE = 0.001, 1000.0


class Account(msgspec.Struct, frozen=True):
    """``share`` is its weight beside other accounts whose predictions wait for the same model;
    ``storage_at_most`` bytes of files, None for no limit; what it may have in a day is of
    ``daily_limits.py``."""

    name: str
    created_at: int
    share: float
    storage_at_most: int | None = None
    daily_predictions: int | None = None
    daily_run_s: float | None = None
    daily_budget: float | None = None


_COLUMNS = tuple(accounts.c[name] for name in Account.__struct_fields__)


class Accounts:
    """All accounts. One is made with its first token, or its first model."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def set_share(self, name: str, share: float) -> Account:
        """Raises Invalid, NotFound."""
        check_share(share)
        return await self._set(name, {"share": share})

    async def set_storage(self, name: str, at_most: int) -> Account:
        """Let its files take so many bytes; 0 is no limit. Raises Invalid, NotFound."""
        if not 0 <= at_most < 1 << 63:
            raise Invalid(f"{at_most} is no number of bytes", "0 is no limit")
        return await self._set(name, {"storage_at_most": at_most or None})

    async def set_daily(
        self, name: str, *, predictions: int | None, run_s: float | None, budget: float | None
    ) -> Account:
        """Let it have so much in a day; 0 is no limit, None leaves it. Raises Invalid, NotFound."""
        values: dict[str, Any] = {}
        if predictions is not None:
            values["daily_predictions"] = count_or_none(predictions)
        if run_s is not None:
            values["daily_run_s"] = amount_or_none(run_s)
        if budget is not None:
            values["daily_budget"] = amount_or_none(budget)
        return await self._set(name, values)

    async def _set(self, name: str, values: Mapping[str, Any]) -> Account:
        c = accounts.c

        async def work(connection: AsyncConnection) -> Account:
            await connection.execute(update(accounts).where(c.name == name).values(**values))
            row = (await connection.execute(select(*_COLUMNS).where(c.name == name))).first()
            return _found(name, row)

        return await self._connections.write(work)

    async def get(self, name: str) -> Account:
        """Raises NotFound."""
        rows = await self._connections.rows(select(*_COLUMNS).where(accounts.c.name == name))
        return _found(name, rows[0] if rows else None)

    async def list(self) -> list[Account]:
        """By name."""
        rows = await self._connections.rows(select(*_COLUMNS).order_by(func.lower(accounts.c.name)))
        return [Account(*row) for row in rows]


def _found(name: str, row: Any) -> Account:
    if row is None:
        raise NotFound(f"there is no account {name}", "an account is made with its first token")
    return Account(*row)


def check_share(share: float) -> None:
    if not SMALLEST_SHARE <= share <= LARGEST_SHARE:
        raise Invalid(f"{share:g} is no share", f"use a number from {SMALLEST_SHARE:g} to {LARGEST_SHARE:g}")
