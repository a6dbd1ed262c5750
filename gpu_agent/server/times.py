"""Times as clients see them."""

import time
from datetime import UTC, datetime


def now() -> str:
    """The time now as RFC 3339, to the microsecond."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="microseconds")


def of(micros: int) -> str:
    """Microseconds since the epoch as RFC 3339."""
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="microseconds")
