"""Times as clients see them: RFC 3339, UTC."""

import calendar
import time
from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(at: int) -> str:
    """Microseconds since the epoch as ``2026-03-01T10:00:00.123456Z``."""
    seconds, micros = divmod(at, 1_000_000)
    return f"{_second(seconds)}.{micros:06d}Z"


def parse_rfc3339(text: str) -> int | None:
    """Microseconds since the epoch, or None for what is no ISO 8601 time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return calendar.timegm(moment.utctimetuple()) * 1_000_000 + moment.microsecond


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
