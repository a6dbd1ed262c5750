"""Makes a failing plan smaller: fewer faults, fewer requests, and it still fails."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from tests.simulation.plan import Plan

T = TypeVar("T")

TRIES = 200
"""Most simulations that one plan is given."""


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """The smallest that was found. ``plan`` itself fails."""
    left = TRIES

    def counted(smaller: Plan) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(smaller)

    faults = _fewer(plan.faults, lambda some: counted(replace(plan, faults=tuple(some))))
    plan = replace(plan, faults=tuple(faults))
    requests = _fewer(plan.requests, lambda some: counted(replace(plan, requests=tuple(some))))
    return replace(plan, requests=tuple(requests))


def _fewer(items: Sequence[T], fails: Callable[[list[T]], bool]) -> list[T]:
    """Leave out pieces, large ones first, for as long as it still fails."""
    kept, size = list(items), max(1, len(items) // 2)
    while kept:
        at = 0
        while at < len(kept):
            smaller = kept[:at] + kept[at + size :]
            if fails(smaller):
                kept = smaller
            else:
                at += size
        if size == 1:
            break
        size //= 2
    return kept
