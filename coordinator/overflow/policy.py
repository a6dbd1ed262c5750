"""Whether and when a prediction may run at a provider instead of on an own worker. Pure data."""

from typing import Literal

import msgspec

When = Literal["no_workers", "saturated", "wait_over", "always"]
"""``no_workers``: while no worker that would do takes work. ``saturated``: then, and while more wait than
there are workers and one: the rule of 2022. ``wait_over``: once it has waited, or would wait, that long.
``always``: at once, and never on own workers."""
REPLICATE = "replicate"


class Overflow(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """As it was when the prediction was created, by its token's key and its model's settings."""

    when: When
    model: str
    """``owner/name`` at the provider."""
    version: str = ""
    """64 hex; empty for the newest that the provider has."""
    wait_s: float = 0.0
    """Of ``wait_over``, in seconds."""
    price_s: float = 0.0
    """What a second of its running costs there, in the money of ``overflow_cost_per_day``."""
    provider: str = REPLICATE
