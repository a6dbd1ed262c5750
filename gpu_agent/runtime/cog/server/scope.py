"""Where the first generation had ``current_scope``."""

import contextlib
from typing import Any, Callable, Iterator, Mapping, Optional

from cog.scope import CURRENT, Scope, current_scope, emit_metric

__all__ = ["Scope", "current_scope", "emit_metric", "evolve_scope", "scope"]


@contextlib.contextmanager
def scope(sc: Scope) -> Iterator[None]:
    """``current_scope()`` is this one inside the ``with``: for a model's own tests."""
    before = CURRENT.set(sc)
    try:
        yield
    finally:
        CURRENT.reset(before)


@contextlib.contextmanager
def evolve_scope(
    *,
    context: Optional[Mapping[str, str]] = None,
    record_metric: Optional[Callable[[str, Any], None]] = None,
) -> Iterator[None]:
    """``current_scope()`` is the same with another context or recorder inside the ``with``."""
    now = current_scope()

    def record(key: str, value: Any, mode: str) -> None:
        if record_metric is None:
            now.record_metric(key, value, mode)
        else:
            record_metric(key, value)

    with scope(Scope(record, now.context if context is None else context)):
        yield
