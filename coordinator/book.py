"""The memory of a model's coordinator, and the rows, timers and notices that follow from changing it.

Everything changes a prediction through ``change`` and ``end``, so that each turn stages each prediction once.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from coordinator.actor.turn import Turn
from coordinator.calls import SocketAddress
from coordinator.history import History
from coordinator.model_schema import FORGET_FACT, INSERT, KEEP_FACT, REMOVE, UPDATE
from coordinator.prediction import TRANSITIONS, Attempt, Document, Happening, encode
from coordinator.protocol.limits import ServerLimits
from coordinator.scheduling.flow import Gpu, Waiting
from coordinator.scheduling.forecast import Forecast
from coordinator.scheduling.queue import Queue
from coordinator.waiting import deadline_of, waiting_of

UNKNOWN_S = 60.0
"""What a prediction is taken to cost, in seconds, as long as none of its model has run."""
_RUNS = "runs"
"""The fact that holds the forecast."""
_RUNS_KEPT_EVERY = 32
"""Runs after which the forecast is written: a crash may cost it that many."""
_SLACK = 64
"""A heap is rebuilt once more than half of it, and this many, are out of date."""


@dataclass(frozen=True, slots=True)
class Project:
    """Address of the control index: a document sent here becomes known to lists."""

    number: int
    """The object that it comes from."""


@dataclass(slots=True)
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

    @property
    def free(self) -> int:
        return 0 if self.leaving else self.granted - self.sent


@dataclass(slots=True)
class Entry:
    """One prediction in memory."""

    document: Document
    place: int
    """Its place among all that came: the key of its row, and its order in its flow."""
    history: History
    input_bytes: int
    stored: bool = False
    indexed: int = 0
    """The highest sequence that the control index has."""
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

    def find(self, number: int) -> Attempt | None:
        return next((a for a in self.document.attempts if a.number == number), None)


class Book:
    """All predictions and sessions of one coordinator. ``turn`` is set when the object is loaded."""

    def __init__(self, number: int, limits: ServerLimits) -> None:
        self.limits = limits
        self._project = Project(number)
        self.turn: Turn
        self.entries: dict[str, Entry] = {}
        self.running: dict[str, Entry] = {}
        """Those with an open attempt."""
        self.queue = Queue(ageing_s=limits.ageing_s, window=limits.queue_length)
        self.sessions: dict[SocketAddress, Session] = {}
        self.forecast = Forecast()
        self._runs_unkept = 0
        self.sharing: dict[SocketAddress, Session] = {}
        """Those of agents with several models for the same slots."""
        self._sequence = 0
        self._dirty: dict[str, Entry] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._timer_at: float | None = None
        self._wake_at: float | None = None
        self._queue_deadlines: list[tuple[int, str]] = []
        self._alarm_at: int | None = None

    # --- predictions --------------------------------------------------------------------------------------

    def add(self, document: Document, place: int | None = None) -> Entry:
        """Take up a prediction: a new one (no place yet), or one that storage held."""
        stored = place is not None
        self._sequence = self._sequence + 1 if place is None else max(self._sequence, place)
        entry = self.entries[document.id] = Entry(
            document=document,
            place=place or self._sequence,
            history=History(self.limits.history_bytes),
            input_bytes=len(document.input),
            stored=stored,
        )
        if not stored:
            self._dirty[document.id] = entry
        self.turn.send(self._project, document)
        return entry

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
        self.queue.discard(document.id)
        self.stop(entry)
        if not changes.get("logs"):
            changes["logs"] = entry.history.logs()
        attempts = tuple(
            replace(a, secret="", key="", ended_at=a.ended_at or now, outcome=a.outcome or "finished")
            for a in document.attempts
        )
        sequence = document.sequence + 1
        self.change(entry, happening, attempts=attempts, completed_at=now, sequence=sequence, **changes)
        if happening is Happening.SUCCEEDED:
            self._learn(entry.document)
        self.turn.send(self._project, entry.document)
        self.turn.notify(document.id)
        self.turn.notify(f"end:{document.id}")

    def _learn(self, document: Document) -> None:
        """How long it ran says how long others will."""
        if document.started_at is None or document.completed_at is None:
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

    def remove(self, entry: Entry) -> None:
        """The index has it for good. If the row stays after a crash, it is projected again and then goes."""
        del self.entries[entry.document.id]
        self.turn.write_later(REMOVE, entry.place)

    def enqueue(self, entry: Entry) -> None:
        """Let it wait at its place; for another agent than those that it failed on."""
        self.queue.add(self.waiting(entry))
        deadline = deadline_of(entry.document)
        if deadline is not None:
            heapq.heappush(self._queue_deadlines, (deadline, entry.document.id))

    def waiting(self, entry: Entry) -> Waiting:
        """A prediction as the queue sees it, and what it will probably cost."""
        document = entry.document
        cost_s = self.forecast.predicted(document.version, document.token, document.user)
        return waiting_of(document, entry.place, min(UNKNOWN_S, document.run_s) if cost_s is None else cost_s)

    def run(self, entry: Entry, attempt: int) -> None:
        """An attempt of it is open: it waits no longer, and its owners are charged."""
        entry.attempt = attempt
        self.running[entry.document.id] = entry
        entry.charged, entry.charged_at = self.waiting(entry), self.turn.monotonic
        self.queue.began(entry.charged)

    def stop(self, entry: Entry, *, counts: bool = True) -> None:
        """No attempt of it is open any more. What does not count is given back to its owners."""
        self.running.pop(entry.document.id, None)
        entry.attempt, entry.session, entry.deadline = 0, None, None
        if (charged := entry.charged) is not None:
            entry.charged = None
            took_s = self.turn.monotonic - entry.charged_at if counts else 0.0
            self.queue.ended(charged.flow, charged.cost_s, took_s)

    def flush(self) -> None:
        """At the end of each turn: stage what it changed, and set the alarm and the timer that follow."""
        for entry in self._dirty.values():
            document = encode(replace(entry.document, input=b""))
            if entry.stored:
                self.turn.write(UPDATE, document, entry.place)
            else:
                entry.stored = True
                self.turn.write(INSERT, entry.place, entry.document.urgency, entry.document.input, document)
        self._dirty.clear()
        self._set_alarm()
        self._set_timer()

    # --- the persisted alarm: limits of waiting -----------------------------------------------------------

    def waited_too_long(self) -> list[Entry]:
        """When the alarm is due: the queued predictions whose limit is over."""
        over, due, now = [], self._queue_deadlines, self.turn.now
        while due and (due[0][0] <= now or due[0][1] not in self.queue):
            _, prediction = heapq.heappop(due)
            entry = self.entries.get(prediction)
            if entry and prediction in self.queue and (deadline_of(entry.document) or 0) <= now:
                over.append(entry)
        self._alarm_at = None
        self.turn.alarm_at(None)
        return over

    def _set_alarm(self) -> None:
        """The alarm may be early, never late: it is moved only when something must come before it."""
        due = self._queue_deadlines
        if len(due) > 2 * len(self.queue) + _SLACK:
            self._queue_deadlines = due = [item for item in due if item[1] in self.queue]
            heapq.heapify(due)
        if due and (self._alarm_at is None or due[0][0] < self._alarm_at):
            self._alarm_at = due[0][0]
            self.turn.alarm_at(self._alarm_at)

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
