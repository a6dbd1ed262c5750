"""Runs an asynchronous predict, several predictions at a time on one event loop."""

import asyncio
import concurrent.futures
import contextvars
import signal
from typing import Any, Callable, Dict, Optional

from cog.scope import CURRENT, NO_SCOPE, Only

from coglet.capture import SINK, Capture
from coglet.encoding import BadOutput
from coglet.folder import WorkFolder
from coglet.forked import end_if_child
from coglet.inputs import BadInput
from coglet.job import Job, OutletMaker, Rejected, iterate
from coglet.loop import own_loop
from coglet.outlets import Parent
from coglet.scratch import point_at, point_back
from coglet.signature import Signature


class _ContextExecutor(concurrent.futures.ThreadPoolExecutor):
    """Runs work in the context that submitted it, so that its prints find their prediction."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return super().submit(contextvars.copy_context().run, function, *args, **kwargs)


class ParallelServer:
    """Takes up to ``slots`` requests at a time until ``stop``.

    With one slot, output is captured by file descriptor as for a synchronous predict; with more, by context.
    """

    def __init__(
        self,
        predict: Callable[..., Any],
        signature: Signature,
        folder: WorkFolder,
        capture: Capture,
        make_outlet: OutletMaker,
        parent: Parent,
        slots: int,
    ) -> None:
        self._predict = predict
        self._signature = signature
        self._folder = folder
        self._capture = capture
        self._make_outlet = make_outlet
        self._parent = parent
        self._slots = slots
        self._running: Dict[str, Job] = {}
        self._tasks: Dict[str, "asyncio.Task[None]"] = {}
        self._done: Optional[asyncio.Event] = None

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_ContextExecutor())
        self._done = asyncio.Event()
        loop.add_signal_handler(signal.SIGIO, self._look)
        self._parent.ready()
        self._look()
        await self._done.wait()

    def _look(self) -> None:
        seen = self._folder.look()
        if seen.rejected:
            self._parent.output()
        for prediction in seen.cancels:
            job = self._running.get(prediction)
            if job is not None and self._folder.take_cancel(prediction):
                job.canceled = True
                self._tasks[prediction].cancel()
        for prediction in seen.requests:
            if len(self._running) >= self._slots:
                break
            # One id at a time: a second request under the same id waits for the first.
            if prediction not in self._running:
                self._start(prediction)
        if seen.stop and not seen.requests and not self._running and self._done is not None:
            self._folder.close()
            self._done.set()

    def _start(self, prediction: str) -> None:
        request = self._folder.take_request(prediction)
        if request is None:
            return
        job = Job(prediction, self._folder, self._signature, self._make_outlet)
        job.canceled = self._folder.take_cancel(prediction)
        self._running[prediction] = job
        if len(self._running) == self._slots:
            self._parent.busy()
        self._tasks[prediction] = asyncio.get_running_loop().create_task(self._run(job, request))

    async def _run(self, job: Job, request: bytes) -> None:
        alone = self._slots == 1
        if alone:
            job.flush = self._capture.flush
            self._capture.begin(job.outlet.log_descriptor())
            pointed = point_at(job.temporary)
        else:
            SINK.set(job.outlet.log)
        try:
            await self._call(job, request)
        except BaseException as error:
            end_if_child(error)
            if not job.canceled:
                job.fail(error)
        finally:
            if alone:
                point_back(pointed)
                self._capture.end()
                Only.scope = NO_SCOPE
        del self._running[job.prediction]
        del self._tasks[job.prediction]
        job.finish()
        if len(self._running) == self._slots - 1:
            self._parent.ready()
        job.clean()
        self._look()

    async def _call(self, job: Job, request: bytes) -> None:
        try:
            arguments = job.arguments(request)
        except (BadInput, Rejected) as error:
            job.fail(error)
            return
        if job.canceled:
            return
        if self._slots == 1:
            Only.scope = job.scope
        else:
            CURRENT.set(job.scope)
        output = self._predict(**arguments)
        if hasattr(output, "__await__"):
            output = await output
        end_if_child()
        if not self._signature.output.streams:
            if hasattr(output, "__aiter__"):
                raise BadOutput("output: predict() yields, but is not annotated as an iterator")
            job.returned(output)
        elif hasattr(output, "__aiter__"):
            try:
                async for item in output:
                    end_if_child()
                    job.item(item)
            finally:
                if hasattr(output, "aclose"):
                    await output.aclose()
        else:
            for item in iterate(output):
                end_if_child()
                job.item(item)
                await asyncio.sleep(0)
        job.succeed()


def run(
    set_up: Callable[[], Any],
    after_setup: Callable[[], ParallelServer],
    on_failure: Callable[[BaseException], None],
) -> bool:
    """Setup, which may give something to be awaited on the loop, then the server. False when setup failed."""

    async def main(waiting: Any) -> bool:
        if waiting is not None:
            try:
                await waiting
                end_if_child()
            except BaseException as error:
                end_if_child(error)
                on_failure(error)
                return False
        await after_setup().serve()
        return True

    with own_loop() as loop:
        try:
            waiting = set_up()
            end_if_child()
        except BaseException as error:
            end_if_child(error)
            on_failure(error)
            return False
        return loop.run_until_complete(main(waiting))
