"""One procedure: from its source to its model's process, and to the end of all that it had.

waiting ──a place is free──▶ starting ──▶ ready ──evicted──▶ gone
                                 └──setup has failed─────────▲
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml  # noqa: F401 - needed while we act for a procedure, which may not be able to read it

from gpu_agent.choice import Choice, choose
from gpu_agent.environment import default_cache
from gpu_agent.log_pipe import LogTail
from gpu_agent.model_dir import ModelDir, ModelDirError
from gpu_agent.server import times
from gpu_agent.server.engine import Engine, Model, Workshop
from gpu_agent.server.predictions import Predictions, Served
from gpu_agent.server.procedures.cells import Cells, Lodging, NoUser
from gpu_agent.server.procedures.sources import SourceFailed, Sources, run
from gpu_agent.server.settings import CogServerSettings

log = logging.getLogger("cogflare.cog_server")

COMMAND = "cogflare cog-server --procedure-mode"
FURNISH = "gpu_agent.server.procedures.furnish"

Status = Literal["WAITING", "STARTING", "READY", "BUSY", "DEFUNCT"]
Serve = Callable[[Engine, Mapping[str, Any], int, Lodging], Served]
"""What a model that is set up is served with: engine, document, slots, and where it lives."""


class SetupFailed(Exception):
    """There is no model; the text says why and is fit for the client's eyes."""


@dataclass(frozen=True, slots=True)
class Site:
    """What all procedures of a server are made with."""

    settings: CogServerSettings
    cells: Cells
    sources: Sources
    serve: Serve
    say: Callable[[str], None]


class Procedure:
    """``begin`` it when there is a place for it, ``close`` it at the end."""

    def __init__(self, url: str, name: str, line: Predictions, site: Site) -> None:
        """``name`` is how logs and clients see the URL. ``line`` is opened when the model is set up."""
        self.url = url
        self.name = name
        self.line = line
        self.uses = 0
        """Predictions that were asked of it. Written by whoever takes them on."""
        self.placed = False
        """It has a place among those that may be set up."""
        self.since = times.now()
        """When it got that place."""
        self.document: Mapping[str, Any] | None = None
        self._site = site
        self._model: Model | None = None
        self._served: Served | None = None
        self._lodging: Lodging | None = None
        self._starting: asyncio.Task[None] | None = None
        self._log = LogTail(site.settings.limits.log_bytes)

    @property
    def status(self) -> Status:
        if not self.placed:
            return "WAITING"
        if self._model is None or not self.line.slots:
            return "STARTING"
        if self.defunct:
            return "DEFUNCT"
        if self.line.busy:
            return "BUSY"
        return "READY" if self._model.state == "ready" else "STARTING"

    @property
    def defunct(self) -> bool:
        """Its process failed several times in a row."""
        return self._model is not None and self._model.state == "defunct"

    @property
    def spare(self) -> bool:
        """It is set up, and nobody needs it now."""
        return self.placed and self.line.slots > 0 and self.line.idle

    def begin(self, after: "asyncio.Task[None] | None", on_failed: Callable[["Procedure"], None]) -> None:
        """Set it up, once what had its place is gone. ``on_failed`` is called when that has failed, before
        those who wait are told; then it is only to be closed."""
        self.placed = True
        self.since = times.now()
        self._starting = asyncio.create_task(self._start(after, on_failed), name="procedure")

    async def _start(
        self, after: "asyncio.Task[None] | None", on_failed: Callable[["Procedure"], None]
    ) -> None:
        if after is not None:
            await asyncio.wait([after])
        began = time.monotonic()
        try:
            self._served = await self._set_up()
        except (SetupFailed, SourceFailed, NoUser, ModelDirError, OSError) as error:
            problem = str(error)
        except Exception:
            log.exception("procedure %s: unexpected error", self.name)
            problem = "unexpected error in the server: its log says which"
        else:
            log.info("procedure %s: set up in %.1f s", self.name, time.monotonic() - began)
            self.line.open(self._served)
            return
        log.warning("procedure %s could not be set up: %s", self.name, problem)
        on_failed(self)
        self.line.fail(f"Setup has failed: {problem}", self.setup_logs)

    async def _set_up(self) -> Served:
        site, settings = self._site, self._site.settings
        lodging = self._lodging = await asyncio.to_thread(site.cells.make)
        source = await site.sources.bring(self.url, lodging, self._on_line)
        source_of = await asyncio.to_thread(self._read, source, lodging)
        chosen = await self._interpreter(source_of, lodging)
        workshop = Workshop(
            model=source_of,
            python=chosen.python,
            work_dir=lodging.path,
            setup_timeout_s=settings.limits.setup_timeout_s or None,
            cancel_grace_s=settings.limits.cancel_grace_s,
            log_bytes=settings.limits.log_bytes,
            cell=lodging.cell,
        )
        model = self._model = Model(workshop, wait_file=settings.wait_file, say=site.say)
        model.advice = chosen.missing
        model.begin()
        await model.set_up.wait()
        if model.loaded is None:
            raise SetupFailed(model.problem)
        self.document = model.loaded.schema
        return site.serve(model.engine, model.loaded.schema, model.loaded.concurrency, lodging)

    def _read(self, source: Path, lodging: Lodging) -> ModelDir:
        with lodging.cell.acting():
            model = ModelDir.read(source, versioned=False)
        most = self._site.settings.max_concurrency
        return model if most is None else replace(model, concurrency=most)

    async def _interpreter(self, model: ModelDir, lodging: Lodging) -> Choice:
        settings = self._site.settings
        if settings.python or not settings.install:
            return choose(
                model, python=settings.python, install=False, cache=None, command=COMMAND, say=self._on_line
            )
        user = lodging.cell.user
        uid, gid = (-1, -1) if user is None else (user.uid, user.gid)
        # What another user has installed is not to be trusted: where each has its own, nothing is shared.
        cache = lodging.path / "cache" if user else settings.cache or default_cache()
        last = ""

        def note(line: str) -> None:
            nonlocal last
            last = line
            self._on_line(line)

        environment = {**(lodging.cell.environment or {}), "PYTHONPATH": os.pathsep.join(sys.path)}
        code = await run(
            [sys.executable, "-P", "-m", FURNISH, str(model.path), str(uid), str(gid), str(cache)],
            stdin=asyncio.subprocess.DEVNULL,
            cwd=lodging.path,
            environment=environment,
            say=note,
        )
        if code:
            raise SetupFailed(last or "its environment could not be made")
        return Choice(model, last, "installed", COMMAND)

    def _on_line(self, line: str) -> None:
        self._log.add(f"{line}\n".encode("utf-8", "replace"))
        self._site.say(f"{line}\n")

    @property
    def setup_logs(self) -> str:
        """So far, or all."""
        return self._log.text() + ("" if self._model is None else self._model.setup_logs)

    async def close(self) -> None:
        """End it and remove everything of it; what still runs is cut off. Safe at any time."""
        if self._starting is not None and self._starting is not asyncio.current_task():
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._starting
        await self.line.stop()
        if self._model is not None:
            await self._model.stop()
        if self._served is not None:
            await self._served.inputs.close()
        lodging, self._lodging = self._lodging, None
        if lodging is not None:
            await asyncio.to_thread(self._site.cells.remove, lodging)
