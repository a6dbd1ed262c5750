"""One prediction from its request to its response, however its predict is called."""

import json
import os
import time
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

from cog.scope import NO_SCOPE, Scope

from coglet.encoding import BadOutput
from coglet.files import Files
from coglet.folder import WorkFolder
from coglet.inputs import BadInput, convert_input, secrets_of
from coglet.masking import Masker
from coglet.metrics import Metrics
from coglet.outlets import Outlet
from coglet.signature import Signature

LONGEST_ERROR = 10_000
OutletMaker = Callable[[str, int], Outlet]


class Rejected(Exception):
    """A request that is none; the text says why."""


def now_us() -> int:
    return time.time_ns() // 1000


class Job:
    """A prediction that was taken. ``status`` stays None until it is decided."""

    def __init__(
        self, prediction: str, folder: WorkFolder, signature: Signature, make_outlet: OutletMaker
    ) -> None:
        self.prediction = prediction
        self.started_at = now_us()
        self.canceled = False
        """The parent asked for it: whatever the model makes of it, the status is canceled."""
        self.status: Optional[str] = None
        self.flush: Callable[[], None] = _nothing
        """Called before something of ours goes into the log, so that the model's prints come first."""
        self.outlet = make_outlet(prediction, self.started_at)
        self.scope = NO_SCOPE
        """What the model sees of it; known once the request was read."""
        self._folder = folder
        self._signature = signature
        self._began = time.perf_counter()
        self._output: Any = None
        self._output_files: "list[Dict[str, str]]" = []
        self._masker: Optional[Masker] = None
        """Knows the secrets of the input; None when there are none."""
        self._error: Optional[str] = None
        self._error_code: Optional[str] = None
        self._metrics = Metrics(self.outlet.metric)
        self.temporary = folder.scratch.take()
        self._files = Files(folder.output_path(prediction), self.temporary)

    def arguments(self, request: bytes) -> Dict[str, Any]:
        """What predict is called with. Raises ``Rejected`` or ``BadInput``."""
        given, context = _read_request(request)
        self.scope = Scope(self._metrics.record, {"id": self.prediction, **context})
        signature = self._signature
        if signature.holds_secrets:
            secrets = secrets_of(signature.fields, given)
            if secrets:
                self._masker = Masker(secrets)
                self.outlet.mask(secrets)
        if signature.takes_anything:
            return given
        known = {field.name for field in signature.fields}
        unknown = sorted(name for name in given if name not in known)
        if unknown:
            self._log(f"ignored inputs that the model does not have: {', '.join(unknown)}\n")
        return convert_input(signature.fields, given)

    def item(self, value: Any) -> None:
        """One yielded value. Raises ``BadOutput``."""
        encoded = self._encode(value)
        self.outlet.item(encoded, self._files.take())

    def returned(self, value: Any) -> None:
        """The whole output of a predict that does not stream. Raises ``BadOutput``."""
        self._files.last = True
        if value is not None:
            self._output = self._encode(value)
            self._output_files = self._files.take()

    def _encode(self, value: Any) -> Any:
        try:
            return self._signature.output.shape.encode(value, "", self._files)
        except RecursionError:
            raise BadOutput("output: is nested too deeply, or holds itself") from None

    def succeed(self) -> None:
        self.status = "succeeded"

    def fail(self, error: BaseException) -> None:
        """Note why it failed; the model's own exceptions leave their traceback in the log."""
        self.status = "failed"
        self._error = self._masked(_describe(error))
        if isinstance(error, (BadInput, Rejected)):
            self._error_code = "invalid_input"
        elif isinstance(error, BadOutput):
            self._error_code = "invalid_output"
        else:
            self._error_code = "model_error"
            self._log(self._masked(traceback_of(error)))

    def _masked(self, text: str) -> str:
        return text if self._masker is None else self._masker.text(text)

    def _log(self, text: str) -> None:
        self.flush()
        self.outlet.log(text.encode("utf-8", "replace"))

    def finish(self) -> None:
        """Write the response. Afterwards the parent may do what it likes with the files."""
        if self.canceled:
            self.status, self._error, self._error_code = "canceled", None, None
            self._output, self._output_files = None, []
        self._metrics.values["predict_time"] = round(time.perf_counter() - self._began, 6)
        self.outlet.finish(
            {
                "status": self.status,
                "output": self._output,
                "files": self._output_files,
                "error": self._error,
                "error_code": self._error_code,
                "logs": "",
                "metrics": self._metrics.values,
                "started_at": self.started_at,
                "completed_at": now_us(),
            }
        )

    def clean(self) -> None:
        """Forget the temporary directory, with whatever the model left there."""
        self._folder.scratch.give(self.temporary)


def _read_request(request: bytes) -> Tuple[Dict[str, Any], Dict[str, str]]:
    """Its input and its context. Raises ``Rejected``."""
    try:
        document = json.loads(request.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise Rejected(f"the request is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Rejected("the request is not an object with an object as its input")
    given, context = document.get("input"), document.get("context")
    if given is not None and not isinstance(given, dict):
        raise Rejected("the request is not an object with an object as its input")
    context = {} if context is None else context
    if not isinstance(context, dict) or not all(isinstance(value, str) for value in context.values()):
        raise Rejected("the context of the request is not an object of strings")
    return given or {}, context


def _nothing() -> None:
    pass


def _describe(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"predict() called sys.exit({error.code!r})"
    try:
        text = str(error)
    except Exception:
        text = ""
    return (text or type(error).__name__)[:LONGEST_ERROR]


def traceback_of(error: BaseException) -> str:
    """The traceback from the model's first frame on, without ours above it."""
    import traceback

    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None and _is_ours(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


_HERE = os.path.dirname(os.path.abspath(__file__))


def _is_ours(file: str) -> bool:
    return file.startswith((_HERE, "<frozen importlib"))


def iterate(value: Any) -> Iterator[Any]:
    """The items of what a streaming predict returned. Raises ``BadOutput`` when there are none to be had."""
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__iter__"):
        raise BadOutput(
            f"output: expected an iterator, as predict() is annotated, but got {type(value).__name__}"
        )
    return iter(value)
