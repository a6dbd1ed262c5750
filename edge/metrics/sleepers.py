"""After a start: what waits in models that nobody uses and that no worker is connected for.

They sleep until their first deadline. So that somebody who starts workers by what waits sees it at once, each
is woken for a moment, one after the other; it leaves memory again when it is idle.
"""

import asyncio
import logging
from contextlib import suppress

from coordinator.errors import Unavailable
from coordinator.host import Coordinators
from coordinator.store.objects import Objects

log = logging.getLogger(__name__)

_EVER = 2**62
"""Microseconds since the epoch: any alarm is before that."""


class Sleepers:
    """``start`` returns at once; ``stop`` is safe twice."""

    def __init__(self, objects: Objects, coordinators: Coordinators) -> None:
        self._objects = objects
        self._coordinators = coordinators
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        await self._coordinators.namespace.woken.wait()
        try:
            numbers = await self._objects.to_wake(_EVER)
        except Unavailable as error:
            log.warning("what waits in models that sleep is not known before they wake: %s", error)
            return
        models = self._coordinators.models
        for number in numbers:
            if not models.live(number):
                with suppress(Unavailable):
                    await models.stub(number).workers()
