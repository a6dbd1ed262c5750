"""Removes what has been kept long enough: data of ended predictions, uploaded files, names of requests.

The files go first and the rows follow: whatever is killed in between, the row is still due, and all of it is
done again. Nothing of an attempt that may still upload is looked for before that is over (``keeping.py``).
"""

import asyncio
import logging
from collections.abc import Sequence

from coordinator.actor.clock import Clock, Timer
from coordinator.blobs.base import Blobs
from coordinator.blobs.keys import prediction_prefix
from coordinator.errors import Unavailable
from coordinator.keeping import due_at, is_forgotten, is_over, may_have_strays, swept
from coordinator.metering import day_of
from coordinator.protocol.limits import ServerLimits
from coordinator.store.database import Store
from coordinator.store.expiry import Due, Swept

log = logging.getLogger(__name__)

SWEEP_S = 60.0
"""Longest time between two sweeps,"""
LEAST_S = 2.0
"""and the shortest: what is due little by little goes together."""
RECOUNT_S = 86_400.0
"""How often storage use is counted anew: it is right without, but for mistakes of ours. And how often days
of the accounts are forgotten."""
BATCH = 100
PREFIXES_AT_ONCE = 8


class Retention:
    """``start`` sweeps at once, then when something is due. ``stop`` is safe twice, and waits for one batch
    at most."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock, limits: ServerLimits) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        # A key that is still remembered must find what it stands for, or it would be created again.
        self._forget_s = max(limits.forget_s, limits.idempotency_s)
        self._usage_days = limits.usage_days
        self._prefixes = asyncio.Semaphore(PREFIXES_AT_ONCE)
        self._recount_at = 0
        self._swept_at = 0.0
        self._wakes_at: float | None = None
        self._timer: Timer | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._store.index.tell_when_due(self.due)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task

    def due(self, at: int) -> None:
        """There is something to do at that time: microseconds since the epoch."""
        self._wake_in((at - self._clock.now()) / 1e6)

    async def sweep(self) -> int:
        """Remove what is due; gives of how many predictions and uploaded files. Raises Unavailable."""
        removed = await self._predictions() + await self._files()
        while await self._store.aliases.forget(self._clock.now(), BATCH) == BATCH:
            pass
        if self._clock.now() >= self._recount_at:
            await self._store.storage_use.recount()
            await self._store.usage.forget(day_of(self._clock.now()) - self._usage_days + 1)
            self._recount_at = self._clock.now() + int(RECOUNT_S * 1e6)
        return removed

    async def remove(self, rows: Sequence[Due]) -> int:
        """Do for these what is due. Raises Unavailable: then it is done by a later sweep."""
        now = self._clock.now()
        over = [due.document for due in rows if is_over(due.document, now)]
        held = await self._store.expiry.held([file.key for each in over for file in each.files])
        long = [each.long_input.key for each in over if each.long_input is not None]
        await self._blobs.delete_many(
            [*long, *(file.key for each in over for file in each.files if file.key not in held)]
        )
        await asyncio.gather(*(self._clear(due, now, held) for due in rows))
        await self._store.expiry.write([self._after(due, now, held) for due in rows], now)
        return sum(not each.data_removed for each in over)

    async def _predictions(self) -> int:
        removed = 0
        while not self._stopping and (rows := await self._store.expiry.due(self._clock.now(), BATCH)):
            removed += await self.remove(rows)
        return removed

    async def _clear(self, due: Due, now: int, held: frozenset[str]) -> None:
        """Delete what lies below its prefix and is nobody's."""
        document = due.document
        over = is_over(document, now)
        if not may_have_strays(document) or not (over or (document.clear_at or now) <= now):
            return
        own = {file.key for file in document.files}
        async with self._prefixes:
            await self._blobs.delete_prefix(prediction_prefix(document.id), keep=own & held if over else own)

    def _after(self, due: Due, now: int, held: frozenset[str]) -> Swept:
        document = due.document
        if is_forgotten(document, now, self._forget_s):
            return Swept(due, None)
        waits = is_over(document, now) and any(file.key in held for file in document.files)
        after = swept(document, now, held=waits)
        return Swept(due, after, due_at(after, self._forget_s))

    async def _files(self) -> int:
        files, removed = self._store.files, 0
        while not self._stopping and (rows := await files.expired(self._clock.now(), BATCH)):
            unused = await files.unused(rows)
            await self._blobs.delete_many([row.key for row in unused])
            await files.drop(unused)
            removed += len(unused)
        return removed

    async def _run(self) -> None:
        while not self._stopping:
            self._swept_at = self._clock.monotonic()
            self._wake.clear()
            self._wakes_at = None
            try:
                if count := await self.sweep():
                    log.info("removed what %d predictions and uploaded files have left", count)
                next_at = await self._store.expiry.next_at()
            except Unavailable as error:
                next_at = None
                log.warning("what has expired could not be removed, trying again later: %s", error)
            except Exception:
                next_at = None
                log.exception("what has expired could not be removed, trying again later")
            self._wake_in(SWEEP_S)
            if next_at is not None:
                self.due(next_at)
            if not self._stopping:
                await self._wake.wait()
        if self._timer is not None:
            self._timer.cancel()

    def _wake_in(self, seconds: float) -> None:
        now = self._clock.monotonic()
        at = max(now + min(seconds, SWEEP_S), self._swept_at + LEAST_S)
        if self._wakes_at is not None and self._wakes_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = at
        self._timer = self._clock.call_at(at, self._wake.set)
