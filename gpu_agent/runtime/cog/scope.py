"""``current_scope()``: what a running prediction may tell about itself."""

import contextvars
from typing import Any, Callable, Optional

MODES = ("replace", "incr", "append")


class Scope:
    """The prediction that is running here. Get it anew from ``current_scope()`` in each prediction."""

    __slots__ = ("_record",)

    def __init__(self, record: Optional[Callable[[str, Any, str], None]]) -> None:
        self._record = record

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """Set a metric of this prediction; ``mode`` ``incr`` adds to a number, ``append`` to a list.

        Raises ``ValueError`` for a key or value that cannot be one. Outside a prediction it does nothing.
        """
        if mode == "increment":
            mode = "incr"
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
        if self._record is not None:
            self._record(key, value, mode)


NO_SCOPE = Scope(None)
CURRENT: "contextvars.ContextVar[Scope]" = contextvars.ContextVar("cog_scope", default=NO_SCOPE)


def current_scope() -> Scope:
    """The scope of the prediction that calls this; in threads of its own, one that records nothing."""
    return CURRENT.get()
