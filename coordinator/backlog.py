"""What waits on disk: which of it comes into memory, when it has waited too long, what the index lacks of it.

The queue knows of everything that waits how much it is, and has a window of it in memory, each flow's head.
What the window has no room for leaves memory with the turn: it is a row already. What the queue wants next is
read and comes back as a turn. A prediction that is in memory is believed before its row.
"""

from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from coordinator.actor.storage import Read, Rows
from coordinator.model_schema import (
    CREATED,
    FLOW_TEXTS,
    FLOWS,
    HEADS,
    NEXT_DEADLINE,
    OLDEST,
    OVERDUE,
    OWNERS,
    document_of,
)
from coordinator.scheduling.flow import Flow
from coordinator.scheduling.rotation import Search
from coordinator.waiting import deadline_of, owner_of, owner_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coordinator.book import Book, Entry
    from coordinator.scheduling.shelf import Want

PAGE = 500
"""Rows that are read at once: to be ended, because they waited too long, or to be told to the index."""


ALARM = "queue"


@dataclass(frozen=True, slots=True)
class Refill:
    """Rows that the queue wants in memory."""

    want: "Want"


@dataclass(frozen=True, slots=True)
class Looked:
    """Flows that the queue looks through."""

    search: Search


@dataclass(frozen=True, slots=True)
class Late:
    """Rows that have waited too long by then, and when the next one will have."""

    by: int


@dataclass(frozen=True, slots=True)
class Untold:
    """Rows whose creation the index may lack."""

    until: int


class Backlog:
    """Belongs to the book, whose turn it uses; it alone takes waiting rows into the queue."""

    def __init__(self, book: "Book") -> None:
        self._book = book
        self._alarm_at: int | None = None
        self._late_more = False
        """More have waited too long than the index could be told of at once."""
        self._telling = False

    def load(self, rows: "Mapping[str, Rows]") -> None:
        """Let the queue know what waits, and how much of it."""
        queue = self._book.queue
        known_count, known_bytes = Counter[str](), Counter[str]()
        for text, count, input_bytes, first in rows[FLOWS]:
            flow = Flow.of(text)
            queue.restore(flow, count, input_bytes, first)
            known_count[owner_text(flow)] += count
            known_bytes[owner_text(flow)] += input_bytes
        for owner, count, input_bytes, first in rows[OWNERS]:
            if rest := count - known_count[owner]:
                queue.restore(owner_of(owner), rest, input_bytes - known_bytes[owner], first)
        ((deadline,),) = rows[NEXT_DEADLINE]
        self.ends_by(deadline)

    @property
    def may_hide(self) -> bool:
        """Whether a prediction that is not in memory may wait on disk."""
        return self._book.queue.on_disk > 0

    def flush(self) -> None:
        """At the end of a turn: have read what is needed next."""
        if self._book.queue.shelved:
            self.let_go()
            for want in self._book.queue.wants():
                self._ask(want)
        if self._late_more or self._book.creations.page is not None:
            self._go_on()

    def let_go(self) -> None:
        """After something was put into the queue: what that has no room for waits on disk."""
        book = self._book
        for prediction in book.queue.take_evicted():
            entry = book.entries[prediction]
            if not entry.on_disk:
                entry.on_disk = True
                book.candidates.remove(prediction)
                book.leave(entry)

    def rows(self, tag: Any, rows: "Sequence[Rows]") -> "list[Entry]":
        """Take in what was read. Gives the predictions that have waited too long."""
        if isinstance(tag, Refill):
            self._refill(tag.want, rows[0])
        elif isinstance(tag, Looked):
            self._book.queue.looked(tag.search, [text for (text,) in rows[0]])
        elif isinstance(tag, Untold):
            self._tell(tag, rows[0])
        else:
            return self._late(tag, *rows)
        return []

    # --- the window ---------------------------------------------------------------------------------------

    def _ask(self, want: "Want | Search") -> None:
        if isinstance(want, Search):
            self._book.turn.read(Looked(want), Read(FLOW_TEXTS, (want.after, want.limit)))
            return
        most_bytes = self._most_bytes(want)
        if want.flow is None:
            read = Read(OLDEST, (want.after, want.limit, most_bytes, *want.texts))
        else:
            read = Read(HEADS, (want.after, want.limit, most_bytes, want.flow.text()))
        self._book.turn.read(Refill(want), read)

    def _most_bytes(self, want: "Want") -> int:
        return max(1, min(want.most_bytes, self._book.limits.refill_bytes))

    def _refill(self, want: "Want", rows: Rows) -> None:
        book = self._book
        rows = sorted(rows, key=itemgetter(0))
        through = rows[-1][0] if rows else 0
        entries = [book.take_up(row, waiting=True) for row in rows]
        entries = [entry for entry in entries if entry.on_disk]
        waitings = []
        for entry in entries:
            entry.waiting = book.waiting(entry)
            waitings.append(entry.waiting)
        whole = sum(len(row[2]) for row in rows) < self._most_bytes(want)
        book.queue.refilled(want, waitings, exhausted=len(rows) < want.limit and whole, through=through)
        for entry in entries:
            if entry.document.id in book.queue:
                book.stay(entry)
                book.consider(entry)
        self.let_go()

    # --- what waits too long ------------------------------------------------------------------------------

    def ends_by(self, deadline: int | None) -> None:
        """Have the alarm come then, or earlier: early is harmless, so it is only ever moved forward."""
        if deadline is not None and (self._alarm_at is None or deadline < self._alarm_at):
            self._alarm_at = deadline
            self._book.alarms.set(ALARM, deadline)

    def alarm(self) -> None:
        """The first deadline that there was is over. Whose it was, and which comes next, storage knows."""
        turn = self._book.turn
        self._alarm_at = None
        self._book.alarms.set(ALARM, None)
        turn.read(Late(turn.now), Read(OVERDUE, (turn.now, PAGE)), Read(NEXT_DEADLINE, (turn.now,)))

    def _late(self, tag: Late, late: Rows, following: Rows) -> "list[Entry]":
        entries = [self._book.take_up(row, waiting=True) for row in late]
        if len(late) < PAGE:
            self.ends_by(following[0][0])
        else:
            self._late_more = True
        queue = self._book.queue
        return [
            entry
            for entry in entries
            if (entry.on_disk or entry.document.id in queue)
            and (deadline_of(entry.document) or tag.by + 1) <= tag.by
        ]

    # --- what the index lacks -----------------------------------------------------------------------------

    def _go_on(self) -> None:
        """With the next page, once the index has taken the one before."""
        book = self._book
        if book.ending + len(book.creations) >= PAGE:
            return
        if self._late_more:
            self._late_more = False
            self.alarm()
        if (page := book.creations.page) is not None and not self._telling:
            self._telling = True
            book.turn.read(Untold(page[1]), Read(CREATED, (*page, PAGE)))

    def _tell(self, tag: Untold, rows: Rows) -> None:
        self._telling = False
        for row in rows:
            place, document = document_of(row)
            known = self._book.entries.get(document.id)
            self._book.tell(document if known is None else known.document, place)
        self._book.creations.paged(rows[-1][0] if len(rows) == PAGE else None)
