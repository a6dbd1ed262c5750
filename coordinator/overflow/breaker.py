"""Whether a provider is asked to begin anything with one key: after a refusal not for a while. Pure.

Closed, everything passes. A failure opens it for a time; after that one is tried, and the others wait for
what becomes of that. Times are monotonic seconds.
"""

from coordinator.overflow.provider import BadKey, OutOfCredit, ProviderError, Throttled

UNPAID_S = 600.0
"""How long nothing is tried after the provider wants money, or does not know the key: people mend that."""
FIRST_S, LONGEST_S = 2.0, 300.0
"""Bounds of the wait after an answer that says nothing, or none at all: doubled with each in a row."""
LONGEST_THROTTLE_S = 3600.0
TRIAL_S = 1.0
"""When to ask again, while one is being tried."""


class Breaker:
    """Of one provider and one key."""

    def __init__(self) -> None:
        self.said = ""
        """Why it is open."""
        self._until: float | None = None
        self._failures = 0
        self._tried = False

    def wait_s(self, now: float) -> float:
        """How long not to begin anything; 0 lets one begin, of which ``passed``, ``failed`` or ``unused``
        must be said."""
        if self._until is None:
            return 0.0
        if self._until > now:
            return self._until - now
        if self._tried:
            return TRIAL_S
        self._tried = True
        return 0.0

    def passed(self) -> None:
        """The provider has answered as it should."""
        self._until, self._failures, self._tried, self.said = None, 0, False, ""

    def unused(self) -> None:
        """It was not asked after all."""
        self._tried = False

    def failed(self, error: ProviderError, now: float) -> float:
        """It has not begun it, or nobody knows. Gives for how long it is open now. Several that were on their
        way together count as one."""
        if self._until is None or self._until <= now:
            self._failures += 1
            self._until = now + self._wait_after(error)
        self._tried, self.said = False, str(error)
        return self._until - now

    def _wait_after(self, error: ProviderError) -> float:
        if isinstance(error, BadKey | OutOfCredit):
            return UNPAID_S
        if isinstance(error, Throttled):
            return float(min(max(error.retry_after_s, 1.0), LONGEST_THROTTLE_S))
        return float(min(FIRST_S * 2.0 ** (self._failures - 1), LONGEST_S))
