"""When each token was used last: kept in memory, written down now and then."""

import asyncio
import logging

from coordinator.actor.clock import Clock, Timer
from coordinator.errors import Unavailable
from coordinator.store.token_changes import TokenChanges

log = logging.getLogger(__name__)

WRITTEN_EVERY_S = 60.0
"""What a kill of the process may lose."""


class LastUse:
    """A use costs one write to memory. ``stop`` writes what is left."""

    def __init__(self, changes: TokenChanges, clock: Clock) -> None:
        self._changes = changes
        self._clock = clock
        self._last: dict[str, int] = {}
        self._timer: Timer | None = None
        self._writing: asyncio.Task[None] | None = None
        self._stopped = False

    def note(self, token: str, now: int) -> None:
        """The token with this id is being used."""
        self._last[token] = now
        if self._timer is None and not self._stopped:
            self._timer = self._clock.call_at(self._clock.monotonic() + WRITTEN_EVERY_S, self._start)

    async def settle(self) -> None:
        """Write down what is not yet. Raises Unavailable; then it is kept for the next time."""
        last, self._last = self._last, {}
        try:
            await self._changes.used(last)
        except BaseException:
            self._last = {**last, **self._last}
            raise

    async def stop(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await asyncio.wait((self._writing,))
        try:
            await self.settle()
        except Unavailable as error:
            log.warning("when tokens were used last was not written: %s", error)

    def _start(self) -> None:
        self._timer = None
        self._writing = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        try:
            await self.settle()
        except Unavailable as error:
            log.warning("when tokens were used last was not written: %s", error)
        except Exception:
            log.exception("when tokens were used last was not written")
