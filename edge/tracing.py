"""The edge's part of a trace: a request's span, and the ``traceparent`` of what it creates."""

import random
import re
import secrets
import time
from collections.abc import Iterable
from typing import Any

from coordinator.protocol.traces import Parent, Span, Tell, parent_of
from edge.access_log import REQUEST_ID
from edge.replies import Header

TRACEPARENT = b"traceparent"
_CREATING = ("POST", "PUT")
_TYPES = re.compile(r":\w+(?=})")
"""Of a path's parameters, as the router has them."""


def trace_of(headers: Iterable[Header]) -> str:
    """The ``traceparent`` that comes with a request, as version 00 has it; empty for none, and for what is
    none."""
    for name, value in headers:
        if name == TRACEPARENT:
            parent = parent_of(value.decode("latin-1"))
            return "" if parent is None else parent.text
    return ""


class Begun:
    """A request that is traced, from its begin on. ``ended`` tells of it."""

    __slots__ = ("_above", "_began_at", "below")

    def __init__(self, above: Parent | None, below: Parent) -> None:
        self.below = below
        self._above = above
        self._began_at = _now()

    def span(self, scope: Any, status: int) -> Span | None:
        """None for one that began a trace by itself, and has created nothing that would go on with it."""
        handler = scope.get("route_handler")
        if not self.below.sampled or (self._above is None and not (handler and handler.opt.get("creates"))):
            return None
        route = _TYPES.sub("", min(handler.paths)) if handler else ""
        return Span(
            name=f"{scope['method']} {route}".strip(),
            trace_id=self.below.trace_id,
            span_id=self.below.span_id,
            parent_id="" if self._above is None else self._above.span_id,
            began_at=self._began_at,
            ended_at=_now(),
            kind="server",
            attributes={
                "http.request.method": str(scope["method"]),
                "http.route": route,
                "http.response.status_code": status,
                "cogflare.request_id": str(scope.get(REQUEST_ID, "")),
            },
            error=str(status) if status >= 500 else "",
        )


class Tracing:
    """``tell`` takes spans; ``ratio`` of the creations that come without a trace begin one."""

    def __init__(self, tell: Tell, ratio: float) -> None:
        self.tell = tell
        self._ratio = ratio

    def begin(self, scope: Any) -> Begun | None:
        """A request has come. If it is traced, its ``traceparent`` is that of its own span from here on."""
        above = parent_of(trace_of(scope["headers"]))
        if above is not None:
            below = above.of(secrets.token_hex(8))
        elif scope["method"] in _CREATING and random.random() < self._ratio:
            below = Parent(secrets.token_hex(16), secrets.token_hex(8))
        else:
            return None
        others = [header for header in scope["headers"] if header[0] != TRACEPARENT]
        scope["headers"] = [*others, (TRACEPARENT, below.text.encode())]
        return Begun(above, below)

    def ended(self, begun: Begun, scope: Any, status: int) -> None:
        if (span := begun.span(scope, status)) is not None:
            self.tell(span)


def _now() -> int:
    return time.time_ns() // 1000
