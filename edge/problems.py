"""What an error of a handler is for its client."""

import logging

from litestar.exceptions import HTTPException

from coordinator.errors import NoRoom, Unavailable
from coordinator.protocol.log_lines import about
from edge.access_log import REQUEST_ID
from edge.errors import Problem, not_found
from edge.replies import HTTPRequest

log = logging.getLogger(__name__)


def problem_of(request: HTTPRequest, error: Exception) -> Problem:
    """Unexpected ones tell nothing but the request's id."""
    id = request.scope.get(REQUEST_ID)
    if isinstance(error, Problem):
        return error
    if isinstance(error, NoRoom):
        log.error("request %s: no room: %s", id, error, extra=about(request_id=id))
        return Problem("models_full", str(error), retry_after_s=error.retry_after_s)
    if isinstance(error, Unavailable):
        log.warning("request %s: unavailable: %s", id, error, extra=about(request_id=id))
        detail = "The server cannot tell now whether this was done. Repeat the request."
        return Problem("unavailable", detail, retry_after_s=error.retry_after_s)
    if isinstance(error, HTTPException) and error.status_code < 500:
        if error.status_code == 404:
            return not_found()
        if error.status_code == 405:
            allow = (error.headers or {}).get("allow", "")
            headers = ((b"allow", allow.encode()),) if allow else ()
            return Problem("method_not_allowed", f"{request.method} is not allowed here.", headers=headers)
        return Problem("bad_request", "The request is not well-formed.")
    log.error("request %s failed", id, exc_info=error, extra=about(request_id=id))
    return Problem("internal", f"Something went wrong on our side. Request {id}.")
