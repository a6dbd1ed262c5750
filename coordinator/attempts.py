"""The life of attempts: begun, given to a session, lost, taken up again, canceled, concluded.

Every function here is part of a turn of the coordinator (``model.py``).
"""

from collections.abc import Callable, Iterable
from hmac import compare_digest
from typing import Any, Literal

from msgspec import Raw
from msgspec.structs import replace

from coordinator import legacy
from coordinator.blobs.keys import is_key, output_prefix
from coordinator.book import Book, Entry, Session
from coordinator.calls import SocketAddress
from coordinator.elsewhere import Elsewhere, errand_of
from coordinator.long_inputs import LongDispatch
from coordinator.offers import Offers
from coordinator.outcomes import REPEATED, Outcome, fault_of, final
from coordinator.overflow.errand import Errand
from coordinator.prediction import Attempt, ErrorCode, Happening, Status
from coordinator.protocol import messages as wire
from coordinator.scheduling.flow import Waiting
from coordinator.spans import trace_of
from coordinator.waiting import in_vain, too_long, waits_until
from coordinator.workers import Fault, Strike, Workers

REFUSALS_KEPT = 10
"""Refused attempts that are remembered of a prediction: what goes to and fro must not grow without end."""
ATTEMPT_LOG_CHARS = 16_384
"""Of the logs of an attempt that was given up so much is kept, of their end: beside others' in one row."""
OVERRUN_S = 30.0
"""How long an agent may overrun a limit that it keeps itself before the coordinator acts without it."""


