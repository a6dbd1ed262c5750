"""What has happened since the process began, counted for whoever watches it: nothing depends on it, and a
restart begins anew. Pure.
"""

from bisect import bisect_left
from collections import Counter

from coordinator.prediction import Document

TIMES_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Bounds for how long predictions wait and run, in seconds."""
COMMITS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bounds for how long a commit takes."""
ROWS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0)
"""Bounds for how many rows share one."""


class Histogram:
    """How many values were at most each bound; those above the last one are only in the count."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each step by itself, not of all below it."""
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)


class Tally:
    """Of one model in one pool. Written by its coordinator and by what carries that one's words out."""

    __slots__ = ("attempts", "cost", "created", "ended", "runs", "slots", "waits", "webhooks")

    def __init__(self) -> None:
        self.created = 0
        self.ended: Counter[str] = Counter()
        """By status."""
        self.attempts: Counter[tuple[str, bool]] = Counter()
        """Those of predictions that have ended, by outcome and whether at a provider."""
        self.waits = Histogram(TIMES_S)
        """From creation to the first dispatch."""
        self.runs = Histogram(TIMES_S)
        """From start to end, of those that succeeded."""
        self.webhooks: Counter[str] = Counter()
        """Tries of terminal webhooks: ``delivered``, ``failed``; and those ``given_up``."""
        self.cost = 0.0
        """What providers have cost, by the model's price there."""
        self.slots = 1
        """The most that one worker had: what one is taken to have while there are none."""

    def ends(self, document: Document) -> None:
        """A prediction has ended, and that is durable."""
        self.ended[document.status.value] += 1
        for attempt in document.attempts:
            self.attempts[attempt.outcome or "finished", attempt.provider != ""] += 1
        if document.started_at is not None and document.completed_at is not None:
            self.runs.add(max(0, document.completed_at - document.started_at) / 1_000_000)


class Commits:
    """Of all coordinators of the process."""

    __slots__ = ("rows", "seconds")

    def __init__(self) -> None:
        self.rows = Histogram(ROWS)
        self.seconds = Histogram(COMMITS_S)

    def add(self, rows: int, seconds: float) -> None:
        self.rows.add(rows)
        self.seconds.add(seconds)
