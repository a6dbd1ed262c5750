"""The coordinator of one model in one pool: what clients and agents may ask of it.

An actor (``actor/turn.py``): every method is one turn, single-threaded, without I/O. What must outlive the
process is a row of ``MODEL_SCHEMA``; leases, credits, progress and listeners are memory only.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from coordinator import calls, legacy
from coordinator.actor.storage import Read, Rows
from coordinator.actor.turn import Fetch, Hold, Turn, Wait
from coordinator.attempts import Attempts, own_files, proven
from coordinator.backlog import ALARM
from coordinator.book import Book, Entry, Session, end_of, snapshot
from coordinator.elsewhere import with_attempt
from coordinator.figures import Figures, figures
from coordinator.letters import COGFLARE
from coordinator.model_schema import BY_ID, FACTS, WORKERS
from coordinator.outbox import LaneRead, LetterRead
from coordinator.outbox_schema import LETTER, LETTERS_DUE
from coordinator.prediction import Document, ErrorCode
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from coordinator.randomness import Randomness
from coordinator.recall import Recall
from coordinator.repeats import Repeats
from coordinator.scheduling.flow import Gpu, Needs
from coordinator.tally import Tally
from coordinator.why import explain, fitting
from coordinator.workers import Standing, Workers

N = TypeVar("N", int, float)
_randomness = Randomness()


class Model:
    """See the module. ``link`` makes a signed path to a stored input file, ``token`` an attempt's secrets."""

    def __init__(
        self,
        number: int,
        limits: ServerLimits,
        link: Callable[[str], str],
        token: Callable[[], str] | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._book = Book(number, limits, tally)
        self._workers = Workers(limits)
        self._repeats = Repeats(_randomness.token)
        self._attempts = Attempts(self._book, self._workers, token or _randomness.token, link)
        self._calls: dict[type, Callable[[Any], Any]] = {
            calls.Create: self._create,
            calls.CreateMany: self._create_many,
            calls.Get: self._get,
            calls.Why: self._why,
            calls.AskRoom: self._ask_room,
            calls.Cancel: self._cancel,
            calls.EventsAfter: self._events_after,
            calls.AttachSession: self._attach,
            calls.FromAgent: self._from_agent,
            calls.DetachSession: self._detach,
            calls.FilesChecked: self._files_checked,
            calls.Indexed: self._indexed,
            calls.MarkWorker: self._mark_worker,
            calls.AskWorkers: self._ask_workers,
            calls.Pause: self._pause,
            calls.LetterRendered: self._letter_rendered,
            calls.LetterSent: self._letter_sent,
            calls.ProgressSent: self._progress_sent,
            calls.AttachOverflow: self._attach_overflow,
            calls.OverflowBegun: self._overflow_begun,
            calls.OverflowHeld: self._overflow_held,
        }
        self._messages: dict[type, Callable[[Session, Any], None]] = {
            wire.Credit: self._credit,
            wire.Accepted: self._accepted,
            wire.Refused: self._refused,
            wire.Progress: self._progress,
            wire.Finished: self._finished,
            wire.Upload: self._upload,
            wire.Detach: self._detach_wanted,
            wire.ModelState: self._model_state,
        }

    # --- the actor ----------------------------------------------------------------------------------------

    def loaded(self, turn: Turn, rows: Mapping[str, Rows]) -> None:
        self._book.turn = self._workers.turn = turn
        self._workers.load(rows[WORKERS])
        self._book.load_facts(rows[FACTS])
        self._workers.load_facts(rows[FACTS])
        for entry in self._book.load(rows):
            document = entry.document
            attempt = next((a for a in document.attempts if a.ended_at is None), None)
            if document.status.terminal:
                continue
            if attempt is None:
                self._book.enqueue(entry)
            else:
                self._attempts.restore(entry, attempt)

    def handle(self, turn: Turn, call: Any, rows: Sequence[Rows] | None = None) -> Any:
        if isinstance(call, calls.AskDeliveries | calls.Redeliver):
            return self._about_letter(call, rows)
        if isinstance(call, calls.AskQueue):
            return Fetch((Read(LETTERS_DUE, ()),)) if rows is None else self._queue_is(rows[0][0][0])
        if rows is not None:
            for found in rows:
                for row in found:
                    self._book.take_up(row, waiting=True)
        elif missing := self._on_disk(call):
            return Fetch(tuple(Read(BY_ID, (prediction,)) for prediction in missing))
        return self._calls[type(call)](call)

    def rows(self, turn: Turn, tag: Any, rows: Sequence[Rows]) -> None:
        if isinstance(tag, LaneRead | LetterRead):
            self._book.outbox.rows(tag, rows[0])
        else:
            for entry in self._book.backlog.rows(tag, rows):
                self._attempts.waited_too_long(entry)
            self._attempts.dispatch()

    def over(self, turn: Turn) -> None:
        self._book.flush()

    def _on_disk(self, call: Any) -> list[str]:
        """The predictions that a call is about and that may wait on disk: they must be in memory first."""
        if not self._book.backlog.may_hide:
            return []
        return [prediction for prediction in calls.about(call) if prediction not in self._book.entries]

    def alarm(self, turn: Turn) -> None:
        if self._book.alarms.rang(ALARM, turn.now):
            self._book.backlog.alarm()
        self._book.outbox.rang(turn.now)

    def timer(self, turn: Turn) -> None:
        for entry in self._book.overdue():
            self._attempts.overdue(entry)
        self._see_off()
        self._book.feeds.timer()
        self._attempts.dispatch()

    def stalled(self, late_s: float) -> None:
        self._book.stalled(late_s)

    def idle(self) -> bool:
        """Queued predictions may wait on disk: their alarm, or an agent's attach, brings the object back;
        nothing does for those that may run at a provider."""
        book = self._book
        untold = book.ending or len(book.creations) or book.creations.page
        return not (book.sessions or book.running or book.candidates or untold)

    def figures(self) -> Figures:
        """How it is, for who watches: no turn, for it need not be durable."""
        return figures(self._book, self._workers, self._book.tally)

    # --- clients ------------------------------------------------------------------------------------------

    def _create(self, call: calls.Create) -> calls.Creation | Hold:
        reply = self._accept(call)
        if call.wait_s > 0 and isinstance(reply, calls.Found) and not reply.document.status.terminal:
            return Hold(end_of(call.id), call.wait_s, reply)
        return reply

    def _create_many(self, call: calls.CreateMany) -> calls.Created:
        return calls.Created(replies=tuple(map(self._accept, call.creates)))

    def _accept(self, call: calls.Create) -> calls.Creation:
        book = self._book
        if known := book.entries.get(call.id):
            return calls.Found(document=snapshot(known))
        if call.life and not self._repeats.may_begin(call.id, call.life):
            return self._unknown()
        if refusal := self._refusal(call.long_input.length if call.long_input else len(call.input)):
            return refusal
        now = book.turn.now
        limits = book.limits
        queue_s = _or(call.queue_s, limits.queue_s)
        impatient = call.max_wait_s is not None and call.max_wait_s < queue_s
        queue_s = min(queue_s, _or(call.max_wait_s, queue_s))
        document = Document(
            id=call.id,
            account=call.account,
            token=call.token,
            pool=call.pool,
            model=call.model,
            created_at=now,
            input=call.input,
            version=call.version,
            pinned=bool(call.version),
            input_files=call.input_files,
            long_input=call.long_input,
            streams=call.streams,
            queue_deadline_at=now + int(queue_s * 1e6),
            queue_s=queue_s,
            max_wait=impatient,
            run_s=_or(call.run_s, limits.run_s),
            total_deadline_at=None if call.total_s is None else now + int(call.total_s * 1e6),
            lease_s=_or(call.lease_s, limits.lease_s),
            retries=call.retries,
            max_attempts=limits.max_attempts if call.retries is None else call.retries + 1,
            urgency=call.urgency,
            user=call.user,
            gpu=call.gpu,
            gpu_memory=call.gpu_memory,
            account_share=call.account_share,
            token_share=call.token_share,
            max_running=call.max_running,
            webhook=call.webhook,
            webhook_events=call.webhook_events,
            redriven_from=call.redriven_from,
            deployment=call.deployment,
            own_id=call.own_id,
            metadata=call.metadata,
            dialect=call.dialect,
            destination=call.destination,
            overflow=call.overflow,
            retention_s=_or(call.retention_s, limits.retention_s),
            trace=call.trace,
        )
        entry = book.add(document)
        book.tally.created += 1
        book.feeds.said(entry, ("created",))
        if call.again:
            self._repeats.began(call.id)
        self._attempts.take(entry)
        return calls.Found(document=entry.document)

    def _refusal(self, input_bytes: int) -> calls.Refused | None:
        """Overload is refused before anything changes."""
        limits, queue, behind = self._book.limits, self._book.queue, len(self._book.creations)
        if len(queue) >= limits.queue_length:
            detail = f"{len(queue)} predictions wait for this model already (limit: queue_length)"
            return calls.Refused(code="queue_full", detail=detail, retry_after_s=5.0)
        if queue.input_bytes + input_bytes > limits.queue_bytes:
            detail = f"{queue.input_bytes} bytes of input wait for this model already (limit: queue_bytes)"
            return calls.Refused(code="queue_bytes_full", detail=detail, retry_after_s=5.0)
        if behind >= limits.index_backlog:
            detail = f"{behind} predictions of this model are not in the index yet (limit: index_backlog)"
            return calls.Refused(code="index_behind", detail=detail, retry_after_s=2.0)
        return None

    def _find(self, prediction: str, account: str) -> Entry | None:
        entry = self._book.entries.get(prediction)
        return entry if entry is not None and entry.document.account == account else None

    def _get(self, call: calls.Get) -> calls.Found | calls.Unknown:
        entry = self._find(call.id, call.account)
        if entry is None and call.by_id:
            found = self._book.entries.get(call.id)
            entry = found if found is not None and found.document.dialect == COGFLARE else None
        return self._unknown() if entry is None else calls.Found(document=snapshot(entry))

    def _unknown(self) -> calls.Unknown:
        return calls.Unknown(life=self._repeats.life)

    def _why(self, call: calls.Why) -> calls.Explained | calls.Unknown:
        entry = self._find(call.id, call.account)
        if entry is None:
            return calls.Unknown()
        return replace(self._explained(entry), document=snapshot(entry))

    def _explained(self, entry: Entry) -> calls.Explained:
        found = explain(self._book, self._workers, entry)
        return replace(found, reason=self._attempts.elsewhere.reason(entry) or found.reason)

    def _ask_room(self, call: calls.AskRoom) -> calls.RoomIs:
        needs = Needs(call.version, call.gpu, call.gpu_memory)
        able = [s for s in fitting(self._book, needs) if self._workers.takes_work(s.agent)]
        return calls.RoomIs(workers=len(able), free=sum(max(0, session.free) for session in able))

    def _cancel(self, call: calls.Cancel) -> calls.Found | calls.Unknown:
        entry = self._find(call.id, call.account)
        if entry is None:
            return calls.Unknown()
        if not entry.document.status.terminal and not entry.document.cancel_requested:
            self._attempts.request_cancel(entry, None, ErrorCode.CANCELED)
            self._attempts.tell_demand()
        return calls.Found(document=snapshot(entry))

    def _events_after(self, call: calls.EventsAfter) -> calls.Events | calls.Unknown | Wait:
        entry = self._find(call.id, call.account)
        if entry is None:
            return calls.Unknown()
        document = entry.document
        current = entry.attempt or (document.attempts[-1].number if document.attempts else 0)
        attempt, seq = calls.read_cursor(call.cursor)
        replaced = attempt not in (0, current)
        seq = seq if attempt == current else 0
        events, lost = ((), False) if replaced or call.only_terminal else entry.history.after(seq)
        if lost and call.recall and not document.status.terminal:
            return self._recalled(entry, call, seq)
        changed = call.status not in ("", document.status)
        ready = document.status.terminal or events or changed or (replaced and not call.only_terminal)
        if not ready and call.timeout_s > 0:
            topic = end_of(call.id) if call.only_terminal else call.id
            return Wait(topic, call.timeout_s, replace(call, timeout_s=0.0))
        last = events[-1].seq if events else seq
        return calls.Events(
            attempt=current,
            events=events,
            cursor=f"{current}:{last}" if current else "",
            document=document,
            replaced=replaced,
            lost=lost,
        )

    def _recalled(self, entry: Entry, call: calls.EventsAfter, seq: int) -> calls.Events | Wait:
        """Events that only the agent has: as they were sent again, or asked for now."""
        recall = entry.recall = entry.recall or Recall()
        events, session = recall.after(seq), entry.session
        able = session is not None and session.protocol >= 2 and not session.legacy and not session.elsewhere
        if not events and call.timeout_s > 0 and session is not None and able:
            if recall.asks(session.address, seq + 1):
                resend = wire.Resend(
                    channel=session.channel, prediction=call.id, attempt=entry.attempt, from_seq=seq + 1
                )
                self._book.turn.send(session.address, resend)
            return Wait(f"recall:{call.id}", call.timeout_s, replace(call, timeout_s=0.0))
        if not events:
            recall.give_up()
        return calls.Events(
            attempt=entry.attempt,
            events=events,
            cursor=f"{entry.attempt}:{events[-1].seq if events else seq}",
            document=entry.document,
            lost=not events,
        )

    # --- sessions -----------------------------------------------------------------------------------------

    def _attach(self, call: calls.AttachSession) -> calls.Done | calls.NotAttached:
        """Reconciliation: the agent says what it holds, we say what becomes of it, then work flows."""
        hello, attach, book = call.hello, call.attach, self._book
        for old in [s for s in book.sessions.values() if s.agent == hello.agent]:
            if call.legacy and old.incarnation == hello.incarnation:
                self._attempts.taken_back(old)
            elif call.legacy:
                self._attempts.session_gone(old)
                self._replaced(old)
            else:
                self._make_way(old, call)
        if call.legacy and (refusal := self._attempts.not_let_in(hello, attach)):
            return calls.NotAttached(detail=refusal)
        session = book.sessions[call.address] = Session(
            address=call.address,
            channel=attach.channel,
            agent=hello.agent,
            agent_name=hello.name,
            incarnation=hello.incarnation,
            version=attach.version,
            granted=attach.granted,
            retries=attach.retries,
            protocol=min(wire.VERSION, hello.protocol),
            shared=attach.shared,
            warm=attach.state == "ready",
            loading_since=attach.since,
            gpus=tuple(Gpu(gpu.kind, gpu.memory_bytes) for gpu in hello.gpus),
            legacy=call.legacy,
        )
        self._attempts.offers.update(session)
        if session.shared and session.protocol >= 2:
            book.sharing[call.address] = session
            self._attempts.ask_demand_anew()
        verdicts = tuple(self._attempts.judge(session, held) for held in attach.held)
        book.turn.send(session.address, wire.Attached(channel=session.channel, verdicts=verdicts))
        standing = self._workers.standing(session.agent)
        if standing is not None and standing.draining:
            self._tell_drain(session, draining=True)
        self._attempts.reconcile(session)
        if call.legacy:
            legacy.taken_up(self._workers, session, attach.held)
        self._attempts.dispatch()
        return calls.Done()

    def _make_way(self, old: Session, call: calls.AttachSession) -> None:
        """A session of the same agent gives way to a new one. When it is of another process, which still has
        work and a socket, it keeps both until the work is done: else that would run twice."""
        book = self._book
        another = old.address != call.address and old.incarnation != call.hello.incarnation
        if another and any(entry.session is old for entry in book.running.values()):
            old.leaving = True
            book.leaving[old.address] = old
            self._attempts.offers.update(old)
            self._attempts.ask_demand_anew()
            self._tell_drain(old, draining=True)
            return
        self._attempts.session_gone(old)
        if another:
            self._replaced(old)

    def _replaced(self, old: Session) -> None:
        reason = "another process with this agent's identity has connected"
        self._book.turn.send(old.address, wire.Closing(reason=reason, retry_s=30.0))

    def _see_off(self) -> None:
        """Sessions that only stayed for their work go when it is done."""
        for old in list(self._book.leaving.values()):
            if not any(entry.session is old for entry in self._book.running.values()):
                self._attempts.session_gone(old)
                self._replaced(old)

    def _tell_drain(self, session: Session, *, draining: bool) -> None:
        if session.protocol >= 2:
            self._book.turn.send(session.address, wire.Drain(channel=session.channel, draining=draining))

    def _detach(self, call: calls.DetachSession) -> calls.Done:
        session = self._book.sessions.get(call.address)
        if session is not None:
            self._attempts.session_gone(session, silent=call.silent)
            self._attempts.dispatch()
        return calls.Done()

    def _from_agent(self, call: calls.FromAgent) -> calls.Done:
        session = self._session(call.address)
        if session is not None:
            self._messages[type(call.message)](session, call.message)
        else:
            channel = getattr(call.message, "channel", 0)
            self._book.turn.send(call.address, wire.Reattach(channel=channel))
        return calls.Done()

    def _session(self, address: calls.SocketAddress) -> Session | None:
        provider = self._book.provider
        if provider is not None and provider.address == address:
            return provider
        return self._book.sessions.get(address)

    # --- the door to providers ----------------------------------------------------------------------------

    def _attach_overflow(self, call: calls.AttachOverflow) -> calls.Done:
        session = self._attempts.elsewhere.attached(call)
        verdicts = tuple(self._attempts.judge(session, held) for held in call.held)
        self._book.turn.send(session.address, wire.Attached(channel=session.channel, verdicts=verdicts))
        self._attempts.reconcile(session)
        self._attempts.dispatch()
        return calls.Done()

    def _overflow_begun(self, call: calls.OverflowBegun) -> calls.Done:
        if entry := self._at_provider(call):
            attempts = with_attempt(entry.document, call.attempt, remote=call.remote)
            self._book.change(entry, None, attempts=attempts)
            self._attempts.elsewhere.begun(entry.document)
            self._attempts.dispatch()
        return calls.Done()

    def _overflow_held(self, call: calls.OverflowHeld) -> calls.Done:
        if entry := self._at_provider(call):
            entry.begun = call.doubtful
            attempts = with_attempt(entry.document, call.attempt, doubtful=call.doubtful)
            self._book.change(entry, None, attempts=attempts)
            self._attempts.elsewhere.hold(entry.document, call)
            self._attempts.returned(entry, call.detail)
            self._attempts.dispatch()
        return calls.Done()

    def _at_provider(self, call: calls.OverflowBegun | calls.OverflowHeld) -> Entry | None:
        """The prediction that the door speaks of; it hears when that is no longer wanted."""
        session = self._session(call.address)
        if session is None:
            self._book.turn.send(call.address, wire.Reattach(channel=0))
            return None
        entry = self._current(session, call.prediction, call.attempt)
        if entry is None:
            cancel = wire.Cancel(
                channel=session.channel, prediction=call.prediction, attempt=call.attempt, grace_s=0.0
            )
            self._book.turn.send(call.address, cancel)
        return entry

    # --- an agent's messages ------------------------------------------------------------------------------

    def _credit(self, session: Session, message: wire.Credit) -> None:
        session.granted = message.granted
        self._attempts.offers.update(session)
        self._attempts.dispatch()

    def _model_state(self, session: Session, message: wire.ModelState) -> None:
        session.warm = message.state == "ready"
        self._attempts.offers.update(session)
        session.loading_since = None if session.warm else message.since

    def _accepted(self, session: Session, message: wire.Accepted) -> None:
        if entry := self._current(session, message.prediction, message.attempt):
            self._attempts.started(entry, message.started_at)

    def _refused(self, session: Session, message: wire.Refused) -> None:
        if entry := self._current(session, message.prediction, message.attempt):
            self._attempts.returned(entry, message.reason)
            self._see_off()
            self._attempts.dispatch()

    def _progress(self, session: Session, message: wire.Progress) -> None:
        entry = self._current(session, message.prediction, message.attempt)
        if entry is None:
            return
        attempt = entry.find(entry.attempt)
        own = [e for e in message.events if attempt and own_files(entry, attempt, e.files)]
        fresh = [event for event in own if entry.history.add(event)]
        if entry.recall is not None and own and entry.recall.take(message.events[0].seq, own):
            self._book.turn.notify_at_once(f"recall:{message.prediction}")
        if fresh:
            self._book.turn.notify_at_once(message.prediction)
            self._book.feeds.said(entry, dict.fromkeys(event.kind for event in fresh))

    def _upload(self, session: Session, message: wire.Upload) -> None:
        entry = self._book.entries.get(message.prediction)
        attempt = proven(entry, message.attempt, message.secret)
        if entry is None or attempt is None or entry.document.status.terminal:
            detail = "this attempt is not open"
            refusal = wire.UploadRefused(channel=message.channel, request=message.request, detail=detail)
            self._book.turn.send(session.address, refusal)
        else:
            self._book.turn.effect(calls.GrantUpload(session.address, message, attempt.key))

    def _detach_wanted(self, session: Session, message: wire.Detach) -> None:
        self._attempts.session_gone(session)

    def _finished(self, session: Session, message: wire.Finished) -> None:
        """Files are looked for in storage first, outside of any turn."""
        legacy.reported(self._workers, session, message.prediction)
        entry = self._attempts.wanted(message)
        attempt = None if entry is None else entry.find(message.attempt)
        if entry is None or attempt is None or not message.files or entry.document.cancel_requested:
            self._conclude(entry, session.address, message, None)
        elif not own_files(entry, attempt, message.files):
            missing = "the worker named output files that are not its own"
            self._conclude(entry, session.address, message, missing)
        else:
            session.concluding = message.prediction
            self._book.turn.effect(calls.CheckFiles(session.address, message))

    def _files_checked(self, call: calls.FilesChecked) -> calls.Done:
        entry = self._attempts.wanted(call.message)  # asked again: other turns ran while files were checked
        self._conclude(entry, call.address, call.message, call.missing)
        return calls.Done()

    def _conclude(
        self, entry: Entry | None, address: calls.SocketAddress, message: wire.Finished, missing: str | None
    ) -> None:
        if entry is not None:
            self._attempts.conclude(entry, message, missing)
        self._attempts.acknowledge(address, message)
        self._see_off()
        self._attempts.dispatch()

    def _indexed(self, call: calls.Indexed) -> calls.Done:
        """What is terminal and in the control index leaves the coordinator."""
        for prediction, sequence in call.sequences.items():
            self._book.indexed(prediction, sequence)
        return calls.Done()

    # --- webhooks -----------------------------------------------------------------------------------------

    def _about_letter(
        self, call: calls.AskDeliveries | calls.Redeliver, rows: Sequence[Rows] | None
    ) -> calls.Deliveries | calls.Unknown | Fetch:
        """The row says it all."""
        if rows is None:
            id = call.id if isinstance(call, calls.AskDeliveries) else call.document.id
            return Fetch((Read(LETTER, (id,)),))
        if isinstance(call, calls.AskDeliveries):
            return self._book.outbox.deliveries(call, rows[0])
        return self._book.outbox.redeliver(call, rows[0])

    def _letter_rendered(self, call: calls.LetterRendered) -> calls.Done:
        self._book.outbox.rendered(call)
        return calls.Done()

    def _letter_sent(self, call: calls.LetterSent) -> calls.Done:
        self._book.outbox.sent(call)
        return calls.Done()

    def _progress_sent(self, call: calls.ProgressSent) -> calls.Done:
        self._book.feeds.sent(call.id)
        self._book.outbox.go_on(call.id)
        return calls.Done()

    # --- workers ------------------------------------------------------------------------------------------

    def _mark_worker(self, call: calls.MarkWorker) -> calls.Done:
        workers = self._workers
        if call.mark == "distrust":
            workers.distrust(call.agent, call.name, call.reason)
        elif call.mark == "release":
            workers.release(call.agent)
        elif call.mark == "quarantine":
            workers.quarantine_by_hand(call.agent, call.name)
        else:
            workers.drain(call.agent, call.name, draining=call.mark == "drain")
            for session in self._book.sessions.values():
                if session.agent == call.agent:
                    self._tell_drain(session, draining=call.mark == "drain")
        self._attempts.dispatch()
        return calls.Done()

    def _pause(self, call: calls.Pause) -> calls.Done:
        self._workers.pause(call.paused)
        self._attempts.dispatch()
        return calls.Done()

    def _queue_is(self, webhooks: int) -> calls.QueueIs:
        book = self._book
        waiting = (entry for id, entry in book.entries.items() if id in book.queue)
        oldest = min(waiting, key=lambda entry: entry.document.created_at, default=None)
        return calls.QueueIs(
            paused=self._workers.paused,
            waiting=len(book.queue),
            input_bytes=book.queue.input_bytes,
            oldest_at=None if oldest is None else oldest.document.created_at,
            running=len(book.running),
            workers=len(book.sessions),
            free=sum(max(0, session.free) for session in book.sessions.values()),
            reason=None if oldest is None else self._explained(oldest).reason,
            webhooks=webhooks,
        )

    def _ask_workers(self, call: calls.AskWorkers) -> calls.WorkersAre:
        attached = {session.agent: session for session in self._book.sessions.values()}
        agents = dict.fromkeys((*attached, *self._workers.standings()))
        running = Counter(e.session.agent for e in self._book.running.values() if e.session is not None)
        door = self._attempts.elsewhere.described()
        return calls.WorkersAre(
            workers=tuple(
                _described(agent, attached.get(agent), self._workers.standing(agent), running[agent])
                for agent in agents
                if door is None or agent != door.agent
            )
            + (() if door is None else (door,))
        )

    def _current(self, session: Session, prediction: str, attempt: int) -> Entry | None:
        """The prediction, if this is its open attempt and this its session."""
        entry = self._book.running.get(prediction)
        return entry if entry and entry.attempt == attempt and entry.session is session else None


def _described(agent: str, session: Session | None, standing: Standing | None, running: int) -> calls.Worker:
    """A worker as operators see it, from what is known of its session and of its past."""
    known = standing or Standing(agent=agent, name="")
    return calls.Worker(
        agent=agent,
        name=session.agent_name if session is not None else known.name,
        attached=session is not None,
        state=known.state,
        reason=known.reason,
        since=known.since or None,
        strikes=len(known.strikes),
        running=running,
        free=max(session.free, 0) if session is not None else 0,
        version=session.version if session is not None else "",
        probe_at=known.probe_at or None,
    )


def _or(wanted: N | None, otherwise: N) -> N:
    return otherwise if wanted is None else wanted
