"""One model as it is now, in numbers: what waits and runs, and who could run more.

Read from the coordinator's memory between two turns; changes nothing, and waits for nothing.
"""

from collections import Counter

import msgspec

from coordinator.book import UNKNOWN_S, Book
from coordinator.tally import Tally
from coordinator.waiting import NO_WORKER
from coordinator.workers import Workers


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    queued: int = 0
    held: int = 0
    """Those of them that more workers would not help: their token runs as many as it may, they are for a
    provider alone, or the model is paused."""
    oldest_at: int | None = None
    """When the oldest of them was created, as far as it is in memory: microseconds since the epoch."""
    run_s: float = 0.0
    """How long one runs, by those that ran; the usual guess before any has."""
    running: int = 0
    """With own workers, those of lost ones included."""
    elsewhere: int = 0
    """At a provider."""
    workers: dict[str, int] = {}
    """Connected ones, by what they do: ``ready``, ``loading``, or a word for what keeps work away."""
    busy: int = 0
    free: int = 0
    """Slots that a worker which gets work has."""
    webhooks: int = 0
    """Terminal ones that are due and not delivered."""

    @property
    def worth_keeping(self) -> bool:
        """Whether there is something to say of it while it is not in memory."""
        return bool(self.queued or self.webhooks)


def figures(book: Book, workers: Workers, tally: Tally) -> Figures:
    """The figures of a coordinator. ``tally`` learns how many slots a worker has."""
    held, oldest_at = 0, None
    for line in book.queue.lines:
        if line:
            since = line.head.since
            oldest_at = since if oldest_at is None else min(oldest_at, since)
        if line.path[1].held or line.flow.needs.version == NO_WORKER:
            held += len(line) + line.shelf.count
    busy: Counter[str] = Counter()
    elsewhere = 0
    for entry in book.running.values():
        attempt = entry.find(entry.attempt)
        if attempt is not None and attempt.provider:
            elsewhere += 1
        elif entry.session is not None:
            busy[entry.session.agent] += 1
    states: Counter[str] = Counter()
    free = 0
    for session in book.sessions.values():
        standing = workers.standing(session.agent)
        if session.leaving:
            state = "leaving"
        elif standing is not None and standing.state != "ok":
            state = standing.state
        else:
            state = "ready" if session.loading_since is None else "loading"
        states[state] += 1
        if state == "ready":
            free += max(0, session.free)
            tally.slots = max(tally.slots, session.free + busy[session.agent])
    spread = book.forecast.spread()
    return Figures(
        queued=len(book.queue),
        held=len(book.queue) if workers.paused else min(held, len(book.queue)),
        oldest_at=oldest_at,
        run_s=UNKNOWN_S if spread is None else spread.mean,
        running=len(book.running) - elsewhere,
        elsewhere=elsewhere,
        workers=dict(states),
        busy=sum(busy.values()),
        free=free,
        webhooks=book.outbox.due,
    )
