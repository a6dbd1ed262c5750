"""What an agent tells of one attempt to whoever follows its trace: the steps of it, as spans."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from coordinator.protocol.messages import Trace
from coordinator.protocol.traces import Parent, Span, Tell, parent_of

Value = str | int | float | bool
_NOTHING: Mapping[str, Value] = {}


class Trail:
    """Of an attempt that nobody traces, or in an agent that tells nobody, nothing is noted."""

    def __init__(self, tell: Tell | None, trace: Trace | None, about: Mapping[str, Value]) -> None:
        parent = None if tell is None or trace is None else parent_of(trace.parent)
        self._tell = tell
        self._above: Parent | None = parent if parent is not None and parent.sampled else None
        self._since = 0 if trace is None else trace.since
        self._span_id = secrets.token_hex(8)
        self._began_at = _now()
        self._about = about

    @property
    def trace_id(self) -> str:
        return "" if self._above is None else self._above.trace_id

    def setup(self, began_at: int, ended_at: int) -> None:
        """The model's setup, if it went on while the prediction waited."""
        if ended_at > self._since:
            self._say("setup", began_at, ended_at)

    @contextmanager
    def step(self, name: str, **attributes: Value) -> Iterator[str]:
        """The block is a step; gives its span's id, for what is below it."""
        span_id, began_at, error = secrets.token_hex(8), _now(), ""
        try:
            yield span_id
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self._say(name, began_at, _now(), attributes, span_id=span_id, error=error)

    def predicted(self, below: str, began_at: int, ended_at: int, metrics: Mapping[str, object]) -> None:
        """What the model's process says of its own time and numbers, below a step."""
        numbers: dict[str, Value] = {
            f"cogflare.metrics.{name}": value
            for name, value in metrics.items()
            if isinstance(value, int | float | str)
        }
        if began_at and ended_at:
            self._say("predict", began_at, ended_at, numbers, parent_id=below)

    def end(self, status: str, code: str | None) -> None:
        """All of it is over."""
        if self._above is not None:
            error = "" if status == "succeeded" else code or status
            self._say(
                "agent",
                self._began_at,
                _now(),
                {"cogflare.status": status},
                span_id=self._span_id,
                parent_id=self._above.span_id,
                error=error,
            )
            self._above = None

    def _say(
        self,
        name: str,
        began_at: int,
        ended_at: int,
        attributes: Mapping[str, Value] = _NOTHING,
        *,
        span_id: str = "",
        parent_id: str = "",
        error: str = "",
    ) -> None:
        if self._above is None or self._tell is None:
            return
        self._tell(
            Span(
                name=name,
                trace_id=self._above.trace_id,
                span_id=span_id or secrets.token_hex(8),
                parent_id=parent_id or self._span_id,
                began_at=began_at,
                ended_at=ended_at,
                kind="consumer" if name == "agent" else "internal",
                attributes={**self._about, **attributes},
                error=error,
            )
        )


def _now() -> int:
    return time.time_ns() // 1000
