"""One model on this machine: its runners, from setup to stop.

An async predictor is one process with as many predictions at a time as its ``concurrency.max``; of any other
there are as many processes as it may have predictions at a time. The runners restart their own crashed
children; what is done here is to try again when a setup fails, and to know who is free.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec

from gpu_agent.declared import Declared
from gpu_agent.runner_types import Loaded, SetupFailed
from gpu_agent.source import Listener, ModelRunner, Predicts, Source
from gpu_agent.spool import Served

log = logging.getLogger("cogflare.agent")

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0
STOP_GRACE_S = 5.0
HEALTH_INTERVAL_S = 30.0
"""How often a model that has a healthcheck of its own is asked whether it is well."""


class PredictorRefused(Exception):
    """The predictor itself is wrong; trying again is of no use. The text says how, for its author."""


class Serving:
    """Runs one model. ``run`` it as a task; ``loaded`` is called when the first process is ready, and again
    when the model has become another one."""

    def __init__(
        self,
        *,
        name: str,
        source: Source,
        version: str,
        work_dir: Path,
        processes: int,
        loaded: Callable[["Serving", Served], None],
        changed: Callable[[], None],
        health_interval_s: float = HEALTH_INTERVAL_S,
        retries: int | None = None,
    ) -> None:
        """``version`` wins over the one that the model has by itself."""
        self.name = name
        self.declared = Declared({})
        self._source = source
        self._version = version or source.version
        self._work_dir = work_dir
        self._processes = processes
        self._loaded = loaded
        self._changed = changed
        self._retries = retries
        self._runners: list[ModelRunner] = []
        self._setups: WeakKeyDictionary[Predicts, tuple[int, int]] = WeakKeyDictionary()
        self._taken: dict[Predicts, int] = {}
        self._unwell: dict[ModelRunner, str] = {}
        """Those whose model says that it is not well: they get nothing until it is."""
        self._health_interval_s = health_interval_s
        self._each = 1
        self._started = 0

    @property
    def announced(self) -> Served:
        """What is known of the model before it is loaded; perhaps not its version."""
        return Served(
            model=self.name,
            version=self._version,
            cog_version="",
            concurrency=self._source.concurrency,
            openapi_schema=msgspec.Raw(b"{}"),
            retries=self._retries,
        )

    @property
    def ready(self) -> bool:
        """True when at least one process could take a prediction or is at one."""
        return any(runner.ready.is_set() for runner in self._runners)

    @property
    def free(self) -> int:
        """How many more predictions this model could start now."""
        return sum(self._room(runner) for runner in self._runners)

    def take(self) -> ModelRunner | None:
        """A runner with room, the least busy first; ``give`` it back. None when there is none."""
        best = max(self._runners, key=self._room, default=None)
        if best is None or self._room(best) == 0:
            return None
        self._taken[best] = self._taken.get(best, 0) + 1
        return best

    def setup_of(self, runner: Predicts) -> tuple[int, int] | None:
        """When the runner's first setup began and ended, microseconds since the epoch."""
        return self._setups.get(runner)

    def give(self, runner: Predicts) -> None:
        """The prediction that the runner was taken for has left it."""
        self._taken[runner] -= 1

    async def run(self) -> None:
        """Start the processes and keep them until cancelled. Raises ``PredictorRefused``."""
        try:
            loaded = await self._start()
            self._announce(loaded)
            if not loaded.is_async:
                for _ in range(1, self._processes):
                    await self._start()
                    self._changed()
            if loaded.healthcheck:
                await self._watch_health()
            await asyncio.get_running_loop().create_future()
        finally:
            await self._stop()

    def _announce(self, loaded: Loaded) -> None:
        self.declared = Declared(loaded.schema)
        self._each = loaded.concurrency if loaded.is_async else 1
        self._loaded(
            self,
            Served(
                model=self.name,
                version=self._version or loaded.version,
                cog_version=str(loaded.schema.get("info", {}).get("version", "")),
                concurrency=loaded.concurrency,
                openapi_schema=msgspec.Raw(msgspec.json.encode(loaded.schema)),
                retries=self._retries,
            ),
        )

    async def _start(self) -> Loaded:
        """One more process, tried again for as long as its setup fails."""
        pause_s = FIRST_RETRY_S
        listener = Listener(self._say, self._changed, self._announce)
        while True:
            log.info("%s: starting", self.name)
            number, self._started = self._started, self._started + 1
            runner = self._source.runner(self._work_dir / str(number), listener)
            self._runners.append(runner)
            began_at = time.time_ns() // 1000
            try:
                loaded = await runner.start()
            except (SetupFailed, OSError) as error:
                if isinstance(error, SetupFailed) and error.refused:
                    raise PredictorRefused(f"{self.name}: {error}") from None
                problem = self._source.explain(error)
            else:
                self._setups[runner] = (began_at, time.time_ns() // 1000)
                return loaded
            self._runners.remove(runner)
            await runner.stop(STOP_GRACE_S)
            log.warning("%s: %s; next try in %g s", self.name, problem, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_RETRY_S)

    async def _watch_health(self) -> None:
        while True:
            await asyncio.sleep(self._health_interval_s)
            for runner in self._runners:
                if runner.ready.is_set():
                    self._note_health(runner, await runner.check_health())

    def _note_health(self, runner: ModelRunner, reason: str | None) -> None:
        if self._unwell.get(runner) == reason:
            return
        if reason is None:
            del self._unwell[runner]
            log.info("%s: is well again", self.name)
        else:
            self._unwell[runner] = reason
            log.warning("%s: gets no work, it says that it is not well: %s", self.name, reason)
        self._changed()

    async def _stop(self) -> None:
        runners, self._runners = self._runners, []
        await asyncio.gather(*(runner.stop(STOP_GRACE_S) for runner in runners), return_exceptions=True)

    def _room(self, runner: ModelRunner) -> int:
        if not runner.ready.is_set() or runner in self._unwell:
            return 0
        return max(0, self._each - self._taken.get(runner, 0))

    def _say(self, line: str) -> None:
        log.info("[%s] %s", self.name, line.rstrip("\n"))
