"""The memory of a model's coordinator, and the rows, timers and notices that follow from changing it.

Everything changes a prediction through ``change`` and ``end``, so that each turn stages each prediction once.
Of what waits only a window is in memory (``backlog.py``).
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from coordinator.actor.storage import Rows
from coordinator.actor.turn import Turn
from coordinator.alarms import Alarms
from coordinator.backlog import Backlog
from coordinator.calls import Found, SocketAddress
from coordinator.creations import Creations
from coordinator.feeds import Feeds
from coordinator.history import NOTHING, History
from coordinator.keeping import times_of_end
from coordinator.model_schema import (
    FIRST_MARK,
    FORGET_FACT,
    INSERT,
    KEEP_FACT,
    LAST,
    MARK,
    OPEN,
    REMOVE,
    TAKE,
    UPDATE,
    WAIT,
    WATERMARK,
    document_of,
)
from coordinator.outbox import Outbox
from coordinator.overflow.candidates import Candidates, Group
from coordinator.prediction import TRANSITIONS, Attempt, Document, Happening, encode
from coordinator.protocol.limits import ServerLimits
from coordinator.recall import Recall
from coordinator.scheduling.flow import Gpu, Waiting
from coordinator.scheduling.forecast import Forecast
from coordinator.scheduling.queue import Queue
from coordinator.tally import Tally
from coordinator.waiting import NOT_QUEUED, deadline_of, queued_as, waiting_of

UNKNOWN_S = 60.0
"""What a prediction is taken to cost, in seconds, as long as none of its model has run."""
STAYS = -1
LEAST_S = 0.001
"""What it costs at least: to be given work is not free, however soon it is done."""
_RUNS = "runs"
"""The fact that holds the forecast."""
_RUNS_KEPT_EVERY = 32
"""Runs after which the forecast is written: a crash may cost it that many."""
_SLACK = 64
"""A heap is rebuilt once more than half of it, and this many, are out of date."""


class Project(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Address of the control index: a document sent here becomes known to lists."""

    number: int
    """The object that it comes from."""
    again: bool = False
    """After a load: the index may know it, and know better."""


@dataclass(slots=True, eq=False)
class Session:
    """An agent's attachment: lives as long as its socket. Written by attach, credit and dispatch."""

    address: SocketAddress
    channel: int
    agent: str
    agent_name: str
    incarnation: str
    version: str
    granted: int
    sent: int = 0
    warm: bool = True
    gpus: tuple[Gpu, ...] = ()
    retries: int | None = None
    """What the model says of repetitions; None when it says nothing."""
    protocol: int = 1
    shared: bool = False
    """The agent has other models for the same slots: it is told of demand."""
    demand: bool = False
    """What it was told last: whether something waits that could run there."""
    leaving: bool = False
    """A newer process of the same agent is here: it ends what it has, and gets nothing new."""
    loading_since: int | None = None
    legacy: bool = False
    """A worker of 2022 (``legacy.py``)."""
    unreported: str = ""
    """The prediction that such a worker still works on, though it has been ended without it."""
    concluding: str = ""
    """The prediction that such a worker has reported, while its files are looked for."""

    elsewhere: bool = False
    """Not a worker: the door to providers (``elsewhere.py``)."""

    @property
    def free(self) -> int:
        return 0 if self.leaving else self.granted - self.sent


