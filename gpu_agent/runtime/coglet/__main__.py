"""``python -m coglet``: load a model, set it up, serve its predictions."""

import os
import sys

if sys.version_info < (3, 9):
    sys.exit("coglet needs Python 3.9 or later, this is %d.%d" % sys.version_info[:2])
if __name__ == "__main__" and sys.path and sys.path[0] in ("", os.getcwd()):
    # The model's folder comes back onto the path when the model is loaded: a file of its own that is called
    # like a module of the standard library must not be taken for it here.
    del sys.path[0]

from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple  # noqa: E402

from coglet import lifeline  # noqa: E402
from coglet.capture import Capture, route_by_context  # noqa: E402
from coglet.folder import WorkFolder  # noqa: E402
from coglet.job import OutletMaker, now_us, traceback_of  # noqa: E402
from coglet.loader import load  # noqa: E402
from coglet.mistakes import LoadError, Refused  # noqa: E402
from coglet.outlets import LinearOutlet, Parent  # noqa: E402
from coglet.schema import openapi  # noqa: E402
from coglet.signature import Signature, read_signature  # noqa: E402
from coglet.sync import SyncServer  # noqa: E402
from coglet.wakeup import Wakeup  # noqa: E402

USAGE = """\
usage: python -m coglet --dir DIR --predictor FILE.py:NAME [--max-concurrency N] [--events] [--parent PID]

Runs the predictor of the current directory for the process that started this, by files in DIR and signals.

  --dir DIR              working directory shared with the parent
  --predictor REF        predictor class or function, as predict.py:Predictor
  --max-concurrency N    predictions at a time, for an async predict (default 1)
  --events               linear form: items and metrics in events-ID.jsonl, logs in logs/ID
  --parent PID           process to signal (default the one that started this)
"""


class Options:
    """The command line. Parsed by hand, as ``argparse`` would be a tenth of the start."""

    def __init__(self, arguments: List[str]) -> None:
        self.dir = ""
        self.predictor = ""
        self.max_concurrency = 1
        self.events = False
        self.parent = os.getppid()
        queue = list(arguments)
        while queue:
            name, equals, value = queue.pop(0).partition("=")
            if name in ("-h", "--help"):
                sys.stdout.write(USAGE)
                sys.exit(0)
            if name == "--events" and not equals:
                self.events = True
                continue
            if name not in ("--dir", "--predictor", "--max-concurrency", "--parent"):
                _usage_error(f"unknown option {name}")
            if not equals:
                if not queue:
                    _usage_error(f"{name} needs a value")
                value = queue.pop(0)
            if name in ("--max-concurrency", "--parent"):
                if not value.isdigit() or int(value) < 1:
                    _usage_error(f"{name} {value!r} is not a number of at least 1")
                setattr(self, name[2:].replace("-", "_"), int(value))
            else:
                setattr(self, name[2:], value)
        for required in ("dir", "predictor"):
            if not getattr(self, required):
                _usage_error(f"--{required} is missing")


def _usage_error(text: str) -> NoReturn:
    sys.stderr.write(f"coglet: {text}\n{USAGE}")
    sys.exit(2)


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
        self._publisher: Any = None

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
            sys.path.insert(0, os.getcwd())
            if self._options.max_concurrency > 1:
                route_by_context()
            target = load(self._options.predictor)
            signature = read_signature(target)
            if self._options.max_concurrency > 1 and not signature.is_async:
                raise LoadError(
                    "a concurrency of more than 1 needs an async predict(), as `async def predict`"
                )
            for notice in signature.notices:
                sys.stderr.write(f"{self._options.predictor}: {notice}\n")
            self._folder.write_openapi(openapi(signature))
            model = target() if isinstance(target, type) else None
            setup = _setup_of(model, signature)
            if setup is not None and not signature.setup_is_async:
                setup()
                setup = None
        except BaseException as error:
            self._setup_failed(error)
            return 1
        predict = target if model is None else model.predict
        if not signature.is_async:
            self._set_up(signature)
            self._server = SyncServer(predict, signature, *self._surroundings(signature))
            self._server.serve(self._wakeup)
            return 0
        from coglet.parallel import ParallelServer, run

        def after_setup() -> ParallelServer:
            self._set_up(signature)
            surroundings = self._surroundings(signature)
            return ParallelServer(predict, signature, *surroundings, slots=self._options.max_concurrency)

        return 0 if run(setup, after_setup, self._setup_failed) else 1

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

    def _set_up(self, signature: Signature) -> None:
        self._end_of_setup(
            "succeeded", concurrency=self._options.max_concurrency, is_async=signature.is_async
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
        self._end_of_setup("failed", error=text, refused=refused, mistakes=mistakes)

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


def _setup_of(model: Any, signature: Signature) -> Optional[Callable[[], Any]]:
    setup = getattr(model, "setup", None)
    if setup is None:
        return None
    if signature.weights is None:
        return setup  # type: ignore[no-any-return]
    weights = _weights(signature.weights)
    return lambda: setup(weights=weights)


def _weights(wanted: str) -> Any:
    from cog.types import Path

    given = os.environ.get("COG_WEIGHTS") or ("weights" if os.path.exists("weights") else None)
    if given is None:
        return None
    if wanted == "path":
        if given.startswith(("http://", "https://", "data:")):
            raise LoadError("COG_WEIGHTS is a URL, but setup() takes a file: download it first")
        return Path(given)
    return given


def main() -> int:
    options = Options(sys.argv[1:])
    lifeline.hold(options.parent)
    return Coglet(options).run()


if __name__ == "__main__":
    sys.exit(main())