class Attempts:
    """``token`` makes secrets of 128 bits or more; ``link`` makes a signed path to a stored input file."""

    def __init__(
        self, book: Book, workers: Workers, token: Callable[[], str], link: Callable[[str], str]
    ) -> None:
        self.offers = Offers(workers)
        self._book = book
        self._workers = workers
        self._token = token
        self._link = link
        self.elsewhere = Elsewhere(book, workers, self._begin)
        self._told: tuple[bool, int] | None = None
        """Whether something waited, and how often standings had changed, when demand was told last."""

    # --- begin --------------------------------------------------------------------------------------------

    def take(self, entry: Entry) -> None:
        """Give a new one to whoever offers, or let it wait."""
        book = self._book
        entry.waiting = book.waiting(entry)
        if (session := book.queue.at_once(entry.waiting, self.offers.best())) is not None:
            self._begin(entry, session)
        else:
            book.enqueue(entry)
            self.elsewhere.hurry(entry)
            self.dispatch()

    def dispatch(self) -> None:
        """Give what waits to whoever offers, as long as there are both."""
        book, aside = self._book, []
        while book.queue:
            picked = self._pick()
            if picked is None:
                break
            waiting, session = picked
            if session.agent in waiting.avoid and self._another(waiting):
                book.queue.discard(waiting.id)
                aside.append(waiting)
            else:
                self._begin(book.entries[waiting.id], session)
        for waiting in aside:
            book.queue.add(waiting)
        self.elsewhere.dispatch()
        if book.queue:
            self._wake_for_probes()
        self.tell_demand()

    def _another(self, waiting: Waiting) -> bool:
        """Whether there is an agent that it has not failed on, busy or not: then it waits for that one."""
        return any(
            session.agent not in waiting.avoid
            and not session.leaving
            and waiting.flow.needs.met_by(session.version, session.gpus)
            and self._workers.takes_work(session.agent)
            for session in self._book.sessions.values()
        )

    def tell_demand(self) -> None:
        """An agent that shares its slots among models hears when something begins to wait for this one, and
        when nothing does any more."""
        waiting = len(self._book.queue)
        state = (waiting > 0, self._workers.changes)
        if state == self._told and not self._workers.quarantine:  # whether one may be tried depends on time
            return
        self._told = state
        for session in self._book.sharing.values():
            if session.demand is not (wanted := self._wanted(session, waiting)):
                session.demand = wanted
                demand = wire.Demand(channel=session.channel, waiting=waiting if wanted else 0)
                self._book.turn.send(session.address, demand)

    def ask_demand_anew(self) -> None:
        """A session came that nobody has told yet, or one is leaving."""
        self._told = None

    def _wanted(self, session: Session, waiting: int) -> bool:
        """Whether this session would be given something if it had a slot."""
        if not waiting or session.leaving:
            return False
        return self._workers.takes_work(session.agent) or self._workers.takes_probe(session.agent)

    def _wake_for_probes(self) -> None:
        """Something waits: look again when a worker in quarantine may be tried."""
        seconds = self._workers.next_probe_in_s(session.agent for session in self.offers.aside())
        if seconds:
            self._book.wake_in(seconds)

    def _pick(self) -> tuple[Waiting, Session] | None:
        """What runs next and where; a worker in quarantine is tried only with what no other one takes."""
        queue, now = self._book.queue, self._book.turn.now
        offers = self.offers.best()
        picked = queue.pick(offers, now) if offers else None
        if picked is not None and picked[1].agent in picked[0].avoid:
            return queue.pick(self.offers.all(), now)  # its equals, too
        if picked is None:
            probes = [session for session in self.offers.aside() if self._workers.takes_probe(session.agent)]
            picked = queue.pick(probes, now) if probes else None
        return picked

    def _begin(self, entry: Entry, session: Session) -> None:
        """Number the attempt, have it committed, send it."""
        document, overflow = entry.document, entry.document.overflow
        provider = overflow.provider if overflow is not None and session.elsewhere else ""
        attempt = Attempt(
            number=1 + max((a.number for a in document.attempts), default=0),
            agent=session.agent,
            agent_name=provider or session.agent_name,
            incarnation=session.incarnation,
            dispatched_at=self._book.turn.now,
            secret=self._token(),
            key=self._token(),
            legacy=session.legacy,
            provider=provider,
        )
        if not document.attempts:
            self._book.tally.waits.add(max(0, attempt.dispatched_at - document.created_at) / 1_000_000)
        version = document.version if document.pinned or provider else session.version
        attempts = (*_remembered(document.attempts), attempt)
        retries = session.retries if document.retries is None else document.retries
        self._book.change(entry, Happening.DISPATCHED, attempts=attempts, version=version, retries=retries)
        self._open(entry, attempt)
        self._give(entry, session)
        self._send(entry, attempt, session)

    def _open(self, entry: Entry, attempt: Attempt) -> None:
        entry.begun = entry.ours = False
        self._book.run(entry, attempt.number)
        self._workers.began(attempt.agent, entry.document.id)

    def _give(self, entry: Entry, session: Session) -> None:
        """The open attempt is with this session; its agent keeps the run limit, we watch from further off."""
        entry.session = session
        entry.ours = False
        overrun_s = 0.0 if session.legacy else OVERRUN_S  # nobody else keeps the limit of such a worker
        self._book.set_deadline(entry, entry.document.run_s + self._book.limits.cancel_grace_s + overrun_s)

    def _send(self, entry: Entry, attempt: Attempt, session: Session, *, again: bool = False) -> None:
        session.sent += 1
        self.offers.update(session)
        document = entry.document
        if attempt.provider:
            self._tell(session, entry, errand_of(self._book.number, entry, attempt, again=again))
            if document.cancel_requested:
                self._send_cancel(entry, attempt.number, session)
            return
        dispatch = wire.Dispatch(
            channel=session.channel,
            prediction=document.id,
            attempt=attempt.number,
            secret=attempt.secret,
            input=Raw(document.input),
            run_s=document.run_s,
            files={url: self._link(key) for url, key in document.input_files.items()},
            trace=trace_of(document, attempt.number) if session.protocol >= 4 else None,
        )
        self._tell(session, entry, dispatch)

    def _tell(self, session: Session, entry: Entry, what: wire.Dispatch | Errand) -> None:
        """Send it, with its input where that is long."""
        long = entry.document.long_input
        self._book.turn.send(session.address, what if long is None else LongDispatch(what, long))

    def started(self, entry: Entry, started_at: int) -> None:
        """Running is progress, not a row: after a restart of the server the agent says it again."""
        started_at = entry.document.started_at or started_at
        entry.begun = True
        first = entry.document.status is Status.STARTING
        self._book.change(entry, Happening.ACCEPTED, durable=False, started_at=started_at)
        self._book.turn.notify_at_once(entry.document.id)
        if first:
            self._book.feeds.said(entry, ("start",))

    def restore(self, entry: Entry, attempt: Attempt) -> None:
        """After a load: the attempt may well be running, so its agent gets a fresh lease."""
        self._open(entry, attempt)
        entry.begun = entry.ours = True
        if attempt.provider:
            self.elsewhere.call()
        elif entry.document.cancel_requested:
            self.fence(entry)
            return
        self._book.change(entry, Happening.ACCEPTED, durable=False)
        if attempt.legacy:
            self._book.set_deadline(entry, legacy.BACK_S)
        else:
            self._lease(entry)

    def _lease(self, entry: Entry) -> None:
        """How long its agent may stay away. What must not be repeated waits as long as it may run."""
        document = entry.document
        lease_s = document.lease_s or self._book.limits.lease_s
        self._book.set_deadline(entry, document.run_s if self._once(entry) else lease_s)

    def _once(self, entry: Entry) -> bool:
        """Whether it must not be repeated, whatever becomes of its worker."""
        return entry.document.retries == 0 or entry.document.max_attempts == 1

    # --- an agent attaches, or goes -----------------------------------------------------------------------

    def judge(self, session: Session, held: wire.Held) -> wire.Verdict:
        """What becomes of an attempt that an attaching agent still holds."""
        entry = self._book.entries.get(held.prediction)
        attempt = proven(entry, held.attempt, held.secret)
        if entry is None or attempt is None or entry.document.status.terminal:
            return _verdict(held, "drop" if held.state == "finished" else "cancel")
        if not entry.attempt and not entry.document.cancel_requested:
            self._reopen(entry, attempt)
        if entry.attempt == held.attempt:
            self._give(entry, session)
            if held.started_at is not None:
                self.started(entry, held.started_at)
        elif held.state == "running":
            entry.strays[held.attempt] = session
        return _verdict(held, "keep", entry.history.last_seq + 1)

    def _reopen(self, entry: Entry, attempt: Attempt) -> None:
        """A cut-off agent is back with what had been given up, and nobody else has begun it."""
        attempts = _with(entry, replace(attempt, ended_at=None, outcome=None, reason="", logs=""))
        self._book.change(entry, Happening.DISPATCHED, attempts=attempts)
        self._open(entry, attempt)

    def reconcile(self, session: Session) -> None:
        """The attempts that we believe to be with this agent and that it did not list: never received by this
        process of it, then they are sent again under the same number; or lost with an older one."""
        away = [e for e in self._book.running.values() if e.session is None]
        for entry in away:
            attempt = entry.find(entry.attempt)
            if attempt is None or attempt.agent != session.agent:
                continue
            same = attempt.incarnation == session.incarnation and not entry.history.last_seq
            if same or attempt.provider:
                self._give(entry, session)
                self._send(entry, attempt, session, again=True)
            else:
                self._lost(entry, f"{attempt.agent_name} came back without it")

    def not_let_in(self, hello: wire.Hello, attach: wire.Attach) -> str | None:
        """Why this worker of 2022 gets no session. What it had on another connection is lost."""
        for entry in [e for e in self._book.running.values() if e.session is None]:
            attempt = entry.find(entry.attempt)
            if attempt and attempt.agent == hello.agent and attempt.incarnation != hello.incarnation:
                self._lost(entry, legacy.CUT)
        refusal = None if attach.held else legacy.refusal(self._workers, hello.agent)
        if refusal is not None:
            self.dispatch()
        return refusal

    def taken_back(self, session: Session) -> None:
        """A worker of 2022 attaches again on the same connection: what it has is as it was."""
        self._book.sessions.pop(session.address, None)
        self.offers.remove(session)
        for entry in [e for e in self._book.running.values() if e.session is session]:
            entry.session = None
            self._book.set_deadline(entry, legacy.BACK_S)

    def session_gone(self, session: Session, *, silent: bool = False) -> None:
        """Canceled predictions end now, the others keep their lease; what a worker of 2022 ran is lost, or
        not begun when it went in silence."""
        self._book.sessions.pop(session.address, None)
        self._book.sharing.pop(session.address, None)
        self._book.leaving.pop(session.address, None)
        self.offers.remove(session)
        self._workers.gone(session.agent)
        if silent:
            legacy.reported(self._workers, session, session.unreported)
        for entry in [e for e in self._book.running.values() if e.session is session]:
            entry.session = None
            if entry.document.cancel_requested:
                self.fence(entry)
            elif not session.legacy or session.concluding == entry.document.id:
                self._lease(entry)
            elif silent:
                self._close(entry, Outcome.CRASHED, Happening.LOST, legacy.HUNG_UP)
                self._again(entry)
            else:
                self._lost(entry, legacy.CUT)

    # --- it does not finish -------------------------------------------------------------------------------

    def returned(self, entry: Entry, reason: str) -> None:
        """The agent would not run it, or gave it back: to the head, and it does not count."""
        begun = entry.begun
        self._close(entry, Outcome.REFUSED, Happening.RETURNED, reason)
        if entry.document.cancel_requested:
            self._end_canceled(entry)
        elif begun and reason != "busy" and self._once(entry):
            error = "its worker gave it back unfinished, and it is one that must not be repeated"
            self._end(entry, Happening.FAILED, error=error, error_code=ErrorCode.WORKER_LOST)
        else:
            self._book.enqueue(entry)

    def overdue(self, entry: Entry) -> None:
        """The deadline of an open attempt is over; which one it was follows from the state."""
        total = entry.document.total_deadline_at
        if total is not None and total <= self._book.turn.now and not entry.document.cancel_requested:
            seconds = (total - entry.document.created_at) / 1_000_000
            error = f"did not end within its limit of {seconds:g} s for waiting and running together"
            self.request_cancel(entry, error, ErrorCode.TOTAL_TIMEOUT)
        elif entry.document.cancel_requested:
            self.fence(entry)
        elif entry.session is None:
            self._lost(entry, "not heard of until its lease was over")
        else:
            error = f"ran longer than its limit of {entry.document.run_s:g} s"
            self.request_cancel(entry, error, ErrorCode.RUN_TIMEOUT)

    def waited_too_long(self, entry: Entry) -> None:
        """What waits has reached its deadline."""
        error = too_long(entry.document, len(self._book.sessions), paused=self._workers.paused)
        self._end(entry, Happening.CANCELED, error=error, error_code=in_vain(entry.document))

    def _lost(self, entry: Entry, reason: str) -> None:
        """The agent did not come back in time, or came back without it."""
        attempt = entry.find(entry.attempt)
        if attempt is not None and attempt.legacy:
            self._lost_by_legacy(entry, attempt, reason)
            return
        ours = entry.ours or attempt is None or attempt.provider
        if attempt is not None and not ours and not entry.document.cancel_requested:
            self._strike(entry, attempt, Fault.WORKER, reason)
        self._close(entry, Outcome.LOST, Happening.LOST, reason)
        if entry.document.cancel_requested:
            self._end_canceled(entry)
        else:
            self._again(entry)

    def _lost_by_legacy(self, entry: Entry, attempt: Attempt, reason: str) -> None:
        """No report will ever come. What our own restart has cost does not count."""
        if entry.ours:
            legacy.unreported(self._workers, attempt, None, entry.document.id)
            self.returned(entry, "the server restarted while a worker of 2022 ran it")
            return
        self._workers.distrust(attempt.agent, attempt.agent_name, reason)
        self._close(entry, Outcome.LOST, Happening.LOST, reason)
        self._again(entry)

    def _again(self, entry: Entry, **result: Any) -> None:
        """An attempt ended early: to the head, for another worker first; or that was the last one, and
        ``result`` is what there is of it."""
        document, limits = entry.document, self._book.limits
        failure = final(
            document.attempts,
            retries=document.retries,
            max_attempts=document.max_attempts or limits.max_attempts,
            poison_after=limits.poison_after,
        )
        if failure is None:
            self._book.enqueue(entry)
        else:
            result |= {"error": failure.error, "error_code": failure.code}
            self._end(entry, Happening.FAILED, **result)

    def _strike(self, entry: Entry, attempt: Attempt, fault: Fault, what: str) -> None:
        document = entry.document
        strike = Strike(prediction=document.id, token=document.token, fault=fault, what=what)
        self._workers.failed(attempt.agent, attempt.agent_name, strike)

    def _close(self, entry: Entry, outcome: Outcome, happening: Happening, reason: str) -> None:
        attempt = entry.find(entry.attempt)
        if attempt is None:
            return
        now = self._book.turn.now
        self._workers.over(attempt.agent, entry.document.id)
        self._book.stop(entry, counts=outcome in (Outcome.FENCED, Outcome.CRASHED))
        logs = entry.history.logs()[-ATTEMPT_LOG_CHARS:]
        closed = replace(attempt, ended_at=now, outcome=outcome.value, reason=reason, logs=logs)
        self._book.change(
            entry,
            happening,
            attempts=_with(entry, closed),
            queue_deadline_at=waits_until(
                replace(entry.document, attempts=_with(entry, closed)), now, self._book.limits.queue_s
            ),
        )

    # --- cancel -------------------------------------------------------------------------------------------

    def request_cancel(self, entry: Entry, error: str | None, code: ErrorCode) -> None:
        """Durable and one-way. Terminal at once when nothing runs, or when its worker cannot be told."""
        if not entry.attempt:
            self._end(entry, Happening.CANCELED, error=error, error_code=code)
            return
        self._book.change(entry, None, cancel_requested=True, error=error, error_code=code)
        attempt = entry.find(entry.attempt)
        if entry.session is None and attempt is not None and attempt.provider:
            self._book.set_deadline(entry, self._book.limits.cancel_grace_s + OVERRUN_S)  # its door is told
        elif entry.session is None or entry.session.legacy:
            self.fence(entry)
        else:
            self._send_cancel(entry, entry.attempt, entry.session)
            self._book.set_deadline(entry, self._book.limits.cancel_grace_s + OVERRUN_S)

    def fence(self, entry: Entry) -> None:
        """End a canceled prediction without its worker: what that one still reports is dropped."""
        attempt = entry.find(entry.attempt)
        if attempt is not None and attempt.legacy:
            legacy.unreported(self._workers, attempt, entry.session, entry.document.id)
        self._close(entry, Outcome.FENCED, Happening.LOST, "canceled while it could not be told")
        self._end_canceled(entry)

    def _end_canceled(self, entry: Entry) -> None:
        self._end(entry, Happening.CANCELED)

    def _send_cancel(self, entry: Entry, attempt: int, session: Session) -> None:
        cancel = wire.Cancel(
            channel=session.channel,
            prediction=entry.document.id,
            attempt=attempt,
            grace_s=self._book.limits.cancel_grace_s,
        )
        self._book.turn.send(session.address, cancel)

    def _end(self, entry: Entry, happening: Happening, **changes: Any) -> None:
        """Make it terminal, and free whoever runs it all the same."""
        attempt = entry.find(entry.attempt)
        if attempt is not None:
            self._workers.over(attempt.agent, entry.document.id)
        working = dict(entry.strays)
        if entry.attempt and entry.session is not None:
            working[entry.attempt] = entry.session
        self._book.end(entry, happening, **changes)
        for number, session in working.items():
            if session.legacy and (running := entry.find(number)):
                legacy.unreported(self._workers, running, session, entry.document.id)
            else:
                self._send_cancel(entry, number, session)

    # --- results ------------------------------------------------------------------------------------------

    def wanted(self, message: wire.Finished) -> Entry | None:
        """The prediction that this report may end: one of the current attempt, or a success of any."""
        entry = self._book.entries.get(message.prediction)
        if entry is None or entry.document.status.terminal:
            return None
        if proven(entry, message.attempt, message.secret) is None:
            return None
        if message.attempt == entry.attempt:
            return entry
        return entry if message.status == "succeeded" and not entry.document.cancel_requested else None

    def conclude(self, entry: Entry, message: wire.Finished, missing: str | None) -> None:
        """Make the prediction terminal by this report; ``missing`` says what is wrong with its files."""
        document = entry.document
        self._judge_worker(entry, message, missing)
        entry.strays.pop(message.attempt, None)
        if entry.attempt == message.attempt:
            entry.session = None  # this one is done; whoever else runs it is not
        output = bytes(message.output)
        result: dict[str, Any] = {
            "output": None if output == b"null" else output,
            "files": message.files,
            "logs": message.logs,
            "metrics": wire.encode(message.metrics),
            "started_at": message.started_at or document.started_at,
        }
        if document.cancel_requested:
            if message.files:  # nobody has looked whether they are there, or whose they are
                result |= {"output": None, "files": ()}
            self._end(entry, Happening.CANCELED, **result)
        elif message.status == "failed" and message.error_code in REPEATED:
            if missing is not None:
                result |= {"output": None, "files": ()}
            outcome = REPEATED[message.error_code]
            self._close(entry, outcome, Happening.LOST, message.error or "")
            self._again(entry, **result)
        elif missing is not None:
            result |= {"output": None, "files": (), "error": missing, "error_code": ErrorCode.OUTPUT_LOST}
            self._end(entry, Happening.FAILED, **result)
        else:
            failed = ErrorCode.MODEL_ERROR if message.status == "failed" else None
            result |= {"error": message.error, "error_code": message.error_code or failed}
            self._end(entry, Happening(message.status), **result)

    def _judge_worker(self, entry: Entry, message: wire.Finished, missing: str | None) -> None:
        """What the result says of the worker; nothing, when it was canceled or its files are in question."""
        attempt = entry.find(message.attempt)
        if attempt is None or missing is not None or entry.document.cancel_requested or attempt.provider:
            return
        if message.status == "succeeded":
            self._workers.succeeded(attempt.agent)
        elif message.status == "failed" and (fault := fault_of(message)) is not None:
            self._strike(entry, attempt, fault, message.error or message.error_code or "an error")
            crashed = {a.agent for a in entry.document.attempts if a.outcome == Outcome.CRASHED}
            if message.error_code == "runner_crashed" and crashed - {attempt.agent}:
                for agent in crashed | {attempt.agent}:
                    self._workers.excuse(agent, entry.document.id)

    def acknowledge(self, address: SocketAddress, message: wire.Finished) -> None:
        """Once durable: the agent may forget the result."""
        ack = wire.Ack(channel=message.channel, prediction=message.prediction, attempt=message.attempt)
        self._book.turn.send(address, ack)