@dataclass(slots=True)
class Entry:
    """One prediction in memory."""

    document: Document
    place: int
    """Its place among all that came: the key of its row, and its order in its flow."""
    history: History = NOTHING
    """What its last attempt has said."""
    recall: Recall | None = None
    """What of it was sent again, for somebody further behind than that."""
    stored: bool = False
    row_waits: bool = False
    """Whether its row, as it was staged last, is one of those that wait."""
    on_disk: bool = False
    """It waits, and for the queue it does so on disk: it may leave memory."""
    leaves: int = STAYS
    """The last read that had been asked for when it could leave memory."""
    waiting: Waiting | None = None
    """As the queue was told of it last."""
    attempt: int = 0
    """Number of the open attempt; 0 while there is none."""
    session: Session | None = None
    """The session that runs the open attempt; None while its agent is away."""
    strays: dict[int, Session] = field(default_factory=dict)
    """Attempts that were given up and run on beside the open one: a success of theirs still counts."""
    begun: bool = False
    """The agent has said, or may have said, that it runs the open attempt."""
    ours: bool = False
    """The open attempt was found at a load and its agent has not been heard of since: our outage may have
    cost it."""
    deadline: float | None = None
    """Monotonic: end of the lease while the agent is away, of the grace after a cancel, else of the run."""
    charged: Waiting | None = None
    """What its owners were charged for the open attempt, at ``charged_at`` (monotonic)."""
    charged_at: float = 0.0

    @property
    def input_bytes(self) -> int:
        return self.document.input_bytes

    def find(self, number: int) -> Attempt | None:
        for attempt in self.document.attempts:
            if attempt.number == number:
                return attempt
        return None


