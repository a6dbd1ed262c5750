"""How often may it ask? Buckets that hold a minute's worth and fill evenly.

A bucket is one number, the moment at which it is full again: taking is O(1), and no timer fills it. What was
refused has cost nothing. A full bucket is like one that was never made, so those are thrown away when there
are twice as many as at the last look.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

PERIOD_S = 60.0
_LOOK_AT = 1024
_ROUNDING_S = 1e-6


class Standing(NamedTuple):
    """What a bucket has after a request; ``retry_after_s`` is 0 unless it was refused."""

    limit: int
    remaining: int
    reset_s: int
    """Seconds until the bucket is full again, rounded up."""
    retry_after_s: float

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """``ratelimit-*`` as Replicate names them, without ``x-``; the limit is ours."""
        return (
            (b"ratelimit-limit", b"%d" % self.limit),
            (b"ratelimit-remaining", b"%d" % self.remaining),
            (b"ratelimit-reset", b"%d" % self.reset_s),
        )


class Buckets:
    """Buckets by key, such as a token's id. ``monotonic`` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._full_at: dict[str, float] = {}
        self._look_at = _LOOK_AT

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, per_min: int, count: int = 1) -> Standing:
        """Take ``count`` of the ``per_min`` of a minute, or nothing when there is not enough. More than a
        minute's worth counts as a minute's."""
        now = self._monotonic()
        each_s = PERIOD_S / per_min
        before_s = max(self._full_at.get(key, 0.0) - now, 0.0)
        after_s = before_s + min(count, per_min) * each_s
        missing_s = after_s - PERIOD_S
        if missing_s > _ROUNDING_S:
            return Standing(per_min, _whole(before_s, each_s), math.ceil(before_s), missing_s)
        if key not in self._full_at and len(self._full_at) >= self._look_at:
            self._throw_away(now)
        self._full_at[key] = now + after_s
        return Standing(per_min, _whole(after_s, each_s), math.ceil(after_s), 0.0)

    def put_back(self, key: str, per_min: int, count: int = 1) -> None:
        """What was taken is not used."""
        if (full_at := self._full_at.get(key)) is not None:
            self._full_at[key] = full_at - min(count, per_min) * PERIOD_S / per_min

    def wait_s(self, key: str, per_min: int) -> float:
        """How long until one could be taken; 0 when it could now. Takes nothing."""
        missing_s = self._full_at.get(key, 0.0) - self._monotonic() + PERIOD_S / per_min - PERIOD_S
        return missing_s if missing_s > _ROUNDING_S else 0.0

    def _throw_away(self, now: float) -> None:
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        self._look_at = max(_LOOK_AT, 2 * len(self._full_at))


def _whole(taken_s: float, each_s: float) -> int:
    return int((PERIOD_S - taken_s + _ROUNDING_S) / each_s)
