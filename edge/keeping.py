"""How long a request's prediction is kept: what it says, else its token, its model, the server."""

from coordinator.prediction import Document
from coordinator.protocol.limits import FOREVER_S, ServerLimits
from coordinator.store.config import ModelConfig
from edge.auth import Principal
from edge.errors import InvalidField, Problem, invalid_input
from edge.quantities import format_duration, parse_duration
from edge.times import rfc3339


def retention_of(asked: object, principal: Principal, config: ModelConfig, limits: ServerLimits) -> float:
    """Seconds from its end. What a request asks for above ``retention_at_most_s`` is refused, what others set
    is cut down to it. Raises Problem ``invalid_input``."""
    most_s = limits.retention_at_most_s
    if asked is None:
        for standing_s in (principal.retention_s, config.retention_s, limits.retention_s):
            if standing_s is not None:
                return min(standing_s, most_s)
    seconds = _seconds(asked)
    if seconds is None:
        detail = "Must be seconds from its end, or a time such as 30m, 12h or 7d, or forever"
        raise invalid_input(InvalidField("format", "retention", detail))
    if seconds > most_s:
        detail = f"Must not be longer than {format_duration(most_s)} (limit: retention_at_most)"
        raise invalid_input(InvalidField("number_lte", "retention", detail))
    return seconds


def _seconds(value: object) -> float | None:
    """None for what is no time."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return min(float(value), FOREVER_S) if value >= 0 else None
    try:
        seconds = parse_duration(value) if isinstance(value, str) else -1.0
    except ValueError:
        return None
    return min(seconds, FOREVER_S) if seconds >= 0 else None


def removed(document: Document) -> Problem:
    """What is said to who asks for what an ended prediction has left, and whose time is over."""
    return Problem("gone", f"{why_removed(document)} Run it again to have it again.")


def why_removed(document: Document) -> str:
    """In a sentence."""
    at = document.expires_at or document.completed_at or 0
    kept_s = document.retention_s
    due = kept_s is not None and at - (document.completed_at or 0) >= int(kept_s * 1e6)
    why = f"for they are kept for {format_duration(kept_s or 0.0)} after its end" if due else "as was asked"
    return f"Its input, output, logs and files were removed at {rfc3339(at)}, {why}."
