"""Cancels many predictions at once: those that have not ended and that a filter says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from coordinator import calls
from coordinator.errors import NoSuchObject
from coordinator.ids import Ids
from coordinator.prediction import Document
from coordinator.store.database import Store
from coordinator.store.errors import Invalid
from coordinator.stub import Models
from edge.control import CancelPredictions
from edge.times import rfc3339

AT_ONCE = 16
"""Coordinators' answers that are waited for at the same time."""
LOOKED_AT = 200
"""Predictions that are looked at together."""
MOST = 1000
"""Predictions that one order cancels; the next one goes on behind them."""

Position = tuple[int, str]
"""(created_at, id) of the last prediction that was looked at."""


class Cancels:
    """``pending`` gives what the index does not have yet. Raises StoreError, Unavailable."""

    def __init__(
        self, store: Store, models: Models, ids: Ids, pending: Callable[[], Sequence[Document]]
    ) -> None:
        self._store = store
        self._models = models
        self._ids = ids
        self._pending = pending

    async def carry_out(self, order: CancelPredictions) -> dict[str, Any]:
        """What was canceled, or would be, oldest first; ``after`` is where to go on, None when that is all.
        What runs is being canceled when this returns, and ends soon after."""
        if not (order.all or order.account or order.model or order.token or order.end_user or order.status):
            raise Invalid("no filter was given", "say which predictions are meant, or all of them")
        found: list[Document] = []
        after = order.after
        while len(found) + LOOKED_AT <= MOST:
            looked_at, more = await self._page(order, after)
            found += await self._canceled(order, looked_at)
            if not more:
                after = None
                break
            after = _position(looked_at[-1])
        return {
            "canceled": 0 if order.dry_run else len(found),
            "predictions": [_shown(document) for document in found],
            "after": after,
        }

    async def _page(self, order: CancelPredictions, after: Position | None) -> tuple[list[Document], bool]:
        """The next that have not ended as far as the index knows, and whether there are more."""
        # Before the rows: what reaches the index while they are read is in neither otherwise.
        pending = [each for each in self._pending() if not each.status.terminal]
        rows = await self._store.index.unended(
            account=order.account, model=order.model, after=after, limit=LOOKED_AT + 1
        )
        merged = {row.id: row for row in rows}
        for document in pending:
            own = order.account in (None, document.account) and order.model in (None, document.model)
            if own and (after is None or _position(document) > after):
                merged.setdefault(document.id, document)
        ordered = sorted(merged.values(), key=_position)
        return ordered[:LOOKED_AT], len(ordered) > LOOKED_AT

    async def _canceled(self, order: CancelPredictions, documents: Sequence[Document]) -> list[Document]:
        """Those that the filter says, as they are once their end was asked for."""
        wanted = [
            document
            for document in documents
            if order.token in (None, document.token)
            and order.end_user in (None, document.user)
            and (order.created_before is None or document.created_at < order.created_before)
        ]
        limit = asyncio.Semaphore(AT_ONCE)

        async def cancel(document: Document) -> Document | None:
            async with limit:
                return await self._cancel(order, document)

        return [each for each in await asyncio.gather(*map(cancel, wanted)) if each is not None]

    async def _cancel(self, order: CancelPredictions, document: Document) -> Document | None:
        """None when it has ended, is being canceled already, or has another status by now."""
        number = self._ids.number(document.id)
        if number is None:
            return None
        stub = self._models.stub(number)
        try:
            known = await stub.get(calls.Get(id=document.id, account=document.account))
            if isinstance(known, calls.Unknown):
                return None
            now = known.document
            if now.status.terminal or now.cancel_requested or order.status not in (None, now.status.value):
                return None
            if order.dry_run:
                return now
            reply = await stub.cancel(calls.Cancel(id=document.id, account=document.account))
        except NoSuchObject:
            return None
        return reply.document if isinstance(reply, calls.Found) else None


def _position(document: Document) -> Position:
    return document.created_at, document.id


def _shown(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "account": document.account,
        "model": document.model,
        "token": document.token,
        "status": document.status.value,
        "created_at": rfc3339(document.created_at),
    }
