"""Looks after the health of a Cog server: whether it can take a prediction, and what it serves."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from gpu_agent.container.answers import Health
from gpu_agent.container.api import CogApi
from gpu_agent.source import Listener

IDLE_LOOK_S = 10.0
WAITING_LOOK_S = 1.0
"""How often a server that is not ready is asked whether it is."""
FIRST_BUSY_S, LAST_BUSY_S = 0.25, 30.0
"""How long a busy server is left alone; longer each time in a row."""
SHOWN_LOG_LINES = 40
LAST_LOOKS = (0.0, 0.1, 0.3, 0.6)
"""Pauses before looking whether a server that answered an error is still there: to die takes a moment."""


class Watch:
    """``begin`` waits for the server; ``run`` is a task from then on. ``ready`` tells whether it takes work.

    ``loaded`` is called with the first health of each of the server's processes, before it is ready.
    ``works`` tells whether it runs something of ours.
    """

    def __init__(
        self,
        api: CogApi,
        listener: Listener,
        *,
        loaded: Callable[[Health], Awaitable[None]],
        works: Callable[[], bool],
    ) -> None:
        self.ready = asyncio.Event()
        self.health = Health("")
        self.process = ""
        """When the setup of the process began that is known; another one is another process."""
        self._api = api
        self._listener = listener
        self._loaded = loaded
        self._works = works
        self._said = ("", "")
        self._busy_s = FIRST_BUSY_S
        self._look_at = 0.0
        self._nudge = asyncio.Event()

    async def begin(self) -> None:
        """Return when it is ready, however long that takes."""
        while True:
            health = await self.look()
            if health.up:
                break
            await asyncio.sleep(WAITING_LOOK_S)
        await self._load()
        self.ready.set()
        self._look_in(IDLE_LOOK_S)

    async def run(self) -> None:
        """Look from time to time, gently, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._look_at):
                    await self._nudge.wait()
            self._nudge.clear()
            if clock() < self._look_at:
                continue
            health = await self.look()
            if health.silent and self._works():
                usable = self.ready.is_set()  # hard at work, it may be slow to say so
            else:
                usable = health.status == "READY" or (health.status == "BUSY" and self._works())
            if usable and health.started_at != self.process:
                await self._load()
            self._set_ready(usable)
            self._look_in(IDLE_LOOK_S if usable else WAITING_LOOK_S)

    async def look(self) -> Health:
        """Ask it now."""
        self.health = await self._api.health()
        self._tell(self.health)
        return self.health

    async def crashed(self, *, looks: int = 1) -> bool:
        """Whether the server, or its model's process, is gone."""
        for pause_s in LAST_LOOKS[:looks]:
            await asyncio.sleep(pause_s)
            health = await self.look()
            if not health.up:
                self.note_away()
            if health.lost:
                return True
        return False

    def note_away(self) -> None:
        """It takes nothing: look after it until it does."""
        self._set_ready(False)
        self._look_in(WAITING_LOOK_S)

    def note_busy(self) -> None:
        """It is at capacity, with whatever: leave it alone for a while."""
        self._set_ready(False)
        self._look_in(self._busy_s)
        self._busy_s = min(self._busy_s * 2, LAST_BUSY_S)

    def note_taken(self) -> None:
        """It has taken a prediction."""
        self._busy_s = FIRST_BUSY_S

    def note_ended(self) -> None:
        """It has room again, if what it was busy with was ours."""
        if not self.ready.is_set() and self.health.up and self._busy_s <= 2 * FIRST_BUSY_S:
            self._look_in(0.0)

    async def _load(self) -> None:
        await self._loaded(self.health)
        self.process = self.health.started_at

    def _tell(self, health: Health) -> None:
        """Say what has changed, once."""
        status = "READY" if health.up else health.status
        seen = (status, health.started_at if status == "SETUP_FAILED" else health.reason)
        if seen == self._said:
            return
        self._said = seen
        where, say = f"the Cog server at {self._api.url}", self._listener.say
        if status == "READY":
            say(f"{where} is ready")
        elif status == "STARTING":
            say(f"{where} is setting up its model; waiting until it is ready")
        elif not status:
            say(f"{where}: {health.reason}; waiting for it")
        else:
            say(f"{where} gets no work, it is {status}{health.reason and f': {health.reason}'}")
        if status == "SETUP_FAILED":
            for line in health.logs.splitlines()[-SHOWN_LOG_LINES:]:
                say(f"setup: {line}")

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready.is_set():
            (self.ready.set if ready else self.ready.clear)()
            self._listener.changed()

    def _look_in(self, pause_s: float) -> None:
        self._look_at = asyncio.get_running_loop().time() + pause_s
        self._nudge.set()
