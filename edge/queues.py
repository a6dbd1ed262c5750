"""What an operator may ask of the queues of models, and what holds them: over all coordinators."""

import asyncio
from collections.abc import Callable
from typing import Any

from coordinator.store.database import Store
from coordinator.store.errors import NotFound
from coordinator.store.objects import ObjectRow
from coordinator.stub import Models
from edge.control import ListQueues, PauseModel, ResumeModel
from edge.times import rfc3339

AT_ONCE = 16
"""Coordinators that are asked at the same time."""


class Queues:
    """One queue is that of one model in one pool. Raises StoreError, Unavailable."""

    def __init__(self, store: Store, models: Models, now: Callable[[], int]) -> None:
        self._store = store
        self._models = models
        self._now = now

    async def look(self, order: ListQueues) -> list[dict[str, Any]]:
        """Those in memory, and those that are paused, or all that there are."""
        rows = [
            row
            for row in await self._store.objects.all(order.model)
            if order.all or row.paused or self._models.live(row.number)
        ]
        return await self._described(rows)

    async def pause(self, order: PauseModel | ResumeModel) -> list[dict[str, Any]]:
        """Tell each queue of the model, which keeps it; the control store is for lists. Repeat at will."""
        paused = isinstance(order, PauseModel)
        rows = await self._queues(order.model, order.pool)
        for row in rows:
            await self._models.stub(row.number).pause(paused)
            await self._store.objects.pause(row.number, paused)
        return await self._described(await self._queues(order.model, order.pool))

    async def _queues(self, model: str, pool: str | None) -> list[ObjectRow]:
        """Of a model that is there, also where nobody has used it yet."""
        for registered in await self._store.models.all(model):  # none, if only a provider has it
            for each in registered.pools:
                await self._store.objects.number(each, model)
        rows = [row for row in await self._store.objects.all(model) if pool in (None, row.pool)]
        if not rows:
            where = f" in the pool {pool}" if pool else ""
            raise NotFound(f"there is no model {model}{where}", "see `cogflare model list`")
        return rows

    async def _described(self, rows: list[ObjectRow]) -> list[dict[str, Any]]:
        limit = asyncio.Semaphore(AT_ONCE)

        async def ask(row: ObjectRow) -> dict[str, Any]:
            async with limit:
                found = await self._models.stub(row.number).queue()
            oldest_s = None if found.oldest_at is None else max(0, self._now() - found.oldest_at) / 1e6
            return {
                "pool": row.pool,
                "model": row.model,
                "paused": found.paused,
                "waiting": found.waiting,
                "waiting_input_bytes": found.input_bytes,
                "oldest_at": None if found.oldest_at is None else rfc3339(found.oldest_at),
                "oldest_s": oldest_s,
                "running": found.running,
                "workers": found.workers,
                "free": found.free,
                "reason": found.reason,
                "webhooks": found.webhooks,
            }

        return list(await asyncio.gather(*map(ask, rows)))
