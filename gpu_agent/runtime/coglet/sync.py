"""Runs a synchronous predict, one prediction at a time, in the main thread."""

from typing import Any, Callable, Optional

from cog.exceptions import CancelationException
from cog.scope import NO_SCOPE, Only

from coglet.capture import Capture
from coglet.folder import Seen, WorkFolder
from coglet.forked import end_if_child
from coglet.inputs import BadInput
from coglet.job import Job, OutletMaker, Rejected, iterate
from coglet.outlets import Parent
from coglet.scratch import point_at, point_back
from coglet.signature import Signature
from coglet.wakeup import Wakeup

_END = object()


class SyncServer:
    """Takes requests until ``stop``. SIGIO, when a prediction runs, means that it may have been canceled."""

    def __init__(
        self,
        predict: Callable[..., Any],
        signature: Signature,
        folder: WorkFolder,
        capture: Capture,
        make_outlet: OutletMaker,
        parent: Parent,
    ) -> None:
        self._predict = predict
        self._signature = signature
        self._folder = folder
        self._capture = capture
        self._make_outlet = make_outlet
        self._parent = parent
        self._job: Optional[Job] = None
        self._interruptible = False
        """Set only while the model's own code runs: elsewhere a cancelation is noted, not raised."""
        self._signaled = False
        """Something may have appeared since the last look."""

    def on_signal(self) -> None:
        """Look whether the running prediction is to be canceled. Raises into the model's code if so."""
        self._signaled = True
        job = self._job
        if job is not None and self._folder.take_cancel(job.prediction):
            job.canceled = True
            if self._interruptible:
                raise CancelationException

    def serve(self, wakeup: Wakeup) -> None:
        self._folder.prepare()
        wakeup.refresh()
        self._parent.ready()
        while True:
            self._signaled = False
            wakeup.clear()
            seen = self._folder.look()
            if seen.rejected:
                self._parent.output()
            if seen.requests:
                self._run(seen, wakeup)
            elif seen.stop:
                self._folder.close()
                return
            else:
                wakeup.wait()

    def _run(self, seen: Seen, wakeup: Wakeup) -> None:
        prediction = seen.requests[0]
        request = self._folder.take_request(prediction)
        if request is None:
            return
        self._parent.busy()
        job = self._job = Job(prediction, self._folder, self._signature, self._make_outlet)
        if self._signaled or prediction in seen.cancels:
            self.on_signal()
        job.flush = self._capture.flush
        self._capture.begin(job.outlet.log_descriptor())
        pointed = point_at(job.temporary)
        try:
            self._call(job, request)
        except BaseException as error:
            self._interruptible = False
            if not job.canceled:
                job.fail(error)
        finally:
            Only.scope = NO_SCOPE
            point_back(pointed)
            self._capture.end()
        self._job = None
        wakeup.refresh()
        job.finish()
        self._parent.ready()
        job.clean()
        self._folder.prepare()

    def _call(self, job: Job, request: bytes) -> None:
        try:
            arguments = job.arguments(request)
        except (BadInput, Rejected) as error:
            job.fail(error)
            return
        Only.scope = job.scope
        output = self._model(job, lambda: self._predict(**arguments))
        if not self._signature.output.streams:
            job.returned(output)
        else:
            iterator = iterate(output)
            try:
                while True:
                    item = self._model(job, lambda: next(iterator, _END))
                    if item is _END:
                        break
                    job.item(item)
            finally:
                if hasattr(iterator, "close"):
                    iterator.close()
        job.succeed()

    def _model(self, job: Job, call: Callable[[], Any]) -> Any:
        try:
            self._interruptible = True
            if job.canceled:
                raise CancelationException
            value = call()
        except BaseException as error:
            end_if_child(error)
            raise
        finally:
            self._interruptible = False
        end_if_child()
        return value