class Book:
    """All predictions and sessions of one coordinator. ``turn`` is set when the object is loaded."""

    def __init__(self, number: int, limits: ServerLimits, tally: Tally | None = None) -> None:
        self.limits = limits
        self.tally = tally or Tally()
        self.number = number
        self._project, self._project_again = Project(number), Project(number, again=True)
        self.turn: Turn
        self.entries: dict[str, Entry] = {}
        self.running: dict[str, Entry] = {}
        """Those with an open attempt."""
        self.queue = Queue(
            window=limits.queue_window, window_bytes=limits.queue_window_bytes, ageing_s=limits.ageing_s
        )
        self.alarms = Alarms()
        self.backlog = Backlog(self)
        self.feeds = Feeds(self, snapshot)
        self.outbox = Outbox(self, self.feeds.busy)
        self.creations = Creations()
        self.ending = 0
        """How many have ended and are not in the index yet."""
        self.sessions: dict[SocketAddress, Session] = {}
        self.provider: Session | None = None
        """The door to providers, once it was called for."""
        self.candidates = Candidates()
        self.away = Counter[str]()
        """How many run at a provider, by token."""
        self.leaving: dict[SocketAddress, Session] = {}
        """Those that only stay for the work that they have."""
        self.forecast = Forecast()
        self._runs_unkept = 0
        self.sharing: dict[SocketAddress, Session] = {}
        """Those of agents with several models for the same slots."""
        self._last_place = 0
        self._mark: int | None = None
        self._dirty: dict[str, Entry] = {}
        self._leaving: deque[tuple[int, Entry]] = deque()
        self._deadlines: list[tuple[float, str]] = []
        self._timer_at: float | None = None
        self._wake_at: float | None = None

    # --- from storage -------------------------------------------------------------------------------------

    def load(self, rows: Mapping[str, Rows]) -> list[Entry]:
        """Take up what storage held. Gives the predictions that do not wait; the others come as they are
        needed."""
        ((last,),) = rows[LAST]
        self._mark = rows[WATERMARK][0][0] if rows[WATERMARK] else None
        self.creations.load(self._mark or 0, last)
        self._last_place = max(last, self._mark or 0)
        self.backlog.load(rows)
        self.outbox.load(rows)
        return [self.take_up(row, waiting=False) for row in rows[OPEN]]

    def take_up(self, row: tuple[Any, ...], *, waiting: bool) -> Entry:
        """An entry made of a row, unless memory has it already and knows better. The index is told of it if
        it may not know it. One that waits does so on disk, for the queue, and leaves unless it is changed."""
        place, document = document_of(row)
        known = self.entries.get(document.id)
        if known is not None:
            return known
        entry = self.entries[document.id] = Entry(document, place, stored=True)
        if document.status.terminal:
            self.ending += 1
            self.turn.send(self._project_again, document)
        elif self.creations.must_be_told_again(place):
            self.tell(document, place)
        if waiting:
            entry.row_waits = entry.on_disk = True
            self.leave(entry)
        return entry

    def stay(self, entry: Entry) -> None:
        """It is in memory for good, as far as storage is concerned."""
        entry.on_disk, entry.leaves = False, STAYS

    def leave(self, entry: Entry) -> None:
        """It need not be in memory any longer, and goes when the turn is over. It stays as long as a read is
        under way that was asked for before: that one may bring a row which is out of date."""
        entry.leaves = self.turn.reads_begun
        self._leaving.append((entry.leaves, entry))

    def _let_leave(self) -> None:
        ended = self.turn.reads_ended
        while self._leaving and self._leaving[0][0] <= ended:
            mark, entry = self._leaving.popleft()
            document = entry.document
            if entry.leaves == mark and (document.status.terminal or not entry.strays):
                entry.leaves = STAYS
                del self.entries[document.id]

    # --- predictions --------------------------------------------------------------------------------------

    def add(self, document: Document) -> Entry:
        """Take up a new prediction."""
        self._last_place += 1
        entry = self.entries[document.id] = Entry(document, self._last_place)
        self._dirty[document.id] = entry
        self.tell(document, entry.place)
        return entry

    def tell(self, document: Document, place: int) -> None:
        """Let the index know that there is this prediction."""
        self.creations.told(document.id, place)
        self.turn.send(self._project, document)

    def change(
        self, entry: Entry, happening: Happening | None, *, durable: bool = True, **changes: Any
    ) -> None:
        """Change a prediction; ``happening`` None leaves its status alone. What is not durable is progress:
        it becomes a row with the next durable change, and is known again from the agent after a restart."""
        document = entry.document
        status = document.status if happening is None else TRANSITIONS[document.status, happening]
        entry.document = replace(document, status=status, **changes)
        if durable:
            self._dirty[document.id] = entry

    def end(self, entry: Entry, happening: Happening, **changes: Any) -> None:
        """Make it terminal: the last thing that ever happens to it."""
        document, now = entry.document, self.turn.now
        self._unqueue(entry)
        self.stop(entry)
        if not changes.get("logs"):
            changes["logs"] = entry.history.logs()
        attempts = tuple(
            replace(a, secret="", key="", ended_at=a.ended_at or now, outcome=a.outcome or "finished")
            for a in document.attempts
        )
        sequence = document.sequence + 1
        changes |= times_of_end(document, attempts, now, self.limits.upload_ttl_s)
        self.change(entry, happening, attempts=attempts, completed_at=now, sequence=sequence, **changes)
        if happening is Happening.SUCCEEDED:
            self._learn(entry.document)
        self.ending += 1
        self.feeds.ended(document.id)
        self.outbox.ended(entry.document)
        self.turn.send(self._project, entry.document)
        self.turn.notify(document.id)
        self.turn.notify(end_of(document.id), Found(document=entry.document))

    def _learn(self, document: Document) -> None:
        """How long it ran says how long others will."""
        if document.started_at is None or document.completed_at is None or document.attempts[-1].provider:
            return
        seconds = (document.completed_at - document.started_at) / 1_000_000
        self.forecast.record(document.version, document.token, document.user, seconds)
        self._runs_unkept += 1
        if self._runs_unkept >= _RUNS_KEPT_EVERY:
            self._runs_unkept = 0
            self.turn.write_later(FORGET_FACT, _RUNS)
            self.turn.write_later(KEEP_FACT, _RUNS, self.forecast.dump())

    def load_facts(self, facts: Iterable[tuple[Any, ...]]) -> None:
        for name, value in facts:
            if name == _RUNS:
                self.forecast.load(value)

    def indexed(self, prediction: str, sequence: int) -> None:
        """The index has it in this state. Once that is its last one it leaves for good; if its row stays
        after a crash, it is told again and then goes."""
        self.creations.indexed(prediction)
        entry = self.entries.get(prediction)
        if entry is None or entry.leaves != STAYS:
            return
        if entry.document.status.terminal and sequence >= entry.document.sequence:
            self.ending -= 1
            self.outbox.indexed(entry.document)
            self.turn.write_later(REMOVE, entry.place)
            if self.turn.reads_ended == self.turn.reads_begun:
                del self.entries[prediction]
            else:
                self.leave(entry)

    def enqueue(self, entry: Entry) -> None:
        """Let it wait at its place; for another agent than those that it failed on."""
        entry.waiting = self.waiting(entry)
        self.queue.add(entry.waiting)
        self.consider(entry)
        self.backlog.let_go()
        self._dirty[entry.document.id] = entry
        self.backlog.ends_by(deadline_of(entry.document))

    def consider(self, entry: Entry, due: int | None = None) -> None:
        """It waits in memory: perhaps it may run at a provider."""
        if (found := self.group_of(entry, due)) is not None:
            self.candidates.add(entry.document.id, entry.document.token, *found)

    def group_of(self, entry: Entry, due: int | None = None) -> tuple[Group, tuple[int, int]] | None:
        """By which rule one that waits may run at a provider, and its rank; ``due`` is when, for those that
        wait a time. None for one that may not."""
        document, overflow = entry.document, entry.document.overflow
        if overflow is None or entry.waiting is None:
            return None
        if due is None:
            due = document.created_at + int(overflow.wait_s * 1e6)
        first = due if overflow.when == "wait_over" else document.urgency
        return Group(overflow.when, entry.waiting.flow.needs), (first, entry.place)

    def waiting(self, entry: Entry) -> Waiting:
        """A prediction as the queue sees it, and what it will probably cost."""
        document = entry.document
        cost_s = self.forecast.predicted(document.version, document.token, document.user)
        if cost_s is None:
            cost_s = min(UNKNOWN_S, document.run_s)
        return waiting_of(document, entry.place, max(LEAST_S, cost_s))

    def _unqueue(self, entry: Entry) -> None:
        """It waits no longer, wherever it did."""
        self.candidates.remove(entry.document.id)
        if entry.on_disk:
            self.stay(entry)
            self.queue.left_disk(self.waiting(entry))
        else:
            self.queue.discard(entry.document.id)

    def run(self, entry: Entry, attempt: int) -> None:
        """An attempt of it is open: it waits no longer, and its owners are charged."""
        if entry.on_disk:
            self._unqueue(entry)
        self.candidates.remove(entry.document.id)
        entry.attempt = attempt
        entry.history, entry.recall = History(self.limits.history_bytes), None
        self.running[entry.document.id] = entry
        if _is_away(entry):
            self.away[entry.document.token] += 1
        entry.charged = entry.waiting or self.waiting(entry)
        entry.charged_at = self.turn.monotonic
        entry.waiting = None
        self.queue.began(entry.charged)

    def stop(self, entry: Entry, *, counts: bool = True) -> None:
        """No attempt of it is open any more. What does not count is given back to its owners."""
        self.running.pop(entry.document.id, None)
        if _is_away(entry):
            counts = False  # what a provider did took nothing away from others
            self._came_back(entry.document.token)
        entry.attempt, entry.session, entry.deadline = 0, None, None
        entry.recall = None
        if (charged := entry.charged) is not None:
            entry.charged = None
            took_s = self.turn.monotonic - entry.charged_at if counts else 0.0
            self.queue.ended(charged.flow, charged.cost_s, took_s)

    def _came_back(self, token: str) -> None:
        self.away[token] -= 1
        if not self.away[token]:
            del self.away[token]

    def flush(self) -> None:
        """At the end of each turn: stage what it changed, let go of what need not be in memory, and set the
        timer that follows."""
        self.backlog.flush()
        if self._dirty:
            for entry in self._dirty.values():
                self._stage(entry)
            self._dirty.clear()
            self._set_mark()
        if self._leaving:
            self._let_leave()
        self.outbox.flush()
        self.alarms.flush(self.turn)
        self._set_timer()

    def _stage(self, entry: Entry) -> None:
        prediction, place = entry.document.id, entry.place
        document = encode(replace(entry.document, input=b""))
        waiting = entry.on_disk or prediction in self.queue
        queued = queued_as(entry.document) if waiting else NOT_QUEUED
        if not entry.stored:
            row = (place, prediction, *queued, entry.input_bytes, document, entry.document.input)
            self.turn.write(INSERT, *row)
        elif waiting:
            self.turn.write(WAIT, *queued, document, place)
        else:
            self.turn.write(TAKE if entry.row_waits else UPDATE, document, place)
        entry.stored, entry.row_waits = True, waiting

    def _set_mark(self) -> None:
        """How far the index has all creations; only along with other rows, for to be behind costs little."""
        mark = self.creations.watermark
        if mark == (self._mark or 0):
            return
        if self._mark is None:
            self.turn.write(FIRST_MARK, WATERMARK, mark)
        else:
            self.turn.write(MARK, mark, WATERMARK)
        self._mark = mark

    # --- the timer in memory: leases, graces, limits of running --------------------------------------------

    def set_deadline(self, entry: Entry, after_s: float) -> None:
        """It is looked at then, or when the limit of it all is over: a cancel only has its grace."""
        total = entry.document.total_deadline_at
        if total is not None and not entry.document.cancel_requested:
            after_s = min(after_s, max(0.0, (total - self.turn.now) / 1_000_000))
        entry.deadline = self.turn.monotonic + after_s
        heapq.heappush(self._deadlines, (entry.deadline, entry.document.id))

    def wake_in(self, seconds: float) -> None:
        """Have the timer's turn run then, whatever else is due."""
        at = self.turn.monotonic + seconds
        if self._wake_at is None or at < self._wake_at:
            self._wake_at = at

    def overdue(self) -> list[Entry]:
        """When the timer is due: the running predictions whose deadline is over, each reported once."""
        over, now = [], self.turn.monotonic
        while self._deadlines and self._deadlines[0][0] <= now:
            _, prediction = heapq.heappop(self._deadlines)
            entry = self.running.get(prediction)
            if entry is None or entry.deadline is None:
                continue
            if entry.deadline > now:
                heapq.heappush(self._deadlines, (entry.deadline, prediction))
            else:
                entry.deadline = None
                over.append(entry)
        self._timer_at = None
        if self._wake_at is not None and self._wake_at <= now:
            self._wake_at = None
        return over

    def stalled(self, late_s: float) -> None:
        """Move every deadline: nobody could have renewed it."""
        for entry in self.running.values():
            if entry.deadline is not None:
                entry.deadline += late_s

    def _set_timer(self) -> None:
        """Like the alarm: early is harmless, so it is only ever moved forward."""
        if len(self._deadlines) > 2 * len(self.running) + _SLACK:
            current = ((e.deadline, p) for p, e in self.running.items() if e.deadline is not None)
            self._deadlines = list(current)
            heapq.heapify(self._deadlines)
        first = self._deadlines[0][0] if self._deadlines else None
        if self._wake_at is not None and (first is None or self._wake_at < first):
            first = self._wake_at
        if first is not None and (self._timer_at is None or first < self._timer_at):
            self._timer_at = first
            self.turn.timer_at(first)


def _is_away(entry: Entry) -> bool:
    attempt = entry.find(entry.attempt)
    return attempt is not None and attempt.provider != ""


def end_of(prediction: str) -> str:
    """The topic of those who wait for its end."""
    return f"end:{prediction}"


def snapshot(entry: Entry) -> Document:
    """The document with what is known so far of a running attempt."""
    document, history = entry.document, entry.history
    if document.status.terminal or not history.last_seq:
        return document
    return replace(document, output=history.output(), logs=history.logs(), files=history.files())
