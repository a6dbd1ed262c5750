"""Which pages of other origins may call the API from a browser: none, unless the operator names them.

No cookie is ever taken from such a page: what it may do is what the token says that it sends.
"""

import re
from collections.abc import Iterable, Sequence

from edge.replies import Header

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?|https?://\[[0-9a-fA-F:]+\](?::\d{1,5})?")
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, QUERY"
_EXPOSED = (
    b"location, retry-after, preference-applied, x-request-id, x-should-retry, etag, content-range, "
    b"content-disposition, ratelimit-limit, ratelimit-remaining, ratelimit-reset"
)
_REMEMBERED_S = b"600"


def valid_origin(text: str) -> bool:
    """True for ``*`` and for a scheme, host and port as browsers send them: ``https://app.example.org``."""
    return text == "*" or _ORIGIN.fullmatch(text) is not None


class Cors:
    """What to add to answers, for the origins that the operator named; ``*`` is all of them."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._all = "*" in origins
        self._origins = frozenset(origin.lower().encode() for origin in origins)

    def headers(self, headers: Iterable[Header]) -> tuple[Header, ...]:
        """For the answer to a request with these headers."""
        if not self._origins:
            return ()
        if self._all:
            return ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED))
        # Also for others: a cache must not give them the answer that was made for this one.
        vary = (b"vary", b"origin")
        origin = _first(headers, b"origin")
        if origin is None or origin.lower() not in self._origins:
            return (vary,)
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            vary,
        )

    def preflight(self, method: str, headers: Iterable[Header]) -> tuple[Header, ...] | None:
        """What a browser is told that asks before it calls; None when it does not ask, or in vain."""
        if method != "OPTIONS":
            return None
        headers = tuple(headers)
        if _first(headers, b"access-control-request-method") is None:
            return None
        if not any(name == b"access-control-allow-origin" for name, _ in self.headers(headers)):
            return None
        wanted = _first(headers, b"access-control-request-headers")
        return (
            (b"access-control-allow-methods", _METHODS),
            *(((b"access-control-allow-headers", wanted),) if wanted else ()),
            (b"access-control-max-age", _REMEMBERED_S),
        )


def _first(headers: Iterable[Header], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)
