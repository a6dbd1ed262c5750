"""Terminal webhooks of one coordinator: rows until they are delivered, a few at a time for each receiver.

A row is written with the end of its prediction. Once the index has that end the row is due: it is read, its
body is rendered and committed, and only then sent. What is due is on disk, ordered by receiver and time, so
that memory holds a few letters of each receiver however many wait. Each receiver has a lane of its own.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from coordinator import calls
from coordinator.actor.storage import Read, Rows
from coordinator.letters import Letter, Try, decode, encode, next_try, state_of, tried
from coordinator.outbox_schema import (
    FORGET_LETTER,
    KEEP_LETTER,
    LANE,
    LANES,
    LETTER,
    LETTER_DONE,
    LETTER_DUE,
    LETTER_RENDERED,
    LETTER_TRIED,
    PURGE_LETTERS,
    PURGED_AT_ONCE,
)
from coordinator.prediction import Document
from coordinator.prediction import encode as encode_document
from coordinator.protocol.addresses import check_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordinator.book import Book

HAND = 8
"""Letters of one receiver that are in memory, on their way."""
PURGE_EVERY = PURGED_AT_ONCE // 5
_OWNER = "webhooks"


@dataclass(frozen=True, slots=True)
class LaneRead:
    """Which letters of a receiver come next."""

    host: str


@dataclass(frozen=True, slots=True)
class LetterRead:
    """A letter that is to be sent now."""

    host: str
    id: str


@dataclass(slots=True)
class Lane:
    """One receiver."""

    next_at: int | None = None
    """When the first letter is due that is not in hand, as far as is known."""
    in_hand: set[str] = field(default_factory=set)
    reading: bool = False
    put_down: set[str] = field(default_factory=set)
    """Let go of since the read began: what that brings of them is out of date."""

    def wants(self, at: int) -> None:
        self.next_at = at if self.next_at is None else min(self.next_at, at)


@dataclass(slots=True)
class _Hand:
    letter: Letter
    snapshot: bytes | None
    body: bytes | None


class Outbox:
    """Belongs to the book, whose turn it uses. ``busy`` says whether a progress webhook of a prediction is on
    its way, so that its terminal one waits; ``chance`` gives numbers from 0 to 1."""

    def __init__(
        self, book: "Book", busy: Callable[[str], bool], chance: Callable[[], float] = random.random
    ) -> None:
        self._book = book
        self._busy = busy
        self._chance = chance
        self._lanes: dict[str, Lane] = {}
        self._hands: dict[str, _Hand] = {}
        self._stirred: set[str] = set()
        self._done = 0
        self.due = 0
        """How many are to be sent, now or later; after a crash some may be counted twice."""

    def load(self, rows: "Mapping[str, Rows]") -> None:
        for host, at, count in rows[LANES]:
            self.due += count
            self._want(host, at)

    # --- what becomes due ---------------------------------------------------------------------------------

    def ended(self, document: Document) -> None:
        """With the end of a prediction: keep what is to be sent of it."""
        if document.webhook and "completed" in document.webhook_events:
            self._keep(document, None)

    def indexed(self, document: Document) -> None:
        """The index has its end."""
        if document.webhook and "completed" in document.webhook_events:
            now = self._book.turn.now
            self._book.turn.write(LETTER_DUE, now, document.id)
            self.due += 1
            self._want(_host(document.webhook), now)

    def _keep(self, document: Document, next_at: int | None) -> None:
        turn = self._book.turn
        host = _host(document.webhook)
        letter = Letter(
            id=document.id,
            account=document.account,
            url=document.webhook,
            host=host,
            dialect=document.dialect,
            expires_at=turn.now + int(self._book.limits.webhook_retry_s * 1e6),
        )
        turn.write(FORGET_LETTER, document.id)
        turn.write(KEEP_LETTER, document.id, host, next_at, encode(letter), encode_document(document))
        if next_at is not None:
            self.due += 1
            self._want(host, next_at)

    # --- what is asked ------------------------------------------------------------------------------------

    def deliveries(self, call: calls.AskDeliveries, rows: Rows) -> calls.Deliveries | calls.Unknown:
        if not rows:
            return calls.Unknown()
        record, _, _, next_at, done_at = rows[0]
        letter = decode(record)
        if letter.account != call.account:
            return calls.Unknown()
        return calls.Deliveries(
            state=state_of(letter, next_at, done_at),
            tries=letter.log,
            next_at=None if done_at is not None else next_at,
        )

    def redeliver(self, call: calls.Redeliver, rows: Rows) -> calls.Deliveries:
        """Have it sent again now. One that is still being tried keeps its bytes; any other is rendered anew,
        with links that are good again."""
        turn, document = self._book.turn, call.document
        log: tuple[Try, ...] = ()
        if rows:
            record, _, _, next_at, done_at = rows[0]
            letter = decode(record)
            log = letter.log
            if done_at is None:
                if next_at is not None and document.id not in self._hands:
                    expires_at = turn.now + int(self._book.limits.webhook_retry_s * 1e6)
                    letter = replace(letter, tries=0, expires_at=expires_at)
                    turn.write(LETTER_TRIED, encode(letter), turn.now, document.id)
                    self._want(letter.host, turn.now)
                state = state_of(letter, next_at, None)
                return calls.Deliveries(state=state, tries=log, next_at=next_at and turn.now)
        if document.id not in self._hands:
            self._keep(document, turn.now)
        return calls.Deliveries(state="pending", tries=log, next_at=turn.now)

    # --- sending ------------------------------------------------------------------------------------------

    def alarm(self) -> None:
        """Lanes that slept may have something due."""
        self._stirred |= self._lanes.keys()

    def flush(self) -> None:
        """At the end of a turn: have read what is due, and be woken for what comes next."""
        if not self._stirred:
            return
        stirred, self._stirred = self._stirred, set()
        for host in stirred:
            self._look(host)
        asleep = (
            lane.next_at
            for lane in self._lanes.values()
            if lane.next_at is not None and not lane.reading and len(lane.in_hand) < HAND
        )
        self._book.alarms.set(_OWNER, min(asleep, default=None))

    def rang(self, now: int) -> None:
        if self._book.alarms.rang(_OWNER, now):
            self.alarm()

    def _want(self, host: str, at: int) -> None:
        self._lanes.setdefault(host, Lane()).wants(at)
        self._stirred.add(host)

    def _look(self, host: str) -> None:
        lane, turn = self._lanes.get(host), self._book.turn
        if lane is None or lane.reading or len(lane.in_hand) >= HAND:
            return
        if lane.next_at is None:
            if not lane.in_hand:
                del self._lanes[host]
        elif lane.next_at <= turn.now:
            lane.reading, lane.next_at = True, None
            lane.put_down.clear()
            turn.read(LaneRead(host), Read(LANE, (host, 2 * HAND)))

    def rows(self, tag: LaneRead | LetterRead, rows: Rows) -> None:
        """What was read."""
        self._stirred.add(tag.host)
        if isinstance(tag, LaneRead):
            self._take_up(self._lanes[tag.host], tag.host, rows)
        elif not rows or rows[0][3] is None or (rows[0][1] is None and rows[0][2] is None):
            self._put_down(tag.host, tag.id)
        else:
            record, snapshot, body, _, _ = rows[0]
            self._hands[tag.id] = _Hand(decode(record), snapshot, body)
            if not self._busy(tag.id):
                self.go_on(tag.id)

    def _take_up(self, lane: Lane, host: str, rows: Rows) -> None:
        lane.reading = False
        now = self._book.turn.now
        known = lane.in_hand | lane.put_down
        waiting = [(id, at) for id, at in rows if id not in known]
        room = HAND - len(lane.in_hand)
        begun = [id for id, at in waiting[:room] if at <= now]
        for id in begun:
            lane.in_hand.add(id)
            self._book.turn.read(LetterRead(host, id), Read(LETTER, (id,)))
        if len(waiting) > len(begun):
            lane.wants(waiting[len(begun)][1])
        elif len(rows) == 2 * HAND:
            lane.wants(now)

    def go_on(self, id: str) -> None:
        """Send the letter, if there is one in hand: rendered first, if it is not yet."""
        hand, turn = self._hands.get(id), self._book.turn
        if hand is None:
            return
        letter = hand.letter
        if hand.body is not None:
            turn.effect(calls.SendLetter(letter.account, letter.url, id, letter.message, hand.body))
        elif hand.snapshot is not None:
            turn.effect(calls.RenderLetter(id, letter.dialect, hand.snapshot))

    def rendered(self, call: calls.LetterRendered) -> None:
        """Its bytes are what they are from now on; they leave once they are durable."""
        hand = self._hands.get(call.id)
        if hand is None:
            return
        if call.body is None:
            self.sent(calls.LetterSent(id=call.id, attempt=Try(at=self._book.turn.now, error=call.error)))
            return
        hand.body, hand.snapshot = call.body, None
        self._book.turn.write(LETTER_RENDERED, call.body, call.id)
        self.go_on(call.id)

    def sent(self, call: calls.LetterSent) -> None:
        """What came of a try."""
        hand = self._hands.pop(call.id, None)
        if hand is None:
            return
        turn, letter = self._book.turn, tried(hand.letter, call.attempt)
        at = None if letter.delivered else next_try(letter, turn.now, self._chance())
        self._put_down(letter.host, letter.id)
        self._book.tally.webhooks["delivered" if letter.delivered else "failed"] += 1
        if at is None:
            self.due = max(0, self.due - 1)
            self._book.tally.webhooks["given_up"] += not letter.delivered
            turn.write(LETTER_DONE, encode(letter), turn.now, letter.id)
            self._purge()
        else:
            turn.write(LETTER_TRIED, encode(letter), at, letter.id)
            self._want(letter.host, at)

    def _put_down(self, host: str, id: str) -> None:
        lane = self._lanes[host]
        lane.in_hand.discard(id)
        lane.put_down.add(id)
        self._stirred.add(host)

    def _purge(self) -> None:
        """What was done long ago goes, faster than what is done comes."""
        self._done += 1
        if self._done % PURGE_EVERY == 1:
            before = self._book.turn.now - int(self._book.limits.webhook_log_s * 1e6)
            self._book.turn.write_later(PURGE_LETTERS, before)


def _host(url: str) -> str:
    target = check_url(url)
    return f"{target.host}:{target.port}"
