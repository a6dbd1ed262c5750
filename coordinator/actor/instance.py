"""One live object: runs its turns, commits what they staged in groups, and lets outputs through the gate."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from coordinator.actor.clock import Clock, Timer
from coordinator.actor.errors import ActorError, StorageBroken
from coordinator.actor.gate import Gate
from coordinator.actor.storage import Batch, Read, Rows, Storage, Write
from coordinator.actor.turn import Actor, Fetch, Hold, Outside, Wait
from coordinator.errors import Unavailable

log = logging.getLogger(__name__)

LATER_S = 1.0
"""How long a write that nothing depends on waits for a commit to ride with."""

_Output = tuple[bool, Hashable, Callable[[], None]]
_Future = asyncio.Future[Any]
_OVER = object()
"""What a call is told that has waited long enough."""


class Instance:
    """Owned by the namespace; is the ``Turn`` of its own actor.

    Writing turns are numbered; ``_written`` is the last one. Outputs of any turn, reads included, depend on
    the last writing turn before them. ``broken`` is set once; from then on nothing is answered or sent.
    """

    def __init__(
        self,
        number: int,
        actor: Actor,
        storage: Storage,
        *,
        clock: Clock,
        outside: Outside,
        on_broken: Callable[["Instance"], None],
        before_timer: Callable[[], None],
        on_commit: Callable[[int, float], None] | None = None,
    ) -> None:
        """``on_commit`` is told of each commit how many rows it had and how many seconds it took."""
        self.number = number
        self.broken: Exception | None = None
        self.now = clock.now()
        self.monotonic = self.last_used = self.started_at = clock.monotonic()
        self._actor = actor
        self._storage = storage
        self._clock = clock
        self._outside = outside
        self._on_broken = on_broken
        self._before_timer = before_timer
        self._on_commit = on_commit
        self._gate = Gate()
        self._generation = 0
        self._alarm: int | None = None
        self._alarm_timer: Timer | None = None
        self._timer: Timer | None = None
        self._staged: list[Write] = []
        self._later: Timer | None = None
        self._written = 0
        self._committed = 0
        self._turn_wrote = False
        self._outputs: list[_Output] = []
        self._waiting: dict[str, list[_Future]] = {}
        self._replies: set[asyncio.Future[Any]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: set[int] = set()
        self.reads_begun = 0
        self._committer: asyncio.Task[None] | None = None
        self._calls = 0

    # --- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the object. Raises what storage raises; an alarm that is already due comes right after."""
        loaded = await self._storage.load()
        self._generation, self._alarm = loaded.generation, loaded.alarm_at
        self._run(lambda: self._actor.loaded(self, loaded.rows))
        self._schedule_alarm()

    async def stop(self) -> bool:
        """Make durable what is staged, then end. False when it was or became broken instead."""
        if self._staged and self.broken is None:
            self._write_now()
        while self._committer is not None:
            await asyncio.shield(self._committer)
        whole = self.broken is None
        self._end(Unavailable("the coordinator has left memory"))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return whole

    async def writer_ended(self) -> None:
        """Return once no commit of this instance runs any more; only then may another one load."""
        if self._committer is not None:
            await asyncio.wait([self._committer])

    def idle(self) -> bool:
        busy = self._calls or self._staged or self._committer or self._tasks or not self._gate.empty
        return not busy and self._actor.idle()

    @property
    def actor(self) -> Actor:
        return self._actor

    @property
    def next_alarm(self) -> int | None:
        return self._alarm

    def stalled(self, late_s: float) -> None:
        self._actor.stalled(late_s)

    # --- calls --------------------------------------------------------------------------------------------

    async def call(self, call: Any, deadline_s: float) -> Any:
        """Run the call's turn; answer once all that it depends on is durable. Raises Unavailable."""
        self._calls += 1
        try:
            reply = self._run(lambda: self._actor.handle(self, call))
            until: float | None = None
            while isinstance(reply, Wait | Fetch):
                if isinstance(reply, Fetch):
                    reply = await self._fetched(call, reply, deadline_s)
                    continue
                until = self.monotonic + reply.timeout_s if until is None else until
                call = reply.otherwise if await self._notified(reply.topic, until) is _OVER else call
                reply = self._run(partial(self._actor.handle, self, call))
            if isinstance(reply, Hold):
                return await self._held(reply, deadline_s)
            if not self._gate.passes(self._written):
                await self._durable(deadline_s)
            return reply
        finally:
            self._calls -= 1
            self.last_used = self._clock.monotonic()

    def post(self, *calls: Any) -> None:
        """Run one turn of all these calls now; nobody waits for answers. Raises Unavailable when it broke."""
        replies = self._run(lambda: [self._actor.handle(self, call) for call in calls])
        self.last_used = self.monotonic
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, Fetch):
                self._spawn(self._after_fetch(call, reply))

    async def _after_fetch(self, call: Any, reply: Any) -> None:
        with suppress(Unavailable):
            while isinstance(reply, Fetch):
                reply = await self._fetched(call, reply, None)

    async def _held(self, hold: Hold, deadline_s: float) -> Any:
        """What its topic is notified with, or else the reply that there is already."""
        turn = self._written
        try:
            told = await self._notified(hold.topic, self.monotonic + hold.timeout_s)
            if told is not _OVER:
                return told
            await self._durable(deadline_s)
        except Unavailable:
            if not self._gate.passes(turn):
                raise
        return hold.reply

    async def _fetched(self, call: Any, fetch: Fetch, deadline_s: float | None) -> Any:
        """Ask the handler again, with the rows that it wants to see."""
        number = self._begin_read()
        try:
            rows = await self._rows(fetch.reads, deadline_s)
            return self._run(lambda: self._actor.handle(self, call, rows))
        finally:
            self._reading.discard(number)

    async def _rows(self, reads: Sequence[Read], deadline_s: float | None) -> Sequence[Rows]:
        """What storage has, with everything so far. Raises Unavailable; a failed read breaks the instance."""
        await self._durable(deadline_s)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._spawn(self._read(reads, reply))
        rows: Sequence[Rows] = await self._within(reply, deadline_s)
        return rows

    async def _read(self, reads: Sequence[Read], reply: "asyncio.Future[Any]") -> None:
        try:
            rows = await self._storage.read(reads)
        except ActorError as error:
            log.error("object %d could not read and starts again: %s", self.number, error)  # noqa: TRY400
            self._fail(error)
        except Exception as error:
            log.exception("a read of object %d failed; its instance is discarded", self.number)
            self._break(error)
        else:
            _resolve(reply, rows)

    async def _durable(self, deadline_s: float | None) -> None:
        """Return once every write so far is durable. Raises Unavailable when that takes too long."""
        if self._gate.passes(self._written):
            return
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._gate.hold(self._written, None, partial(_resolve, reply, True))
        await self._within(reply, deadline_s)

    async def _within(self, reply: "asyncio.Future[Any]", deadline_s: float | None) -> Any:
        """What the future is told. Raises Unavailable when that takes too long, or the instance goes."""
        self._replies.add(reply)
        timer = None
        if deadline_s is not None:
            timer = self._clock.call_at(self._clock.monotonic() + deadline_s, partial(_expire, reply))
        try:
            return await reply
        finally:
            if timer is not None:
                timer.cancel()
            self._replies.discard(reply)

    async def _notified(self, topic: str, until: float) -> Any:
        """What the topic was notified with, ``_OVER`` when that time came first."""
        future: _Future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(topic, []).append(future)
        timer = self._clock.call_at(until, partial(_resolve, future, _OVER))
        try:
            return await future
        finally:
            timer.cancel()
            waiting = self._waiting.get(topic, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(topic, None)

    # --- turns --------------------------------------------------------------------------------------------

    def _run(self, turn: Callable[[], Any]) -> Any:
        if self.broken is not None:
            raise Unavailable("the coordinator was restarted")
        self.now, self.monotonic = self._clock.now(), self._clock.monotonic()
        self._turn_wrote = False
        try:
            reply = turn()
            self._actor.over(self)
        except Exception as error:
            log.exception("a turn of object %d failed; its instance is discarded", self.number)
            self._break(error)
            raise Unavailable("the coordinator was restarted") from error
        outputs, self._outputs = self._outputs, []
        for gated, destination, release in outputs:
            if gated:
                self._gate.hold(self._written, destination, release)
            else:
                self._gate.overtake_nothing(destination, release)
        if self._turn_wrote:
            self._start_commit()
        return reply

    def _start_commit(self) -> None:
        if self._committer is None:
            self._committer = asyncio.get_running_loop().create_task(self._commit())

    def _write_now(self) -> None:
        """Nothing else was written meanwhile: what waits for a commit gets its own."""
        self._written += 1
        self._start_commit()

    async def _commit(self) -> None:
        """Commit until nothing is staged. All turns that ran meanwhile share the next transaction."""
        try:
            while self._written > self._committed and self.broken is None:
                writes, self._staged, turn = self._staged, [], self._written
                if self._later is not None:
                    self._later.cancel()
                    self._later = None
                began = self._clock.monotonic()
                await self._storage.commit(Batch(writes, self._alarm), self._generation)
                if self._on_commit is not None:
                    self._on_commit(len(writes), self._clock.monotonic() - began)
                self._committed = turn
                if self.broken is None:
                    self._gate.durable(turn)
        except ActorError as error:
            log.error("object %d could not commit and starts again: %s", self.number, error)  # noqa: TRY400
            self._fail(error)
        except Exception as error:
            log.exception("a commit of object %d failed; its instance is discarded", self.number)
            self._break(error)
        finally:
            self._committer = None

    def _fail(self, error: ActorError) -> None:
        """Storage did not do what it was asked for."""
        self._break(error)
        if isinstance(error, StorageBroken):
            self._outside.fatal(error)

    def _break(self, error: Exception) -> None:
        self._end(error)
        self._on_broken(self)

    def _end(self, error: Exception) -> None:
        if self.broken is not None:
            return
        self.broken = error
        self._gate.discard()
        self._outputs.clear()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        for timer in (self._timer, self._alarm_timer, self._later):
            if timer is not None:
                timer.cancel()
        waiting: list[asyncio.Future[Any]] = [one for all in self._waiting.values() for one in all]
        for future in (*waiting, *self._replies):
            if not future.done():
                future.set_exception(Unavailable("the coordinator was restarted"))

    # --- Turn: what the actor does during a turn ------------------------------------------------------------

    def write(self, statement: str, *parameters: Any) -> None:
        self._staged.append(Write(statement, parameters))
        self._mark_written()

    def write_later(self, statement: str, *parameters: Any) -> None:
        self._staged.append(Write(statement, parameters))
        if self._later is None:
            self._later = self._clock.call_at(self._clock.monotonic() + LATER_S, self._write_now)

    def alarm_at(self, at: int | None) -> None:
        if at != self._alarm:
            self._alarm = at
            self._mark_written()
            self._schedule_alarm()

    def timer_at(self, monotonic: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if monotonic is None else self._clock.call_at(monotonic, self._timer_due)

    def send(self, address: Any, message: Any) -> None:
        self._outputs.append((True, address, partial(self._outside.send, address, message)))

    def notify(self, topic: str, reply: Any = None) -> None:
        self._outputs.append((True, topic, partial(self._wake, topic, reply)))

    def notify_at_once(self, topic: str) -> None:
        self._outputs.append((False, topic, partial(self._wake, topic)))

    def effect(self, effect: Any) -> None:
        self._outputs.append((True, None, lambda: self._spawn(self._effect(effect))))

    def read(self, tag: Any, *reads: Read) -> None:
        number = self._begin_read()
        self._outputs.append((True, None, lambda: self._spawn(self._hand_over_rows(number, tag, reads))))

    @property
    def reads_ended(self) -> int:
        return min(self._reading) - 1 if self._reading else self.reads_begun

    def _begin_read(self) -> int:
        self.reads_begun += 1
        self._reading.add(self.reads_begun)
        return self.reads_begun

    def _mark_written(self) -> None:
        if not self._turn_wrote:
            self._turn_wrote = True
            self._written += 1

    # --- between turns ------------------------------------------------------------------------------------

    def _wake(self, topic: str, reply: Any = None) -> None:
        for future in self._waiting.pop(topic, ()):
            _resolve(future, reply)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand_over_rows(self, number: int, tag: Any, reads: Sequence[Read]) -> None:
        try:
            with suppress(Unavailable):  # told by _break already
                rows = await self._rows(reads, None)
                self._run(lambda: self._actor.rows(self, tag, rows))
        finally:
            self._reading.discard(number)

    async def _effect(self, effect: Any) -> None:
        try:
            call = await self._outside.perform(self.number, effect)
        except Exception as error:
            log.exception("an effect of object %d failed; its instance is discarded", self.number)
            self._break(error)
            return
        if call is not None:
            with suppress(Unavailable):  # the instance ended meanwhile; the next one asks again
                self.post(call)

    def _timer_due(self) -> None:
        self._timer = None
        self._before_timer()
        self._run_alone(lambda: self._actor.timer(self))

    def _schedule_alarm(self) -> None:
        if self._alarm_timer is not None:
            self._alarm_timer.cancel()
            self._alarm_timer = None
        if self._alarm is not None:
            delay_s = max(0.0, (self._alarm - self._clock.now()) / 1e6)
            self._alarm_timer = self._clock.call_at(self._clock.monotonic() + delay_s, self._alarm_due)

    def _alarm_due(self) -> None:
        self._alarm_timer = None
        if self._alarm is None:
            return
        if self._alarm > self._clock.now():  # the wall clock was set back
            self._schedule_alarm()
            return
        self._run_alone(lambda: self._actor.alarm(self))

    def _run_alone(self, turn: Callable[[], None]) -> None:
        with suppress(Unavailable):  # told by _break already
            self._run(turn)


def _resolve(future: "asyncio.Future[Any]", value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _expire(future: "asyncio.Future[Any]") -> None:
    if not future.done():
        future.set_exception(Unavailable("the coordinator did not answer in time"))
