"""Which predictions may run at a provider: what a token's key and its model's settings say together. Pure."""

from typing import get_args
from urllib.parse import urlsplit

from coordinator.overflow.policy import Overflow, When
from edge.auth import Principal
from edge.catalog import NEVER, Target
from edge.quantities import parse_duration

DEFAULT: When = "saturated"
"""For the models of a token that has a key: the rule of 2022."""
_WAIT_OVER = "wait_over"
_PLAIN = tuple(when for when in get_args(When) if when != _WAIT_OVER)


def policy_of(text: str) -> tuple[When, float] | None:
    """The rule, and its seconds, of what ``model set --overflow`` takes; None for never.

    Raises ValueError.
    """
    word, colon, time = text.partition(":")
    if text == NEVER:
        return None
    for when in _PLAIN:
        if text == when:
            return when, 0.0
    if word == _WAIT_OVER and colon:
        seconds = parse_duration(time)
        if seconds < 0:
            raise ValueError(f"{time!r} is before now")
        return "wait_over", seconds
    words = ", ".join((NEVER, *_PLAIN))
    raise ValueError(f"{text!r} is none of {words} and {_WAIT_OVER}:TIME, as wait_over:20s")


def overflow_of(principal: Principal, target: Target) -> Overflow | None:
    """How a prediction of this token and model may run at a provider; None when it may not."""
    if not principal.replicate:
        return None
    policy = policy_of(target.config.overflow or DEFAULT)
    if policy is None:
        return None
    when, wait_s = policy
    model, _, version = (target.config.replicate_model or target.model).partition(":")
    return Overflow(
        when=when,
        wait_s=wait_s,
        model=model,
        version=version or target.pinned,
        price_s=target.config.replicate_price,
    )


def reachable(public_url: str, provider_url: str) -> str:
    """Where the provider reaches us; empty when it cannot. Replicate takes https only; one that we reach by
    http is in our own network, or on our own machine."""
    ours, theirs = urlsplit(public_url), urlsplit(provider_url)
    near = theirs.scheme == "http" and (_is_here(theirs.hostname) or not _is_here(ours.hostname))
    return public_url.rstrip("/") if ours.scheme == "https" or near else ""


def _is_here(host: str | None) -> bool:
    return host in (None, "localhost", "::1") or str(host).startswith("127.")