def own_files(entry: Entry, attempt: Attempt, files: Iterable[wire.StoredFile]) -> bool:
    """Whether each file was stored by this attempt: an agent may not hand out what others stored."""
    if attempt.legacy:
        prefix = legacy.files_prefix(entry.document.model)
    else:
        prefix = output_prefix(entry.document.id, attempt.key)
    return all(file.key.startswith(prefix) and is_key(file.key) for file in files)


def proven(entry: Entry | None, number: int, secret: str) -> Attempt | None:
    """The attempt of that number, if the secret is its own."""
    attempt = None if entry is None else entry.find(number)
    if attempt is None:
        return None
    # As bytes: strings that are not ASCII cannot be compared, and an agent may send anything.
    return attempt if compare_digest(attempt.secret.encode(), secret.encode()) else None


def _remembered(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The attempts without the oldest refused ones, when there are many."""
    refused = [a.number for a in attempts if a.outcome == Outcome.REFUSED and not a.doubtful]
    forgotten = set(refused[:-REFUSALS_KEPT])
    return tuple(a for a in attempts if a.number not in forgotten) if forgotten else attempts


def _verdict(held: wire.Held, verdict: Literal["keep", "cancel", "drop"], from_seq: int = 1) -> wire.Verdict:
    return wire.Verdict(prediction=held.prediction, attempt=held.attempt, verdict=verdict, from_seq=from_seq)


def _with(entry: Entry, attempt: Attempt) -> tuple[Attempt, ...]:
    """The prediction's attempts, with this one as it is now."""
    return tuple(attempt if a.number == attempt.number else a for a in entry.document.attempts)
