"""Deletes uploaded files whose time is over: first the row, so that nobody finds it, then the blob. And names
of requests that need not be remembered any longer."""

import asyncio
import logging

from coordinator.actor.clock import Clock
from coordinator.blobs.base import Blobs
from coordinator.errors import Unavailable
from coordinator.store.aliases import Aliases
from coordinator.store.files import Files

log = logging.getLogger(__name__)

SWEEP_S = 60.0
BATCH = 100


class Retention:
    """A slow sweep. ``stop`` is safe twice; a blob whose deletion was cut off stays, unreachable."""

    def __init__(self, files: Files, aliases: Aliases, blobs: Blobs, clock: Clock) -> None:
        self._files = files
        self._aliases = aliases
        self._blobs = blobs
        self._clock = clock
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def sweep(self) -> int:
        """Delete what has expired; gives how many files that were. Raises Unavailable."""
        count = 0
        while rows := await self._files.expired(self._clock.now(), BATCH):
            for row in rows:
                await self._files.delete(row.id, row.account)
                await self._blobs.delete(row.key)
            count += len(rows)
        while await self._aliases.forget(self._clock.now(), BATCH) == BATCH:
            pass
        return count

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if count := await self.sweep():
                    log.info("deleted %d expired files", count)
            except Unavailable as error:
                log.warning("expired files could not be deleted, trying again later: %s", error)
            except Exception:
                log.exception("expired files could not be deleted, trying again later")
            try:
                async with asyncio.timeout(SWEEP_S):
                    await self._stopping.wait()
            except TimeoutError:
                continue
