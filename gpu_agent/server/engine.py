"""The model behind the server: its process from the wait for its file to its end, and what is known of it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from gpu_agent.cell import OPEN, Cell
from gpu_agent.log_pipe import LogTail
from gpu_agent.model_dir import ModelDir
from gpu_agent.runner import Result, Runner, SetupFailed, Update
from gpu_agent.runner_types import FileOutput, Loaded

log = logging.getLogger("cogflare.cog_server")

WAIT_FILE_S = 60.0
WAIT_FILE_STEP_S = 0.01
STOP_GRACE_S = 5.0

State = Literal["starting", "ready", "setup_failed", "defunct"]
OnUpdate = Callable[[Update], None]


class Engine(Protocol):
    """What runs predictions, or trainings."""

    async def predict(
        self,
        id: str,
        input: dict[str, Any],
        on_update: OnUpdate,
        *,
        timeout_s: float | None,
        context: dict[str, str],
    ) -> Result: ...
    def cancel(self, id: str, grace_s: float) -> None: ...
    def release(self, id: str) -> None: ...
    def opened(self, file: FileOutput) -> AbstractContextManager[FileOutput]:
        """An output file as it may be read for the length of a block. Raises ``OSError``."""
        ...


@dataclass(frozen=True, slots=True)
class Workshop:
    """How a runner of this server is made."""

    model: ModelDir
    python: str
    work_dir: Path
    setup_timeout_s: float | None
    cancel_grace_s: float
    log_bytes: int
    cell: Cell = OPEN

    def runner(self, mode: Literal["predict", "train"], say: Callable[[str], None]) -> Runner:
        return Runner(
            self.model,
            python=self.python,
            work_dir=self.work_dir,
            mode=mode,
            log=say,
            setup_timeout_s=self.setup_timeout_s,
            kill_grace_s=self.cancel_grace_s,
            log_bytes=self.log_bytes,
            cell=self.cell,
        )


class Model:
    """The model's process. ``begin`` it at once: it boots while the server is still being put together.

    A process that dies later is replaced by its runner; a setup that fails at the start is final.
    """

    def __init__(self, workshop: Workshop, *, wait_file: Path | None, say: Callable[[str], None]) -> None:
        self.set_up = asyncio.Event()
        """Setup has ended, well or badly."""
        self.loaded: Loaded | None = None
        self.problem = ""
        """Why the model could not be set up."""
        self.advice: Callable[[str], str] = str
        """What to do about a module that the interpreter does not have."""
        self.started_at = time.time_ns() // 1000
        self.completed_at: int | None = None
        self._say = say
        self._setup_log = LogTail(workshop.log_bytes)
        self._wait_file = wait_file
        self._runner = workshop.runner("predict", self._on_line)
        self._starting: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._starting = asyncio.create_task(self._start(), name="model")

    async def _start(self) -> None:
        try:
            if self._wait_file is not None:
                await _until_there(self._wait_file)
            self.loaded = await self._runner.start()
        except (SetupFailed, OSError) as error:
            self.problem = str(error)
            self._setup_log.add(f"{error}\n".encode("utf-8", "replace"))
            log.error("the model could not be set up: %s", error)  # noqa: TRY400
            if isinstance(error, SetupFailed) and error.missing_module:
                log.error(self.advice(error.missing_module))  # noqa: TRY400
        self.completed_at = time.time_ns() // 1000
        self.set_up.set()

    def _on_line(self, line: str) -> None:
        if not self.set_up.is_set():
            self._setup_log.add(f"{line}\n".encode("utf-8", "replace"))
        self._say(f"{line}\n")

    @property
    def state(self) -> State:
        if self.loaded is None:
            return "setup_failed" if self.set_up.is_set() else "starting"
        if self._runner.defunct:
            return "defunct"
        return "ready" if self._runner.ready.is_set() else "starting"

    @property
    def setup_logs(self) -> str:
        """So far, or all."""
        return self._setup_log.text()

    async def unwell(self) -> str | None:
        """Why the model's own healthcheck says that it is not well; None when it is, or has none."""
        if self.loaded is None or not self.loaded.healthcheck or not self._runner.ready.is_set():
            return None
        return await self._runner.check_health()

    @property
    def engine(self) -> Engine:
        return self._runner

    async def stop(self) -> None:
        """End the process: one that is still being set up at once. Idempotent."""
        starting, self._starting = self._starting, None
        if starting is not None and not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
        await self._runner.stop(STOP_GRACE_S)


async def _until_there(path: Path) -> None:
    """Wait for a file that whoever starts the container makes. Raises ``SetupFailed``."""
    deadline = asyncio.get_running_loop().time() + WAIT_FILE_S
    while not path.exists():  # noqa: ASYNC240 - it may be on any file system, without events
        if asyncio.get_running_loop().time() > deadline:
            raise SetupFailed(f"{path} (--wait-file) was not there within {WAIT_FILE_S:g} s")
        await asyncio.sleep(WAIT_FILE_STEP_S)
