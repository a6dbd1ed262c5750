"""Times as clients see them."""

import time
from datetime import UTC, datetime
from functools import lru_cache


def now() -> str:
    """The time now as RFC 3339, to the microsecond."""
    return of(time.time_ns() // 1000)


def of(micros: int) -> str:
    """Microseconds since the epoch as RFC 3339."""
    second, rest = divmod(micros, 1_000_000)
    return f"{_to_the_second(second)}.{rest:06}+00:00"


@lru_cache(maxsize=16)
def _to_the_second(second: int) -> str:
    # That of the last one is nearly always that of the next: to make it is most of the cost.
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
