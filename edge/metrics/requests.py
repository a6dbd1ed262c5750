"""Counts of HTTP requests, by what they asked for: all that a request pays for being watched."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from coordinator.tally import Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Bounds for the time until an answer begins; with ``Prefer: wait`` it is the prediction's."""
NOTHING = "none"
"""The operation of a request for which there is none."""


class Requests:
    """Of one application. Operations are its handlers' names, as in its OpenAPI document: a fixed set."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        """By operation and status."""
        self.seconds: dict[str, Histogram] = {}
        self.refusals: Counter[str] = Counter()
        """By code."""

    def answered(self, scope: Mapping[str, Any], status: int, began: float) -> None:
        """An answer has begun; ``began`` is ``time.perf_counter()`` of when its request came."""
        handler = scope.get("route_handler")
        operation = NOTHING if handler is None else handler.fn.__name__
        self.answers[operation, status] += 1
        seconds = self.seconds.get(operation)
        if seconds is None:
            seconds = self.seconds[operation] = Histogram(SECONDS)
        seconds.add(time.perf_counter() - began)
