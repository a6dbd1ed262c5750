"""Removes what uploads have left in the storage of files that nobody will go on with: a slow sweep."""

import asyncio
import logging

from coordinator.blobs.base import LEFT_OVER_S, Blobs
from coordinator.errors import Unavailable

log = logging.getLogger(__name__)

SWEEP_S = 3600.0


class Leftovers:
    """``start`` returns at once; ``stop`` is safe twice."""

    def __init__(self, blobs: Blobs, every_s: float = SWEEP_S) -> None:
        self._blobs = blobs
        self._every_s = every_s
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if count := await self._blobs.clear(LEFT_OVER_S):
                    log.info("removed %d uploads that never ended", count)
            except Unavailable as error:
                log.warning("uploads that never ended could not be removed, trying again later: %s", error)
            except Exception:
                log.exception("uploads that never ended could not be removed, trying again later")
            try:
                async with asyncio.timeout(self._every_s):
                    await self._stopping.wait()
            except TimeoutError:
                continue
