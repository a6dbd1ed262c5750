"""Traces of predictions, through every process that has a part in them: W3C Trace Context and spans. Pure.

The client's ``traceparent`` comes with a prediction to its coordinator, and from there to the agent. Each
process tells of its spans when they are over, under ids that the others can know before.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Literal

import msgspec

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
"""https://www.w3.org/TR/trace-context/#traceparent-header; versions to come may have more after it."""
_SAMPLED = 1
LENGTH = 512
"""Longest ``traceparent`` that is looked at: version 00 has 55 characters."""


class Parent(msgspec.Struct, frozen=True):
    """Where spans belong: lower-case hex."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def text(self) -> str:
        """As a ``traceparent`` of version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled * _SAMPLED:02x}"

    def of(self, span_id: str) -> "Parent":
        """The same trace, below that span of it."""
        return Parent(self.trace_id, span_id, self.sampled)


def parent_of(traceparent: str) -> Parent | None:
    """None for what is no ``traceparent``: then there is no trace."""
    found = _TRACEPARENT.fullmatch(traceparent) if len(traceparent) <= LENGTH else None
    if found is None or (traceparent.startswith("00") and found[4]):
        return None
    return Parent(found[1], found[2], bool(int(found[3], 16) & _SAMPLED))


def attempt_span(prediction: str, attempt: int) -> str:
    """The id of the span of an attempt, which its coordinator tells of and its agent's spans are below."""
    return blake2b(f"{prediction}:{attempt}".encode(), digest_size=8).hexdigest()


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is over. Times are microseconds since the epoch."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began_at: int
    ended_at: int
    kind: Literal["internal", "server", "consumer"] = "internal"
    attributes: Mapping[str, str | int | float | bool] = {}
    error: str = ""
    """Why it failed, in a word; empty when it did not."""


Tell = Callable[[Span], None]
"""What takes spans; it never blocks."""
