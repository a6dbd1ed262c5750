"""What runs at a provider, as a coordinator has to do with it: who may go, when, and what holds them up.

The door to the providers (``overflow/door.py``) is one more session, beside those of the workers: it counts
as none of them. It speaks as an agent does, in the same process. Every function here is part of a turn of the
coordinator (``model.py``).
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from coordinator import calls
from coordinator.book import Book, Entry, Session
from coordinator.outcomes import Outcome
from coordinator.overflow.candidates import Group
from coordinator.overflow.errand import Errand
from coordinator.prediction import Attempt, Document
from coordinator.why import explain, fitting
from coordinator.workers import Workers

AGENT = "overflow"
"""The door, among the agents. In every process the same: what it has not finished is given to it again."""
_RECHECK_S = 1.0
"""When to look again at what is tried after a pause, while it is not known what becomes of it."""


class Pause(msgspec.Struct):
    """Nothing of a token goes until then; afterwards one does, and the others once that has begun."""

    until: int
    reason: Literal["overflow_cap", "overflow_paused"]
    detail: str
    trial: str = ""
    """The prediction that is tried."""


class Elsewhere:
    """``begin`` opens an attempt of a prediction with a session."""

    def __init__(self, book: Book, workers: Workers, begin: Callable[[Entry, Session], None]) -> None:
        self._book = book
        self._workers = workers
        self._begin = begin
        self._pauses: dict[tuple[str, str], Pause] = {}
        """By token, or by token and version."""
        self._called = False

    # --- the door -----------------------------------------------------------------------------------------

    def call(self) -> None:
        """Have the door come, unless it is here or on its way."""
        if self._book.provider is None and not self._called:
            self._called = True
            self._book.turn.effect(calls.CallOverflow())

    def attached(self, call: calls.AttachOverflow) -> Session:
        """The door is here, or here again."""
        self._called = False
        session = self._book.provider = Session(
            address=call.address,
            channel=0,
            agent=AGENT,
            agent_name=AGENT,
            incarnation=AGENT,
            version="",
            granted=call.granted,
            elsewhere=True,
        )
        for entry in self._book.running.values():
            if entry.session is not None and entry.session.elsewhere:
                entry.session = None
        return session

    # --- who goes -----------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Let those go who may, as long as the door takes more."""
        book = self._book
        if not book.candidates:
            return
        self.call()
        session = book.provider
        while self._takes(session) and (entry := self._next()) is not None:
            assert session is not None
            for pause in self._held_by(entry.document):
                pause.trial = entry.document.id
            self._begin(entry, session)

    def hurry(self, entry: Entry) -> None:
        """It has just begun to wait: if that will probably take longer than it is to, it need not at all."""
        book, overflow = self._book, entry.document.overflow
        if overflow is None or overflow.when != "wait_over" or entry.waiting is None:
            return
        eta_s = explain(book, self._workers, entry).eta_p50_s
        if eta_s is not None and eta_s > overflow.wait_s:
            book.candidates.remove(entry.document.id)
            book.consider(entry, due=book.turn.now)

    def _takes(self, session: Session | None) -> bool:
        return session is not None and session.free > 0 and self._workers.takes_work(session.agent)

    def _next(self) -> Entry | None:
        candidates, book = self._book.candidates, self._book
        for group in candidates:
            found = candidates.first(group, self._open)
            if found is not None and self._due(group, found[1], wake=True):
                return book.entries[found[0]]
        return None

    def _open(self, prediction: str) -> bool:
        """Whether its token has nothing against it."""
        book, entry = self._book, self._book.entries[prediction]
        assert entry.waiting is not None
        if self._full(entry.document) or self._pause_of(entry.document) is not None:
            return False
        return not book.queue.held(entry.waiting)

    def _full(self, document: Document) -> bool:
        """Whether as many of its token run there as may: one token takes nothing from another."""
        return self._book.away[document.token] >= self._book.limits.overflow_running

    def _due(self, group: Group, rank: tuple[Any, ...], *, wake: bool = False) -> bool:
        """Whether the rule of the group lets its first one go."""
        book = self._book
        if group.when == "always":
            return True
        if group.when == "wait_over":
            left = rank[0] - book.turn.now
            if left > 0 and wake:
                book.wake_in(left / 1e6)
            return bool(left <= 0)
        if group.when == "saturated" and len(book.queue) > len(book.sessions) + 1:
            return True
        return not any(self._workers.takes_work(s.agent) for s in fitting(book, group.needs))

    # --- what holds them up -------------------------------------------------------------------------------

    def hold(self, document: Document, call: calls.OverflowHeld) -> None:
        """Nothing of this token is to be tried until then, or nothing of it that wants the same."""
        key = _keys(document)[call.version_only]
        self._pauses[key] = Pause(call.until, call.reason, call.detail)

    def begun(self, document: Document) -> None:
        """The provider takes what this token sends."""
        for key in _keys(document):
            self._pauses.pop(key, None)

    def reason(self, entry: Entry) -> calls.Reason | None:
        """Why it does not run at a provider although it might; None when nothing but its rule says so."""
        document, book = entry.document, self._book
        group_rank = book.group_of(entry)
        if group_rank is None or entry.attempt or document.status.terminal or self._workers.paused:
            return None
        if not self._due(*group_rank):
            return None
        for pause in self._held_by(document):
            return pause.reason
        return "overflow_full" if self._full(document) or not self._takes(book.provider) else None

    def _pause_of(self, document: Document) -> Pause | None:
        """What holds it up now; looked at again when that is over."""
        turn = self._book.turn
        for pause in self._held_by(document):
            if pause.until > turn.now:
                self._book.wake_in((pause.until - turn.now) / 1e6)
                return pause
            if pause.trial in self._book.running:
                self._book.wake_in(_RECHECK_S)
                return pause
        return None

    def _held_by(self, document: Document) -> list[Pause]:
        return [pause for key in _keys(document) if (pause := self._pauses.get(key)) is not None]

    # --- to operators -------------------------------------------------------------------------------------

    def described(self) -> calls.Worker | None:
        """The door as one of the workers, once anything was to go there."""
        session, now = self._book.provider, self._book.turn.now
        if session is None:
            return None
        standing = self._workers.standing(AGENT)
        pauses = sorted(self._pauses.values(), key=lambda pause: pause.until)
        paused = next((pause for pause in pauses if pause.until > now), None)
        state = "ok" if paused is None else "paused"
        return calls.Worker(
            agent=AGENT,
            name=AGENT,
            attached=True,
            state=standing.state if standing is not None and standing.state != "ok" else state,
            reason="" if paused is None else paused.detail,
            running=sum(e.session is session for e in self._book.running.values()),
            probe_at=None if paused is None else paused.until,
        )


