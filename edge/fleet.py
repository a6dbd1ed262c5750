"""What an operator may ask about workers and about predictions that they failed, over all coordinators."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from coordinator import calls
from coordinator.blobs.base import Blobs
from coordinator.blobs.errors import Missing
from coordinator.errors import Unavailable
from coordinator.ids import Ids
from coordinator.keeping import is_over
from coordinator.long_inputs import read, store
from coordinator.prediction import Document, LongInput
from coordinator.store.database import Store
from coordinator.store.errors import Ambiguous, Invalid, NotFound, StoreUnavailable
from coordinator.store.index import DEAD
from coordinator.store.objects import ObjectRow
from coordinator.stub import Models
from edge.cancels import Cancels
from edge.control import (
    CancelPredictions,
    FleetOrder,
    ListDead,
    ListQueues,
    ListWorkers,
    MarkWorker,
    PauseModel,
    ReadLogs,
    Redrive,
    ResumeModel,
)
from edge.prediction_logs import logs_of
from edge.queues import Queues
from edge.times import rfc3339

AT_ONCE = 16
"""Coordinators that are asked at the same time."""

Found = tuple[ObjectRow, calls.Worker]


class Fleet:
    """Carries out orders. Raises StoreError with the answer for the operator."""

    def __init__(
        self,
        store: Store,
        models: Models,
        ids: Ids,
        now: Callable[[], int],
        blobs: Blobs,
        pending: Callable[[], Sequence[Document]],
    ) -> None:
        """``pending`` gives the documents that the index does not have yet."""
        self._now = now
        self._store = store
        self._blobs = blobs
        self._models = models
        self._ids = ids
        self._cancels = Cancels(store, models, ids, pending)
        self._queues = Queues(store, models, now)
        self._redriving = asyncio.Lock()
        """Between the question whether one was redriven already and the answer of its coordinator."""

    async def carry_out(self, order: FleetOrder) -> Any:
        try:
            if isinstance(order, ListWorkers):
                found = await self._workers(order.model, asleep=order.all)
                return [_worker(row, worker) for row, worker in found]
            if isinstance(order, MarkWorker):
                return await self._mark(order)
            if isinstance(order, PauseModel | ResumeModel):
                return await self._queues.pause(order)
            if isinstance(order, ListQueues):
                return await self._queues.look(order)
            if isinstance(order, ListDead):
                rows = await self._store.index.dead(model=order.model, limit=order.limit)
                return [_dead(document) for document in rows]
            if isinstance(order, ReadLogs):
                return await logs_of(self._store, self._models, order.id, self._now())
            if isinstance(order, CancelPredictions):
                return await self._cancels.carry_out(order)
            async with self._redriving:
                return await self._redrive(order)
        except Unavailable as error:
            raise StoreUnavailable(str(error), "try again in a moment") from error

    # --- workers --------------------------------------------------------------------------------------------

    async def _workers(self, model: str | None, *, asleep: bool) -> list[Found]:
        """Each worker of each coordinator that is in memory, or of all there are."""
        rows = [
            row for row in await self._store.objects.all(model) if asleep or self._models.live(row.number)
        ]
        limit = asyncio.Semaphore(AT_ONCE)

        async def ask(row: ObjectRow) -> list[Found]:
            async with limit:
                return [(row, worker) for worker in await self._models.stub(row.number).workers()]

        return [found for each in await asyncio.gather(*map(ask, rows)) for found in each]

    async def _mark(self, order: MarkWorker) -> list[dict[str, Any]]:
        """Mark a worker with every coordinator that knows it; gives how it stands there then."""
        found = _called(order.worker, await self._workers(order.model, asleep=False))
        if not found:
            found = _called(order.worker, await self._workers(order.model, asleep=True))
        agents = {worker.agent for _, worker in found}
        if not agents:
            where = f" for {order.model}" if order.model else ""
            raise NotFound(f"there is no worker {order.worker}{where}", "see `cogflare worker list --all`")
        if len(agents) > 1:
            ids = ", ".join(sorted(agents))
            raise Ambiguous(f"{len(agents)} workers are called {order.worker}", f"give one of the ids {ids}")
        for row, worker in found:
            call = calls.MarkWorker(agent=worker.agent, name=worker.name, mark=order.mark)
            await self._models.stub(row.number).mark_worker(call)
        after = {
            (row.number, worker.agent): worker
            for row, worker in await self._workers(order.model, asleep=False)
        }
        return [
            _worker(
                row, after.get((row.number, before.agent), calls.Worker(agent=before.agent, name=before.name))
            )
            for row, before in found
        ]

    # --- dead letters ---------------------------------------------------------------------------------------

    async def _redrive(self, order: Redrive) -> list[dict[str, Any]]:
        """Create each anew from its kept input, once: a second order gives what the first has made. All are
        looked at before the first one is made."""
        documents = []
        for id in dict.fromkeys(order.ids):
            document = await self._store.index.find(id)
            if document is None:
                raise NotFound(f"there is no prediction {id}", "see `cogflare dead list`")
            if document.error_code not in DEAD:
                said = document.error_code or document.status.value
                raise Invalid(f"{id} is no dead letter, it is {said}", "see `cogflare dead list`")
            if is_over(document, self._now()):
                raise Invalid(f"the input of {id} has been removed", "only its client can send it again")
            documents.append(document)
        return [await self._again(document) for document in documents]

    async def _again(self, document: Document) -> dict[str, Any]:
        number = await self._store.objects.number(document.pool, document.queue)
        id = self._ids.belonging_to(document.id, number)
        known = await self._store.index.find(id)
        if known is not None and known.status.terminal:
            return _redriven(known)
        long = await self._own_input(document)
        call = calls.Create(
            id=id,
            again=True,
            account=document.account,
            token=document.token,
            pool=document.pool,
            model=document.model,
            input=document.input,
            version=document.version if document.pinned else "",
            input_files=document.input_files,
            long_input=long,
            streams=document.streams,
            queue_s=document.queue_s if document.destination else None,
            run_s=document.run_s,
            urgency=document.urgency,
            user=document.user,
            gpu=document.gpu,
            gpu_memory=document.gpu_memory,
            account_share=document.account_share,
            token_share=document.token_share,
            max_running=document.max_running,
            webhook=document.webhook,
            webhook_events=document.webhook_events,
            redriven_from=document.id,
            overflow=document.overflow,
            deployment=document.deployment,
            metadata=document.metadata,
            retention_s=document.retention_s,
            destination=document.destination,
            dialect=document.dialect,
        )
        reply = await self._models.stub(number).create(call)
        if long is not None and (isinstance(reply, calls.Refused) or reply.document.long_input != long):
            await self._blobs.delete(long.key)  # it was redriven before, or not now
        if isinstance(reply, calls.Refused):
            raise StoreUnavailable(f"{document.id} was not taken: {reply.detail}", "try again later")
        return _redriven(reply.document)

    async def _own_input(self, document: Document) -> LongInput | None:
        """A long input once more: that of the first goes when its time is over."""
        if document.long_input is None:
            return None
        try:
            return await store(self._blobs, await read(self._blobs, document.long_input))
        except Missing:
            said = f"the input of {document.id} is gone from storage"
            raise Invalid(said, "only its client can send it again") from None


def _called(name: str, found: Iterable[Found]) -> list[Found]:
    return [(row, worker) for row, worker in found if name in (worker.agent, worker.name)]


def _worker(row: ObjectRow, worker: calls.Worker) -> dict[str, Any]:
    return {
        "worker": worker.name,
        "agent": worker.agent,
        "pool": row.pool,
        "model": row.model,
        "version": worker.version,
        "attached": worker.attached,
        "state": worker.state,
        "reason": worker.reason,
        "since": None if worker.since is None else rfc3339(worker.since),
        "probe_at": None if worker.probe_at is None else rfc3339(worker.probe_at),
        "strikes": worker.strikes,
        "running": worker.running,
        "free": worker.free,
    }


def _redriven(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "model": document.model,
        "redriven_from": document.redriven_from,
        "status": document.status.value,
    }


def _dead(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "account": document.account,
        "pool": document.pool,
        "model": document.model,
        "error_code": document.error_code,
        "error": document.error,
        "completed_at": None if document.completed_at is None else rfc3339(document.completed_at),
        "workers": [attempt.agent_name for attempt in document.attempts],
    }
