"""``current_scope()``: what a running prediction knows of itself, and may tell."""

import contextvars
from typing import Any, Callable, Dict, Mapping, Optional

MODES = ("replace", "incr", "append")


class MetricRecorder:
    """``current_scope().metrics``: the same as ``record_metric``, spelled as a mapping."""

    __slots__ = ("_record",)

    def __init__(self, record: "Callable[[str, Any, str], None]") -> None:
        self._record = record

    def record(self, key: str, value: Any, mode: str = "replace") -> None:
        self._record(key, value, mode)

    def delete(self, key: str) -> None:
        """Forget a metric. Does nothing when there is none."""
        self._record(key, None, "replace")

    def __setitem__(self, key: str, value: Any) -> None:
        self._record(key, value, "replace")

    def __delitem__(self, key: str) -> None:
        self._record(key, None, "replace")


class Scope:
    """The prediction that is running here. Get it anew from ``current_scope()`` in each prediction."""

    __slots__ = ("_record", "context")

    def __init__(
        self,
        record: Optional[Callable[[str, Any, str], None]] = None,
        context: Optional[Mapping[str, str]] = None,
    ) -> None:
        self._record = record
        self.context: Dict[str, str] = dict(context or {})
        """What came with the request besides its input; ``id`` is the prediction's."""

    @property
    def metrics(self) -> MetricRecorder:
        return MetricRecorder(self.record_metric)

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """Set a metric of this prediction; ``mode`` ``incr`` adds to a number, ``append`` to a list.

        Dots in a key make nested objects; None deletes. Raises ``ValueError`` for a key or value that cannot
        be one. Outside a prediction it does nothing.
        """
        if mode == "increment":
            mode = "incr"
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
        if self._record is not None:
            self._record(key, value, mode)


NO_SCOPE = Scope()
CURRENT: "contextvars.ContextVar[Optional[Scope]]" = contextvars.ContextVar("cog_scope", default=None)


class Only:
    """The one prediction of a process that runs one at a time: threads of the model's own find it here."""

    scope: Scope = NO_SCOPE


def current_scope() -> Scope:
    """The scope of the prediction that calls this, also from threads that a prediction has to itself."""
    return CURRENT.get() or Only.scope


def emit_metric(name: str, value: Any) -> None:
    """The same as ``current_scope().record_metric``, as it was called at first."""
    current_scope().record_metric(name, value)
