"""Keeps one model running: starts its process, gives it predictions, starts it again when it has crashed."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from coordinator.protocol.limits import WireLimits
from gpu_agent.cell import OPEN, Cell
from gpu_agent.model_dir import ModelDir
from gpu_agent.runner_process import RunnerProcess
from gpu_agent.runner_types import NEIGHBOUR, FileOutput, Item, Loaded, Mode, Result, SetupFailed, Update
from gpu_agent.running import Running, now_us

__all__ = ["FileOutput", "Item", "Loaded", "Result", "Runner", "SetupFailed", "Update"]

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
DEFUNCT_AFTER = 5
"""Processes in a row that were of no use, before the model is called defunct."""


class Runner:
    """One model in a process of its own. Lives on one event loop, in the main thread.

    ``start``, then ``predict`` as often as ``Loaded.concurrency`` allows at a time, then ``stop``. ``ready``
    is clear while a crashed process is being replaced; a ``predict`` of that time waits. After several that
    were of no use in a row the model is ``defunct``: it is still tried again now and then, but nobody waits.
    """

    def __init__(
        self,
        model: ModelDir,
        *,
        python: str,
        work_dir: Path,
        mode: Mode = "predict",
        log: Callable[[str], None] | None = None,
        setup_timeout_s: float | None = None,
        kill_grace_s: float = 5.0,
        log_bytes: int = WireLimits().log_bytes,
        cell: Cell = OPEN,
    ) -> None:
        """``log`` gets each line of setup, and of what prints outside predictions. ``kill_grace_s`` is what a
        prediction that took too long has before its process is killed. The user of ``cell`` owns
        ``work_dir``."""
        self.ready = asyncio.Event()
        self._model = model
        self._mode = mode
        self._python = python
        self._work_dir = work_dir
        self._log = _ignore if log is None else log
        self._setup_timeout_s = setup_timeout_s
        self._kill_grace_s = kill_grace_s
        self._log_bytes = log_bytes
        self._cell = cell
        self._base: Path | None = None
        self._started = 0
        self._useless = 0
        """Processes in a row that ended without having been of use."""
        self._gave_up = asyncio.Event()
        self._process: RunnerProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._running: dict[str, Running | None] = {}
        """By the caller's id; None until there is a process to run it."""
        self._withdrawn: dict[str, asyncio.Event] = {}
        """For those without a process: set when they were canceled."""
        self._outputs: dict[str, list[str]] = {}

    async def start(self) -> Loaded:
        """Return once the model is set up. Raises ``SetupFailed``; then it may be called again."""
        if self._supervisor is not None or self._stopping.is_set():
            raise RuntimeError("a runner is started once, and not after its end")
        process, loaded = await self._start_process()
        self._supervisor = asyncio.create_task(self._supervise(process), name="runner")
        return loaded

    @property
    def defunct(self) -> bool:
        """Its processes ended one after the other without having been of use, and there is none now."""
        return self._gave_up.is_set() and not self.ready.is_set()

    async def check_health(self) -> str | None:
        """None when the model's own healthcheck says that it is well, or when it has none; else the reason.

        Answers within 5 s. While there is no process the reason is that.
        """
        process = self._process
        if process is None or not self.ready.is_set():
            return "the model's process is not ready"
        return await process.check_health()

    async def predict(
        self,
        id: str,
        input: dict[str, Any],
        on_update: Callable[[Update], None],
        *,
        timeout_s: float | None = None,
        context: Mapping[str, str] | None = None,
    ) -> Result:
        """Run one prediction to its end, whatever the model does. ``on_update`` is called on the loop.

        The model finds ``context`` in ``current_scope().context``, with ``id`` in it. Call ``release(id)``
        once the result's files are not needed. Raises ``ValueError`` when ``id`` is running already or
        ``input`` is no JSON. When this call is cancelled, so is the prediction.
        """
        if id in self._running:
            raise ValueError(f"the prediction {id} is running already")
        end_at = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        self._running[id] = None
        context = {"id": id, **(context or {})}
        try:
            while True:
                process = await self._ready_process(id, end_at)
                if isinstance(process, Result):
                    return process
                key, running = process.submit(input, context, on_update)
                self._outputs.setdefault(id, []).append(process.outputs(key))
                self._running[id] = running
                result = await self._follow(process, running, end_at)
                if result.error_code not in ("runner_crashed", NEIGHBOUR) or not running.never_ran:
                    return result
                self._running[id] = None
        finally:
            del self._running[id]
            self._withdrawn.pop(id, None)

    async def _follow(self, process: RunnerProcess, running: Running, end_at: float | None) -> Result:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        running.on_end = lambda: None if ended.done() else ended.set_result(None)
        timer = None if end_at is None else loop.call_at(end_at, self._timed_out, process, running)
        try:
            # The process may have ended between two turns of the loop: then the result is there already.
            if running.result is None:
                await ended
        except asyncio.CancelledError:
            process.cancel(running, self._kill_grace_s)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        assert running.result is not None
        return running.result

    def _timed_out(self, process: RunnerProcess, running: Running) -> None:
        if not running.cancel_asked:
            running.timed_out = True
        process.cancel(running, self._kill_grace_s)

    async def _ready_process(self, id: str, end_at: float | None) -> RunnerProcess | Result:
        """The process, or how the prediction ends without one."""
        if self._process is not None and self.ready.is_set() and not self._stopping.is_set():
            return self._process
        asked_at = now_us()
        withdrawn = self._withdrawn[id] = asyncio.Event()

        def ended(status: Any, error: str | None, code: str | None) -> Result:
            return Result(status, error=error, error_code=code, started_at=asked_at, completed_at=now_us())

        if not (self.ready.is_set() or self._stopping.is_set() or self._gave_up.is_set()):
            events = (self.ready, self._stopping, self._gave_up, withdrawn)
            waits = [asyncio.ensure_future(event.wait()) for event in events]
            timeout_s = None if end_at is None else max(0.0, end_at - asyncio.get_running_loop().time())
            try:
                await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if withdrawn.is_set():
            return ended("canceled", None, None)
        if self._stopping.is_set() or self._supervisor is None:
            return ended("failed", "the model's runner was stopped", "runner_stopped")
        if self.defunct:
            text = f"the model is defunct: its process failed {self._useless} times in a row"
            return ended("failed", text, "runner_defunct")
        if not self.ready.is_set() or self._process is None:
            return ended("failed", "the model's process was not ready in time", "timeout")
        return self._process

    def cancel(self, id: str, grace_s: float) -> None:
        """Have the prediction end as canceled within ``grace_s``, by killing the process if it must be.

        Does nothing when there is no such prediction.
        """
        if id not in self._running:
            return
        running = self._running[id]
        if running is None:
            self._withdrawn[id].set()
        elif self._process is not None:
            self._process.cancel(running, grace_s)

    def release(self, id: str) -> None:
        """Remove the output files of a prediction that has ended. Does nothing for an unknown one."""
        with self._cell.acting():
            for path in self._outputs.pop(id, ()):
                if os.path.isdir(path):  # noqa: PTH112 - a fifth of the cost
                    shutil.rmtree(path, ignore_errors=True)

    def opened(self, file: FileOutput) -> AbstractContextManager[FileOutput]:
        """An output file that is safe to read for the length of a block. Raises ``OSError``."""
        return self._cell.opened(file)

    async def stop(self, grace_s: float) -> None:
        """End the process, after ``grace_s`` by force, and remove the working directory. Idempotent.

        Predictions that are still running then fail as ``runner_stopped``.
        """
        self._stopping.set()
        self.ready.clear()
        process, self._process = self._process, None
        if process is not None:
            await process.stop(grace_s)
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            await supervisor
        base, self._base = self._base, None
        if base is not None:
            await asyncio.to_thread(self._remove, base)

    def _remove(self, base: Path) -> None:
        with self._cell.acting():
            shutil.rmtree(base, ignore_errors=True)

    # --- the process ------------------------------------------------------------------------------------

    async def _start_process(self) -> tuple[RunnerProcess, Loaded]:
        if self._base is None:
            with self._cell.acting():
                self._work_dir.mkdir(parents=True, exist_ok=True)
                self._base = Path(tempfile.mkdtemp(prefix="runner-", dir=self._work_dir))
        self._started += 1
        process = RunnerProcess(
            self._model,
            mode=self._mode,
            python=self._python,
            folder=self._base / str(self._started),
            on_line=self._log,
            log_bytes=self._log_bytes,
            cell=self._cell,
        )
        process.on_dying = self.ready.clear
        self._process = process
        loaded = await process.start(self._setup_timeout_s)
        if not self._stopping.is_set():
            self.ready.set()
        return process, loaded

    async def _supervise(self, process: RunnerProcess | None) -> None:
        delay_s = FIRST_DELAY_S
        while not self._stopping.is_set():
            if process is not None:
                await process.exited.wait()
                self.ready.clear()
                if self._stopping.is_set():
                    return
                await process.stop(0.0)
                await asyncio.to_thread(process.clear)
                self._log(f"the model's process {process.how_it_ended()}; starting it again")
                if process.succeeded_once or process.killed_on_purpose:
                    self._useless = 0
                    self._gave_up.clear()
                    delay_s = 0.0 if process.killed_on_purpose else FIRST_DELAY_S
                else:
                    self._count_useless()
            else:
                self._count_useless()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()
            delay_s = min(LONGEST_DELAY_S, max(FIRST_DELAY_S, delay_s * 2))
            process = await self._try_again()

    def _count_useless(self) -> None:
        self._useless += 1
        if self._useless == DEFUNCT_AFTER:
            self._log(f"the model is defunct: its process failed {self._useless} times in a row")
            self._gave_up.set()

    async def _try_again(self) -> RunnerProcess | None:
        if self._stopping.is_set():
            return None
        try:
            process, _ = await self._start_process()
        except (SetupFailed, OSError) as error:
            if not self._stopping.is_set():
                self._log(f"the model could not be set up again: {error}")
            return None
        return process


def _ignore(_line: str) -> None:
    pass
