"""One coglet process: starting it, its working directory, its predictions, its end."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpu_agent.answers import read_answer
from gpu_agent.cell import Cell
from gpu_agent.coglet_command import coglet_command, coglet_environment
from gpu_agent.declared import Declared
from gpu_agent.drafts import Drafts
from gpu_agent.health import HealthQuestions
from gpu_agent.log_fifo import LogFifos
from gpu_agent.log_pipe import Lines, LogPipe, LogTail
from gpu_agent.masking import Masker
from gpu_agent.model_dir import ModelDir
from gpu_agent.runner_types import NEIGHBOUR, Loaded, Mode, SetupFailed, Update
from gpu_agent.running import Made, Running
from gpu_agent.signals import OutputSignal

_NOT_UNDERSTOOD = "the model's process gave a result of its setup that nobody understands"
FIRST_AGAIN_S, LONGEST_AGAIN_S = 0.01, 1.0
"""When a cancelation that is not taken is signaled again, doubling."""


class RunnerProcess:
    """A model's process. Use it once: ``start``, predictions, ``stop``."""

    def __init__(
        self,
        model: ModelDir,
        *,
        mode: Mode,
        python: str,
        folder: Path,
        on_line: Callable[[str], None],
        log_bytes: int,
        cell: Cell,
    ) -> None:
        self.folder = folder
        self._path = str(folder)
        self._loop = asyncio.get_running_loop()
        self.exited = asyncio.Event()
        self.succeeded_once = False
        """A prediction has ended in the ordinary way: the process was of some use."""
        self.killed_on_purpose = False
        self.on_dying: Callable[[], None] = _nothing
        """Called when the process is killed and not to be given any more."""
        self._model = model
        self._cell = cell
        self._acting = cell.acting
        self._mode = mode
        self._declared = Declared({})
        self._health: HealthQuestions | None = None
        self._python = python
        self._log_bytes = log_bytes
        self._lines = Lines(on_line)
        self._setup_log: LogTail | None = LogTail(log_bytes)
        self._last_key = 0
        self._next: Made | None = None
        self._running: dict[str, Running] = {}
        self._output: LogPipe | None = None
        self._logs = LogFifos(f"{folder}/logs")
        self._drafts = Drafts(str(folder / "tmp"))
        self._process: asyncio.subprocess.Process | None = None
        self._waiter: asyncio.Task[None] | None = None
        self._lifeline = -1
        self._bell = -1
        self._stopped = False
        self._set_up = asyncio.Event()
        self._coglet: int | None = None
        """Where SIGIO goes when files alone do not wake coglet."""

    # --- start ------------------------------------------------------------------------------------------

    async def start(self, timeout_s: float | None) -> Loaded:
        """Return once the model is set up. Raises ``SetupFailed``; the process has ended then."""
        with self._acting():
            for name in ("tmp", "out", "logs"):
                (self.folder / name).mkdir(parents=True)
            self._hang_bell(f"{self._path}/bell")
        try:
            await self._spawn()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._set_up.wait()
            return self._read_setup(timeout_s)
        except BaseException:
            await self.stop(0.0)
            raise

    def _hang_bell(self, path: str) -> None:
        """By signals, or by a FIFO where the process may not send us any."""
        if self._cell.user is None:
            self._bell = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            OutputSignal.here().listen(self._look)
        else:
            os.mkfifo(path, 0o600)
            self._bell = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self._loop.add_reader(self._bell, self._look)

    def _hush_bell(self) -> None:
        """What is written from now on is worth another sound of it."""
        if self._cell.user is None:
            os.pwrite(self._bell, b"0", 0)
            return
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, 1 << 16)

    def _unhang_bell(self) -> None:
        if self._cell.user is None:
            OutputSignal.here().forget(self._look)
        elif self._bell >= 0:
            self._loop.remove_reader(self._bell)
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1

    async def _spawn(self) -> None:
        standard_input, self._lifeline = os.pipe()
        log, standard_output = os.pipe()
        os.set_blocking(log, False)
        self._cell.give(standard_output)
        self._output = LogPipe(log, self._on_output)
        options = ["--events", "--dir", self._path, "--parent", str(os.getpid())]
        if self._mode == "predict":
            options += ["--max-concurrency", str(self._model.concurrency)]
        command = self._cell.command(coglet_command(self._python, self._model, self._mode, *options))
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=standard_input,
                stdout=standard_output,
                stderr=standard_output,
                cwd=self._model.path,
                env=coglet_environment(self._cell.environment, self._cell.runtime),
                start_new_session=True,
            )
        except OSError as error:
            reason = f"the interpreter {self._python} cannot be started: {error.strerror}"
            raise SetupFailed(reason, refused=True) from None
        finally:
            os.close(standard_input)
            os.close(standard_output)
        self._waiter = asyncio.create_task(self._wait_for_exit(self._process), name="runner-exit")
        if self._stopped:
            self.kill()

    @property
    def _pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _on_output(self, data: bytes) -> None:
        if self._setup_log is not None:
            self._setup_log.add(data)
        self._lines.add(data)

    def _read_setup(self, timeout_s: float | None) -> Loaded:
        assert self._output is not None
        assert self._setup_log is not None
        self._output.drain()
        logs = self._setup_log.text()
        try:
            with self._acting():
                result = json.loads(read_answer(self.folder / "setup-result.json"))
        except FileNotFoundError:
            if not self.exited.is_set():
                raise SetupFailed(f"setup() took longer than {timeout_s:g} s", logs) from None
            raise SetupFailed(f"the model's process {self.how_it_ended()} during setup", logs) from None
        except (OSError, ValueError):
            raise SetupFailed(_NOT_UNDERSTOOD, logs) from None
        try:
            return self._loaded(result, logs)
        except (OSError, LookupError, TypeError, ValueError):
            raise SetupFailed(_NOT_UNDERSTOOD, logs) from None

    def _loaded(self, result: dict[str, Any], logs: str) -> Loaded:
        if result["status"] != "succeeded":
            missing = result["missing_module"]
            raise SetupFailed(result["error"], logs, refused=result["refused"], missing_module=missing)
        self._setup_log = None
        if not result["watching"]:
            # Of another user's process we do not believe which one it is.
            self._coglet = result["pid"] if self._cell.user is None else self._pid
        with self._acting():
            if result["healthcheck"]:
                self._health = HealthQuestions(self._path)
            schema = json.loads(read_answer(self.folder / "openapi.json"))
        self._declared = Declared(schema)
        return Loaded(
            schema=schema,
            concurrency=result["concurrency"],
            is_async=result["is_async"],
            healthcheck=result["healthcheck"],
            setup_logs=logs,
            started_at=result["started_at"],
            completed_at=result["completed_at"],
        )

    # --- predictions ------------------------------------------------------------------------------------

    def submit(
        self, input: dict[str, Any], context: Mapping[str, str], on_update: Callable[[Update], None]
    ) -> tuple[str, Running]:
        """Hand over one prediction. Its key names its files: ``outputs(key)``. Raises ``ValueError``."""
        self._last_key += 1
        key = str(self._last_key)
        masker = Masker(self._declared.secrets(input))
        with self._acting():
            made, self._next = self._next or self._make(self._last_key), None
            running = Running(self._path, key, made, on_update, log_bytes=self._log_bytes, masker=masker)
            try:
                running.request(input, context)
            except BaseException:
                made.draft.discard()
                self._logs.give(made.log)
                raise
        self._running[key] = running
        self._nudge()
        # While the model is at it there is time for what the next prediction needs.
        self._loop.call_soon(self._prepare)
        return key, running

    def _prepare(self) -> None:
        if self._next is None and not self._stopped and not self.exited.is_set():
            with self._acting():
                self._next = self._make(self._last_key + 1)

    def _make(self, key: int) -> Made:
        return Made(self._drafts.take(), self._logs.take(str(key)))

    def _tidy(self, running: Running) -> None:
        """What is left to do for a prediction after its answer."""
        with self._acting():
            running.clean(self._drafts)
            self._logs.give(running.log)

    def cancel(self, running: Running, grace_s: float) -> None:
        """End it as canceled: by asking, and after the grace by killing this process."""
        if running.result is not None:
            return
        with self._acting():
            running.ask_to_cancel()
        self._nudge()
        self._loop.call_later(FIRST_AGAIN_S, self._nudge_again, running, FIRST_AGAIN_S)
        loop = asyncio.get_running_loop()
        kill_at = loop.time() + max(0.0, grace_s)
        # The shortest grace of all that were asked for holds.
        if running.kill_timer is None or kill_at < running.kill_timer.when():
            if running.kill_timer is not None:
                running.kill_timer.cancel()
            running.kill_timer = loop.call_at(kill_at, self._give_up, running)

    def _give_up(self, running: Running) -> None:
        if running.result is not None:
            return
        self.killed_on_purpose = True
        self.kill()
        self.on_dying()
        reason = "the model's process was ended: another prediction on it did not stop"
        with self._acting():
            running.lost("", "")
            for other in self._running.values():
                other.lost(reason, NEIGHBOUR)

    async def check_health(self) -> str | None:
        """Ask the model's own healthcheck. None when it is well or has none, else why it is not."""
        return None if self._health is None else await self._health.ask()

    def outputs(self, key: str) -> str:
        """Where the output files of a prediction are."""
        return f"{self._path}/out/{key}"

    def _nudge(self) -> None:
        if self._coglet is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._coglet, signal.SIGIO)

    def _nudge_again(self, running: Running, after_s: float) -> None:
        """Until the cancelation is taken: a signal that comes when the model is just about to sleep does not
        end that sleep, as Python has looked for signals already."""
        if running.result is not None or self._process is None:
            return
        with self._acting():
            if not running.cancel_lies_there():
                return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGIO)
            again_s = min(2 * after_s, LONGEST_AGAIN_S)
            self._loop.call_later(again_s, self._nudge_again, running, again_s)

    def _look(self) -> None:
        # First this, then the files.
        self._hush_bell()
        with self._acting():
            self._read_news()

    def _read_news(self) -> None:
        if not self._set_up.is_set():
            if (self.folder / "setup-result.json").exists():
                self._set_up.set()
            return
        for key, running in tuple(self._running.items()):
            running.look()
            if running.result is not None:
                self.succeeded_once = True
                del self._running[key]
                self._loop.call_soon(self._tidy, running)
        if self._health is not None:
            self._health.look()

    # --- end --------------------------------------------------------------------------------------------

    async def _wait_for_exit(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        # What it started in its own group goes with it; a model's daemons in sessions of their own stay.
        self.kill()
        self._look()
        reason, code = f"the model's process {self.how_it_ended()}", "runner_crashed"
        if self._stopped:
            reason, code = "the model's runner was stopped", "runner_stopped"
        self.exited.set()
        with self._acting():
            for running in self._running.values():
                running.lost(reason, code)
                running.clean(self._drafts)
        self._running.clear()
        self._set_up.set()

    def how_it_ended(self) -> str:
        code = None if self._process is None else self._process.returncode
        if code is None:
            return "is still running"
        if code >= 0:
            return f"exited with code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = ", perhaps for want of memory" if name == "SIGKILL" and not self.killed_on_purpose else ""
        return f"was ended by {name}{hint}"

    def kill(self) -> None:
        """End the process and its group at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def stop(self, grace_s: float) -> None:
        """Ask it to leave, wait the grace, kill. Nothing of it is left then but output files. Idempotent."""
        self._stopped = True
        if self._process is not None and not self.exited.is_set():
            if grace_s > 0 and self._set_up.is_set():
                with self._acting():
                    (self.folder / "stop").touch()
                self._nudge()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await self.exited.wait()
            self.killed_on_purpose = True
            self.kill()
            await self.exited.wait()
        if self._waiter is not None:
            await self._waiter
        self._unhang_bell()
        if self._output is not None:
            self._output.drain()
            self._output.close()
        self._lines.flush()
        if self._next is not None:
            self._next.draft.close()
        if self._health is not None:
            self._health.close()
        with self._acting():
            self._logs.close()
            self._drafts.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def clear(self) -> None:
        """Remove the working directory of a process that has ended, but for output files not yet released."""
        with self._acting():
            self._clear()

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name in ("tmp", "logs"):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != "out":
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            (self.folder / "out").rmdir()
            self.folder.rmdir()


def _nothing() -> None:
    pass
