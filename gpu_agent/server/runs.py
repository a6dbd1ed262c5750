"""How one prediction runs: its input files are fetched, the model predicts, its output files are placed."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from gpu_agent.output import BadOutput, put
from gpu_agent.runner_types import FileOutput, Item, Result, Update
from gpu_agent.server.engine import Engine
from gpu_agent.server.input_files import BadFile, InputFiles
from gpu_agent.server.orders import Order
from gpu_agent.server.output_files import NotStored, OutputFiles
from gpu_agent.server.prediction import Prediction

log = logging.getLogger("cogflare.cog_server")

T = TypeVar("T")


class _Canceled(Exception):
    pass


class Run:
    """Takes one prediction to its end, whatever happens. ``key`` is its name for engine and disk."""

    def __init__(
        self,
        key: str,
        prediction: Prediction,
        *,
        engine: Engine,
        inputs: InputFiles,
        outputs: Callable[[Order], OutputFiles],
        timeout_s: float | None,
        cancel_grace_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._key = key
        self._prediction = prediction
        self._engine = engine
        self._inputs = inputs
        self._make_outputs = outputs
        self._outputs: OutputFiles | None = None
        """Made for the first output file: most predictions have none."""
        self._timeout_s = timeout_s
        self._cancel_grace_s = cancel_grace_s
        self._say = say
        self._updates: deque[Update] = deque()
        self._placing: asyncio.Task[None] | None = None
        """Places the files of items, in order; there is one only while there are any."""
        self._problem = ""

    async def run(self, free: Callable[[], None]) -> None:
        """``free`` is called once, when the model is done with it: its output may still be on its way."""
        prediction = self._prediction
        fetched = self._inputs.needed(prediction.order.input)
        try:
            try:
                result = await self._predict(fetched)
            finally:
                free()
            if self._placing is not None:
                await asyncio.wait([self._placing])
            await self._end(result)
        except _Canceled:
            prediction.end("canceled")
        except BadFile as error:
            prediction.end("failed", error=str(error))
        except Exception:
            log.exception("%s: unexpected error", prediction.id)
            prediction.end("failed", error="unexpected error in the server: its log says which")
        finally:
            if self._placing is not None:
                self._placing.cancel()
            self._engine.release(self._key)
            if fetched:
                await self._inputs.forget(self._key)

    async def _predict(self, fetched: bool) -> Result:
        order = self._prediction.order
        given = order.input
        if fetched:
            given = await self._stoppable(self._inputs.fetch(self._key, given))
        if self._prediction.cancel_asked:
            raise _Canceled
        self._prediction.on_cancel = self._stop_engine
        context = {**order.context, "id": self._prediction.id}
        return await self._engine.predict(
            self._key, given, self._on_update, timeout_s=self._timeout_s, context=context
        )

    def _stop_engine(self) -> None:
        self._engine.cancel(self._key, self._cancel_grace_s)
        if self._placing is not None:
            self._placing.cancel()

    async def _stoppable(self, work: Coroutine[Any, Any, T]) -> T:
        """Await it, but for a cancelation, which ends it with ``_Canceled``."""
        task = asyncio.ensure_future(work)
        self._prediction.on_cancel = task.cancel
        if self._prediction.cancel_asked:
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and self._prediction.cancel_asked:
                raise _Canceled from None
            task.cancel()
            raise

    # --- what the model says while it runs --------------------------------------------------------------

    def _on_update(self, update: Update) -> None:
        if update.logs:
            self._say(update.logs)
        if self._problem:
            self._prediction.add((), update.logs, update.metrics)
            return
        if self._placing is None and not any(item.files for item in update.items):
            self._prediction.add([item.value for item in update.items], update.logs, update.metrics)
            return
        self._updates.append(update)
        if self._placing is None:
            self._placing = asyncio.create_task(self._place_items(), name="output-files")

    async def _place_items(self) -> None:
        try:
            while self._updates:
                update = self._updates.popleft()
                values = [await self._placed(item) for item in update.items]
                self._prediction.add(values, update.logs, update.metrics)
        except (NotStored, BadOutput) as error:
            self._problem = str(error)
            self._engine.cancel(self._key, self._cancel_grace_s)
        finally:
            self._placing = None

    async def _placed(self, item: Item) -> Any:
        return await self._fill(item.value, item.files) if item.files else item.value

    async def _fill(self, value: Any, files: Sequence[FileOutput]) -> Any:
        if self._outputs is None:
            self._outputs = self._make_outputs(self._prediction.order)
        for file in files:
            try:
                with self._engine.opened(file) as safe:
                    value = put(value, file.pointer, await self._outputs.place(safe))
            except OSError as error:
                raise NotStored(f"output file {file.name} cannot be read: {error.strerror}") from None
        return value

    # --- how it ends ------------------------------------------------------------------------------------

    async def _end(self, result: Result) -> None:
        prediction = self._prediction
        same: dict[str, Any] = {"logs": result.logs, "metrics": result.metrics}
        if prediction.cancel_asked:
            prediction.end("canceled", **same)
            return
        if self._problem:
            prediction.end("failed", error=self._problem, **same)
            return
        if result.status != "succeeded":
            if result.error_code == "invalid_input":
                prediction.refused_input = result.error or ""
            prediction.end(result.status, error=self._explained(result), **same)
            return
        output = result.output
        if result.files and not prediction.yielded:
            try:
                output = await self._stoppable(self._fill(output, result.files))
            except (NotStored, BadOutput) as error:
                prediction.end("failed", error=str(error), **same)
                return
            except _Canceled:
                prediction.end("canceled", **same)
                return
        prediction.end("succeeded", output=output, **same)

    def _explained(self, result: Result) -> str | None:
        if result.error_code == "timeout" and self._timeout_s is not None:
            return f"the prediction ran longer than its limit of {self._timeout_s:g} s (--run-s)"
        return result.error
