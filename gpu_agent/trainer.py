"""Runs trainings, each in a fresh process of its own that leaves no memory taken behind."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from gpu_agent.runner import Result, Runner, SetupFailed, Update
from gpu_agent.runner_types import FileOutput, Loaded

STOP_GRACE_S = 5.0


class Trainer:
    """``make`` makes the runner of one training; ``explain`` says why one did not start."""

    def __init__(
        self, make: Callable[[], Runner], explain: Callable[[SetupFailed | OSError], str] = str
    ) -> None:
        self._make = make
        self._explain = explain
        self._runners: dict[str, Runner] = {}
        self._starting: dict[str, asyncio.Future[Loaded]] = {}
        self._unwanted: set[str] = set()
        """Those that were canceled while their process started."""
        self._stopping: set[asyncio.Task[None]] = set()

    async def predict(
        self,
        id: str,
        input: dict[str, Any],
        on_update: Callable[[Update], None],
        *,
        timeout_s: float | None = None,
        context: Mapping[str, str] | None = None,
    ) -> Result:
        """Train to the end, whatever the model does. ``timeout_s`` is for all of it."""
        began, began_at = time.monotonic(), time.time_ns() // 1000
        runner = self._runners[id] = self._make()
        starting = self._starting[id] = asyncio.ensure_future(runner.start())
        try:
            await asyncio.wait([starting], timeout=timeout_s)
        finally:
            late = starting.cancel()
            del self._starting[id]
        if id in self._unwanted:
            return _ended("canceled", began_at)
        if late:
            return _ended("failed", began_at, error="it was not loaded in time", error_code="timeout")
        error = starting.exception()
        if isinstance(error, SetupFailed | OSError):
            logs = error.logs if isinstance(error, SetupFailed) else ""
            return _ended("failed", began_at, error=self._explain(error), error_code="model_error", logs=logs)
        if error is not None:
            raise error
        if timeout_s is not None:
            timeout_s = max(0.001, timeout_s - (time.monotonic() - began))
        return await runner.predict(id, input, on_update, timeout_s=timeout_s, context=context)

    def cancel(self, id: str, grace_s: float) -> None:
        """Have a training end as canceled within ``grace_s``."""
        if id in self._starting:
            self._unwanted.add(id)
            self._starting[id].cancel()
        elif id in self._runners:
            self._runners[id].cancel(id, grace_s)

    def release(self, id: str) -> None:
        """The files of a training that has ended are not needed any more: its process goes."""
        self._unwanted.discard(id)
        runner = self._runners.pop(id, None)
        if runner is not None:
            runner.release(id)
            stopping = asyncio.create_task(runner.stop(STOP_GRACE_S), name="trainer-stop")
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    def opened(self, file: FileOutput) -> AbstractContextManager[FileOutput]:
        return nullcontext(file)

    async def stop(self) -> None:
        """End what runs. Idempotent."""
        for id in tuple(self._runners):
            self.release(id)
        if self._stopping:
            await asyncio.wait(self._stopping)


def training_document(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The part of a model's document that says of trainings what the whole says of predictions; None when
    nothing trains it."""
    schemas = schema.get("components", {}).get("schemas", {})
    if "TrainingInput" not in schemas:
        return None
    inner = {**schemas, "Input": schemas["TrainingInput"], "Output": schemas.get("TrainingOutput", {})}
    return {"components": {"schemas": inner}}


def _ended(status: Any, began_at: int, **more: Any) -> Result:
    return Result(status, started_at=began_at, completed_at=time.time_ns() // 1000, **more)
