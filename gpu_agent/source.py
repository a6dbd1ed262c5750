"""Where a served model comes from, and what runs it: a folder on this machine, or something else.

``Serving`` knows only these two protocols. A source makes runners; a runner runs predictions.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gpu_agent.choice import Choice
from gpu_agent.runner import Runner
from gpu_agent.runner_types import Loaded, Mode, Result, SetupFailed, Update


class Predicts(Protocol):
    """Runs predictions, or trainings, of one model."""

    async def predict(
        self,
        id: str,
        input: dict[str, Any],
        on_update: Callable[[Update], None],
        *,
        timeout_s: float | None = None,
        context: Mapping[str, str] | None = None,
    ) -> Result:
        """Run one prediction to its end. Raises ``NotTaken`` when it did not run at all."""

    def cancel(self, id: str, grace_s: float) -> None:
        """Have a prediction end as canceled within ``grace_s``."""

    def release(self, id: str) -> None:
        """The files of a prediction that has ended are not needed any more."""


class ModelRunner(Predicts, Protocol):
    """Runs the predictions of one model. It is ``start``ed once, and ``stop``ped."""

    ready: asyncio.Event
    """Clear while it could not take a prediction."""

    async def start(self) -> Loaded:
        """Return once the model is set up. Raises ``SetupFailed`` or ``OSError``."""

    async def check_health(self) -> str | None:
        """None when the model is well, else the reason. Asked only when ``Loaded.healthcheck`` says so."""

    async def stop(self, grace_s: float) -> None:
        """End what runs here. Idempotent."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What a runner may tell, beside the results of predictions."""

    say: Callable[[str], None]
    """A line for the operator."""
    changed: Callable[[], None]
    """``ready`` is not what it was, and somebody may be waiting for that."""
    reloaded: Callable[[Loaded], None]
    """What it runs has become another model."""


class Source(Protocol):
    """One model, before it is started."""

    concurrency: int
    """Predictions that it may have at the same time, as far as that is known before it is started."""
    version: str
    """64 hex; empty when ``Loaded.version`` will say it."""
    trains: bool
    """Perhaps it can be trained: its document will say so."""

    def runner(self, work_dir: Path, listener: Listener) -> ModelRunner: ...
    def trainer(self, work_dir: Path, say: Callable[[str], None]) -> Runner:
        """What runs one training."""

    def explain(self, error: SetupFailed | OSError) -> str:
        """Why its runner did not start, and what to do about it, in one line."""


class FolderSource:
    """A model's folder, run in the interpreter that was chosen for it."""

    def __init__(self, choice: Choice, *, setup_timeout_s: float) -> None:
        self.concurrency = choice.model.concurrency
        self.version = choice.model.version
        self.trains = bool(choice.model.train_ref)
        self._choice = choice
        self._setup_timeout_s = setup_timeout_s

    def runner(self, work_dir: Path, listener: Listener) -> ModelRunner:
        return self._runner("predict", work_dir, listener.say)

    def trainer(self, work_dir: Path, say: Callable[[str], None]) -> Runner:
        return self._runner("train", work_dir, say)

    def _runner(self, mode: Mode, work_dir: Path, say: Callable[[str], None]) -> Runner:
        return Runner(
            self._choice.model,
            python=self._choice.python,
            work_dir=work_dir,
            mode=mode,
            log=say,
            setup_timeout_s=self._setup_timeout_s,
        )

    def explain(self, error: SetupFailed | OSError) -> str:
        if isinstance(error, OSError):
            return f"{self._choice.python} could not be started: {error.strerror}"
        if error.missing_module is not None:
            return self._choice.missing(error.missing_module)
        return str(error)
