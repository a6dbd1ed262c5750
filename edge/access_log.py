"""One line in the log for each request, or for those that were refused; without anything secret.

Queries are left out whole, for they hold signatures and cursors. Of a path, what is a secret itself is left
out: tokens of event streams and of the workers of 2022, the places of stored files. A path that nothing is
served under may be any of these misspelt: its beginning is all that is shown.
"""

import logging
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from coordinator.protocol.log_lines import about
from coordinator.protocol.traces import parent_of
from edge.client_address import ClientAddresses
from edge.settings import AccessLevel

log = logging.getLogger(__name__)

REQUEST_ID = "cogflare.request_id"
TOKEN = "cogflare.token"  # noqa: S105 - where a request's scope has its token's id
CREATED = "cogflare.created"
"""Where it has (id, model) of the prediction that it has created."""
_HIDDEN = "***"
_SECRET = re.compile(
    r"(/v1/streams/|/files/|/uploads/|/outputs/|/(?:v1/)*models/[^/]*/[^/]*/(?:files|websockets?)/).*",
    re.DOTALL,
)
_SHOWN_OF_OTHERS = 3
"""How much of a path that nothing is served under: ``/v1/models``, and that there is more."""


class AccessLog:
    """Writes the lines. ``errors`` are answers from 400 on."""

    def __init__(self, level: AccessLevel = "off", clients: ClientAddresses | None = None) -> None:
        self._from = {"off": 1000, "errors": 400, "all": 0}[level]
        self._clients = clients or ClientAddresses()

    def answered(self, scope: Mapping[str, Any], status: int, started: float) -> None:
        """An answer has begun; ``started`` is ``time.perf_counter()`` of when its request came."""
        if status < self._from:
            return
        self._write(
            _ids(scope),
            request=scope.get(REQUEST_ID, "-"),
            address=self._clients.of(scope),
            token=scope.get(TOKEN, "-"),
            method=scope["method"],
            path=shown_path(scope["path"], served=scope.get("route_handler") is not None),
            status=status,
            ms=round((time.perf_counter() - started) * 1000, 1),
        )

    def refused(self, address: str, status: int) -> None:
        """A connection was given up before there was a whole request."""
        if status >= self._from:
            nothing = dict.fromkeys(("token", "method", "path"), "-")
            self._write({}, request="-", address=address, **nothing, status=status, ms=0.0)

    def _write(self, ids: Mapping[str, str], **fields: Any) -> None:
        extra = {"access": fields, **about(**ids)}
        log.info("%s", " ".join(map(str, fields.values())), extra=extra)


def _ids(scope: Mapping[str, Any]) -> dict[str, str]:
    """What else a line of JSON has: the prediction that was created, with its model, and the trace."""
    prediction, model = scope.get(CREATED, ("", ""))
    given = next((value for name, value in scope.get("headers", ()) if name == b"traceparent"), b"")
    trace = parent_of(given.decode("latin-1"))
    return {"prediction": prediction, "model": model, "trace_id": "" if trace is None else trace.trace_id}


def shown_path(path: str, *, served: bool) -> str:
    """A path without what is secret in it, and without what could look like another line."""
    if not served:
        parts = path.split("/")
        if len(parts) > _SHOWN_OF_OTHERS:
            path = "/".join([*parts[:_SHOWN_OF_OTHERS], _HIDDEN])
    return quote(_SECRET.sub(rf"\1{_HIDDEN}", path), safe="/:*@+,;=~")[:300]
