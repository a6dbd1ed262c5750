"""Progress webhooks of running predictions: best effort, in order, in memory only.

Of each prediction one request is on its way at a time. Events of one kind that come meanwhile, or too soon
after the last one, become one: what is sent is the prediction as it is then.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coordinator import calls
from coordinator.letters import CALLBACK_INTERVAL_S, COGFLARE
from coordinator.prediction import Document

if TYPE_CHECKING:
    from coordinator.book import Book, Entry

INTERVAL_S = 0.5
"""Shortest time between two of a prediction for output, and for logs: Replicate's."""
SOON_S = 0.001
"""What is due within this time is due: the clock's sums are not exact."""
_THROTTLED = frozenset({"output", "logs"})


@dataclass(slots=True)
class Feed:
    in_flight: bool = False
    pending: list[str] = field(default_factory=list)
    sent_at: dict[str, float] = field(default_factory=dict)
    """Monotonic, by kind."""
    waits: bool = False
    """The timer knows of it."""


class Feeds:
    """Belongs to the book, whose turn it uses. ``snapshot`` gives a prediction with what it has said yet."""

    def __init__(self, book: "Book", snapshot: "Callable[[Entry], Document]") -> None:
        self._book = book
        self._snapshot = snapshot
        self._feeds: dict[str, Feed] = {}
        self._due: list[tuple[float, str]] = []

    def said(self, entry: "Entry", kinds: Iterable[str]) -> None:
        """Something happened that a webhook may want to hear of."""
        document = entry.document
        if not document.webhook:
            return
        if document.dialect == COGFLARE:
            kinds = ["output" if kind == "logs" else kind for kind in kinds]
        wanted = [kind for kind in kinds if kind in document.webhook_events]
        if not wanted:
            return
        feed = self._feeds.setdefault(document.id, Feed())
        feed.pending += [kind for kind in wanted if kind not in feed.pending]
        self._pump(document.id, feed)

    def busy(self, prediction: str) -> bool:
        """Whether a request of it is on its way."""
        feed = self._feeds.get(prediction)
        return feed is not None and feed.in_flight

    def ended(self, prediction: str) -> None:
        """Nothing more is sent of it; what is on its way is waited for."""
        feed = self._feeds.get(prediction)
        if feed is None:
            return
        feed.pending.clear()
        if not feed.in_flight:
            del self._feeds[prediction]

    def sent(self, prediction: str) -> None:
        """Its request is over, whatever came of it."""
        feed = self._feeds.get(prediction)
        if feed is None:
            return
        feed.in_flight = False
        entry = self._book.entries.get(prediction)
        if entry is None or entry.document.status.terminal:
            del self._feeds[prediction]
        else:
            self._pump(prediction, feed)

    def timer(self) -> None:
        """Send what had to wait."""
        now = self._book.turn.monotonic
        while self._due and self._due[0][0] <= now:
            _, prediction = heapq.heappop(self._due)
            feed = self._feeds.get(prediction)
            if feed is not None:
                feed.waits = False
                self._pump(prediction, feed)
        if self._due:
            self._book.wake_in(self._due[0][0] - now)

    def _pump(self, prediction: str, feed: Feed) -> None:
        if feed.in_flight or not feed.pending:
            return
        entry = self._book.entries.get(prediction)
        if entry is None:  # its attempt is over and it waits on disk
            del self._feeds[prediction]
            return
        now = self._book.turn.monotonic
        interval_s = CALLBACK_INTERVAL_S if entry.document.dialect == COGFLARE else INTERVAL_S
        waits = {kind: _wait_s(feed, kind, now, interval_s) for kind in feed.pending}
        kind = next((kind for kind, wait_s in waits.items() if wait_s <= SOON_S), None)
        if kind is None:
            if feed.waits:
                return
            feed.waits = True
            wait_s = min(waits.values())
            heapq.heappush(self._due, (now + wait_s, prediction))
            self._book.wake_in(wait_s)
            return
        feed.pending.remove(kind)
        feed.sent_at[kind] = now
        feed.in_flight = True
        document = self._snapshot(entry)
        self._book.turn.effect(calls.SendProgress(prediction, document))


def _wait_s(feed: Feed, kind: str, now: float, interval_s: float) -> float:
    last = feed.sent_at.get(kind)
    return 0.0 if kind not in _THROTTLED or last is None else last + interval_s - now