def _keys(document: Document) -> tuple[tuple[str, str], tuple[str, str]]:
    assert document.overflow is not None
    target = document.overflow
    return (document.token, ""), (document.token, f"{target.model}:{target.version}")


def errand_of(number: int, entry: Entry, attempt: Attempt, *, again: bool) -> Errand:
    """``again``: it was sent before, and may have begun."""
    document = entry.document
    assert document.overflow is not None
    unknown = [a.dispatched_at for a in document.attempts if _may_run(a) or (again and a is attempt)]
    return Errand(
        number=number,
        prediction=document.id,
        attempt=attempt.number,
        secret=attempt.secret,
        key=attempt.key,
        account=document.account,
        token=document.token,
        input=document.input,
        input_files=document.input_files,
        run_s=document.run_s,
        streams=document.streams,
        target=document.overflow,
        dispatched_at=attempt.dispatched_at,
        remote=attempt.remote,
        since=min(unknown, default=0),
    )


def with_attempt(document: Document, number: int, **changes: Any) -> tuple[Attempt, ...]:
    """The attempts, one of which has changed."""
    return tuple(replace(a, **changes) if a.number == number else a for a in document.attempts)


def _may_run(attempt: Attempt) -> bool:
    """Whether it was given up without anybody knowing if the provider has begun it."""
    unclear = attempt.doubtful or attempt.outcome == Outcome.LOST
    return bool(attempt.provider) and not attempt.remote and unclear
