"""Rate limits of tokens: one bucket for creations, one for everything else, which is polling mostly.

Replicate's split and figures (600 and 3000 a minute); a token may have figures of its own.
"""

import math
from collections.abc import Callable

from coordinator.protocol.limits import ServerLimits
from edge.auth import Principal
from edge.errors import Problem
from edge.rates import Buckets, Standing


class Throttle:
    """The buckets of all tokens. Written and read by the event loop alone."""

    def __init__(self, limits: ServerLimits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._creations = Buckets(monotonic)
        self._requests = Buckets(monotonic)

    def charge(self, principal: Principal, *, creates: bool, count: int = 1) -> Standing | None:
        """Count a request, or ``count`` creations in one; None for a token without a limit. What a key asks
        counts for the token that made it, too.

        Raises Problem ``throttled``; then nothing has been counted.
        """
        own = self._charge(principal, creates=creates, count=count)
        if principal.maker is None:
            return own
        try:
            makers = self._charge(principal.maker, creates=creates, count=count)
        except Problem:
            if own is not None:
                buckets = self._creations if creates else self._requests
                buckets.put_back(principal.token, own.limit, count)
            raise
        return makers if own is None else own

    def _charge(self, principal: Principal, *, creates: bool, count: int) -> Standing | None:
        name = "creations_per_min" if creates else "requests_per_min"
        per_min = getattr(principal, name)
        if per_min is None:
            # The operator must be able to look and to act, whatever the others are held to.
            per_min = 0 if "admin" in principal.scopes else getattr(self._limits, name)
        if per_min == 0:
            return None
        buckets = self._creations if creates else self._requests
        standing = buckets.take(principal.token, per_min, count)
        if standing.retry_after_s:
            raise _throttled(standing, "create" if creates else "ask", name)
        return standing

    def charge_address(self, address: str) -> None:
        """Count a request that needs no token, by where it comes from. Raises Problem ``throttled``."""
        per_min = self._limits.requests_per_min
        if per_min and (standing := self._requests.take(f"address {address}", per_min)).retry_after_s:
            raise _throttled(standing, "ask", "requests_per_min", "Your address")


def _throttled(standing: Standing, what: str, name: str, who: str = "This token") -> Problem:
    seconds = math.ceil(standing.retry_after_s)
    return Problem(
        "throttled",
        # Replicate's words come first: programs look for them.
        f"Request was throttled. Your rate limit resets in ~{seconds}s. "
        f"{who} may {what} {standing.limit} times a minute ({name}).",
        retry_after_s=seconds,
        headers=standing.headers(),
    )
