"""``python -m coglet``: load a model, set it up, serve its predictions."""

import os
import sys

if sys.version_info < (3, 9):
    sys.exit("coglet needs Python 3.9 or later, this is %d.%d" % sys.version_info[:2])
if __name__ == "__main__" and sys.path and sys.path[0] in ("", os.getcwd()):
    # The model's folder comes back onto the path when the model is loaded: a file of its own that is called
    # like a module of the standard library must not be taken for it here.
    del sys.path[0]

from typing import Any, Dict, Optional, Tuple  # noqa: E402

from coglet import lifeline  # noqa: E402
from coglet.capture import Capture, route_by_context  # noqa: E402
from coglet.folder import WorkFolder  # noqa: E402
from coglet.forked import end_if_child  # noqa: E402
from coglet.job import OutletMaker, now_us, traceback_of  # noqa: E402
from coglet.mistakes import LoadError, Refused  # noqa: E402
from coglet.model import Model, may_be_concurrent  # noqa: E402
from coglet.options import Options  # noqa: E402
from coglet.outlets import LinearOutlet, Parent  # noqa: E402
from coglet.printed import print_document  # noqa: E402
from coglet.signature import Signature  # noqa: E402
from coglet.sync import SyncServer  # noqa: E402
from coglet.wakeup import Wakeup  # noqa: E402


class Coglet:
    """Load, setup and service of one model."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._started_at = now_us()
        self._folder = WorkFolder(options.dir)
        self._parent = Parent(options.parent, counts_slots=options.events, bell_path=self._folder.bell_path)
        self._capture = Capture()
        self._server: Optional[SyncServer] = None
        self._wakeup = Wakeup(self._on_signal)
        self._watching = self._wakeup.watch(self._folder.path)
        self._setup_log: Any = None

    def _on_signal(self) -> None:
        if self._server is not None:
            self._server.on_signal()

    def run(self) -> int:
        """The exit code: 0 after ``stop``, 1 when there is no model to run."""
        if not self._options.events:
            from coglet.cumulative import SetupLog

            self._setup_log = SetupLog(self._capture.home)
            self._capture.begin(self._setup_log.descriptor)
        try:
            if may_be_concurrent(self._options):
                route_by_context()
            model = Model(self._options)
            for notice in model.notices:
                sys.stderr.write(f"{self._options.predictor}: {notice}\n")
            self._folder.write_openapi(model.document())
            if not model.signature.is_async:
                model.set_up()
            end_if_child()
        except BaseException as error:
            end_if_child(error)
            self._setup_failed(error)
            return 1
        if model.signature.is_async:
            return self._serve_async(model)
        self._set_up(model, None)
        surroundings = self._surroundings(model.signature)
        self._server = SyncServer(model.predict, model.signature, *surroundings)
        self._server.serve(self._wakeup)
        return 0

    def _serve_async(self, model: Model) -> int:
        import asyncio

        from coglet.parallel import ParallelServer, run

        def after_setup() -> ParallelServer:
            self._set_up(model, asyncio.get_running_loop())
            surroundings = self._surroundings(model.signature)
            return ParallelServer(model.predict, model.signature, *surroundings, slots=model.concurrency)

        return 0 if run(model.set_up, after_setup, self._setup_failed) else 1

    def _surroundings(self, signature: Signature) -> Tuple[WorkFolder, Capture, OutletMaker, Parent]:
        return self._folder, self._capture, self._outlet_maker(signature), self._parent

    def _outlet_maker(self, signature: Signature) -> OutletMaker:
        streams = signature.output.streams
        if self._options.events:
            return lambda prediction, _started_at: LinearOutlet(
                self._folder, prediction, self._parent, streams
            )
        from coglet.cumulative import CumulativeOutlet, Publisher

        publisher = Publisher(self._folder, self._parent, self._capture.home)
        return lambda prediction, started_at: CumulativeOutlet(publisher, prediction, started_at, streams)

    def _set_up(self, model: Model, loop: Any) -> None:
        check = model.healthcheck
        if check is not None:
            from coglet.health import Health

            Health(check, self._folder, self._parent, loop)
        self._end_of_setup(
            "succeeded",
            concurrency=model.concurrency,
            is_async=model.signature.is_async,
            healthcheck=check is not None,
        )

    def _setup_failed(self, error: BaseException) -> None:
        refused = isinstance(error, LoadError)
        if isinstance(error, SystemExit):
            text = f"setup called sys.exit({error.code!r})"
        else:
            text = str(error) if refused else f"{type(error).__name__}: {error}"
        if not refused:
            sys.stderr.write(traceback_of(error))
        mistakes = [mistake._asdict() for mistake in error.mistakes] if isinstance(error, Refused) else []
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        self._end_of_setup("failed", error=text, refused=refused, mistakes=mistakes, missing_module=missing)

    def _end_of_setup(self, status: str, **more: Any) -> None:
        self._capture.end()
        document: Dict[str, Any] = {
            "status": status,
            "started_at": self._started_at,
            "completed_at": now_us(),
            "logs": "" if self._setup_log is None else self._setup_log.so_far(),
            "pid": os.getpid(),
            "watching": self._watching,
            **more,
        }
        self._folder.write_setup_result(document)
        self._parent.output()


def print_schema(options: Options) -> int:
    return print_document(lambda: Model(options).document(), (LoadError,))


def main() -> int:
    options = Options(sys.argv[1:])
    if options.schema:
        return print_schema(options)
    lifeline.hold(options.parent)
    return Coglet(options).run()


if __name__ == "__main__":
    sys.exit(main())
