"""What a worker of 2022 says of its job: one frame each time, with the whole state so far. Pure.

The shapes are those that the unmodified worker sends: ``processing`` over and over, then ``succeeded`` or
``failed`` (an exception in ``predict`` makes it say ``failed`` twice). Anything may be missing.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from edge.json_values import replaced

Ending = Literal["succeeded", "failed", "canceled"]

_ENDINGS: dict[str, Ending] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "canceled",
    "cancelled": "canceled",  # no worker is known to say so; the server of 2022 took it
}
_TRACEBACK = "Traceback (most recent call last)"
_TIMED_OUT = "Prediction timed out"
ERROR_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class Update:
    """One frame."""

    id: str
    status: str
    output: Any = None
    lines: tuple[str, ...] = ()
    """The log so far."""
    error: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def ending(self) -> Ending | None:
        """The last word on the job; None while it runs, and for words that nobody knows."""
        return _ENDINGS.get(self.status)


def read_update(frame: str | bytes) -> Update | None:
    """The update in a frame; None for one that says nothing of any job."""
    fields = _decoded(frame)
    if not isinstance(fields, dict):
        return None
    id, status, error, metrics = (fields.get(name) for name in ("id", "status", "error", "metrics"))
    if not isinstance(id, str) or not isinstance(status, str):
        return None
    return Update(
        id=id,
        status=status,
        output=fields.get("output"),
        lines=_lines(fields.get("logs")),
        error=None if error is None else str(error)[:ERROR_CHARACTERS],
        metrics=metrics if isinstance(metrics, dict) else {},
    )


def loses_step(update: Update) -> str | None:
    """Why this worker's later answers would be those of other jobs; None when they can be trusted.

    Measured: after its own time limit, and after a failed upload of a generator's file, the model's process
    goes on with the old job while the worker takes the next one. An exception in ``predict``, which does no
    harm, leaves a traceback in the log; a failed upload leaves none.
    """
    if update.ending != "failed":
        return None
    if update.error == _TIMED_OUT:
        return "a job ran into the worker's own time limit"
    if isinstance(update.output, list) and not any(_TRACEBACK in line for line in update.lines):
        return "an output file of a job that yields several could not be uploaded"
    return None


def _decoded(frame: str | bytes) -> Any:
    try:
        return msgspec.json.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # Python's own JSON has NaN, and halves of characters.
        loose = json.loads(frame, parse_constant=lambda _: None)
        return replaced(loose, lambda text: text.encode("utf-8", "replace").decode())
    except (ValueError, RecursionError):
        return None


def _lines(logs: Any) -> tuple[str, ...]:
    if isinstance(logs, str):
        return tuple(logs.splitlines())
    return tuple(line for line in logs if isinstance(line, str)) if isinstance(logs, list) else ()
