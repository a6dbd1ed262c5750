"""Objects by number: the same number always reaches the same single live instance.

An instance comes to life on its first call, leaves memory when idle, and is discarded when a commit fails.
The next one loads only after the previous writer has ended. After a restart, what was active is woken.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from coordinator.actor.clock import Clock, Timer, sleep
from coordinator.actor.errors import ActorError, StorageBroken
from coordinator.actor.instance import Instance
from coordinator.actor.placement import NotHere, Placement
from coordinator.actor.storage import Storage, Storages
from coordinator.actor.turn import Actor, Outside, Registry
from coordinator.errors import NoRoom, NoSuchObject, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

SWEEP_S = 1.0
"""How often the namespace looks for idle objects and for a loop that stood still."""
STALL_S = 0.5
"""Lateness of the sweep from which on leases are moved."""
RETRY_S = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
"""Waits before an object that broke, or could not be loaded, is woken again."""
HEALTHY_S = 60.0
"""An instance that lived this long starts the waits anew."""


class Namespace:
    """Owns the instances. ``start`` begins to wake objects, ``woken`` is set when all have been tried."""

    def __init__(
        self,
        *,
        actor: Callable[[int], Actor],
        storages: Storages,
        placement: Placement,
        registry: Registry,
        outside: Outside,
        clock: Clock,
        idle_s: float,
        wake_concurrency: int,
        most_live: int,
        on_commit: Callable[[int, float], None] | None = None,
        on_leaving: Callable[[int, Actor], None] | None = None,
    ) -> None:
        """``on_commit`` is each instance's; ``on_leaving`` sees an object that leaves memory, being idle."""
        self.woken = asyncio.Event()
        self._actor = actor
        self._storages = storages
        self._placement = placement
        self._registry = registry
        self._outside = outside
        self._clock = clock
        self._idle_s = idle_s
        self._wake_concurrency = wake_concurrency
        self._most_live = most_live
        self._on_commit = on_commit
        self._on_leaving = on_leaving
        self._full_at = -1.0
        """The sweep since which it is known that none can leave."""
        self._instances: dict[int, Instance] = {}
        self._changing: dict[int, asyncio.Task[Any]] = {}  # loading, discarding or evicting
        self._failures: dict[int, int] = {}
        self._retrying: set[int] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sweep_timer: Timer | None = None
        self._swept_at = 0.0
        self._next_alarm: int | None = None
        self._stopped = False

    # --- what callers use ---------------------------------------------------------------------------------

    async def call(self, number: int, call: Any, deadline_s: float) -> Any:
        """Ask an object. Raises NoSuchObject, NoRoom, or Unavailable when the answer is unknown: repeat the
        call."""
        instance = self._instances.get(number)
        if instance is None:
            instance = await self._live_within(number, deadline_s)
        return await instance.call(call, deadline_s)

    def post(self, number: int, *calls: Any) -> bool:
        """Hand calls over, for one turn, in order and without an answer. False when the object is not live
        here, or broke."""
        instance = self._instances.get(number)
        if instance is None:
            return False
        try:
            instance.post(*calls)
        except Unavailable:
            return False
        return True

    def live(self, number: int) -> bool:
        return number in self._instances

    def actors(self) -> list[tuple[int, Actor]]:
        """All objects in memory, to be looked at between their turns and not touched."""
        return [(number, instance.actor) for number, instance in self._instances.items()]

    # --- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._swept_at = self._clock.monotonic()
        self._schedule_sweep()
        self._own(self._wake_all())

    async def stop(self) -> None:
        """Commit what is staged and end every instance. Objects stay marked active and wake at next start."""
        if self._stopped:
            return
        self._stopped = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        tasks = [*self._tasks, *self._changing.values()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        instances, self._instances = list(self._instances.values()), {}
        await asyncio.gather(*(instance.stop() for instance in instances), return_exceptions=True)
        await self._storages.close()

    async def _live_within(self, number: int, deadline_s: float) -> Instance:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                over = self._clock.monotonic() + deadline_s
                timer = self._clock.call_at(over, lambda: limit.reschedule(loop.time()))
                try:
                    return await self._live(number)
                finally:
                    timer.cancel()
        except TimeoutError:
            raise Unavailable("the coordinator did not come to life in time") from None

    async def _live(self, number: int) -> Instance:
        """The live instance; loads it when there is none, once for all who ask."""
        while True:
            if self._stopped:
                raise Unavailable("the server is stopping")
            instance = self._instances.get(number)
            if instance is not None:
                return instance
            changing = self._changing.get(number)
            if changing is None or changing.done():
                changing = self._change(number, self._load(number))
            try:
                loaded = await asyncio.shield(changing)
            except Unavailable:
                raise
            except Exception as error:
                raise Unavailable(f"the coordinator could not come to life: {error}") from error
            if isinstance(loaded, Instance):
                return loaded  # even if it broke at once: its successor comes after the wait, not before

    def _make_room(self) -> None:
        """Let the object that was not used for longest leave, when there are as many as may be. Raises
        NoRoom."""
        if len(self._instances) < self._most_live:
            return
        idle: list[Instance] = []
        if self._full_at != self._swept_at:
            idle = [instance for instance in self._instances.values() if instance.idle()]
        if not idle:
            self._full_at = self._swept_at
            raise NoRoom(f"{self._most_live} models are in use at once (limit: live_models)", SWEEP_S)
        oldest = min(idle, key=lambda instance: instance.last_used)
        self._let_leave(oldest)

    async def _load(self, number: int) -> Instance:
        self._make_room()
        try:
            await self._placement.own(number)
            await self._registry.activate(number)
            instance = Instance(
                number,
                self._actor(number),
                self._storages.storage(number),
                clock=self._clock,
                outside=self._outside,
                on_broken=self._discard,
                before_timer=self._look_for_stall,
                on_commit=self._on_commit,
            )
            await instance.start()
        except NotHere as error:
            raise Unavailable("another server owns this coordinator") from error
        except NoSuchObject:
            await self._placement.disown(number)
            raise
        except StorageBroken as error:
            self._outside.fatal(error)
            raise Unavailable(str(error)) from error
        except ActorError as error:
            raise Unavailable(str(error)) from error
        self._instances[number] = instance
        return instance

    def _discard(self, instance: Instance) -> None:
        """The instance broke. Its successor may load once its writer has ended."""
        if self._instances.get(instance.number) is not instance:
            return
        del self._instances[instance.number]
        if self._clock.monotonic() - instance.started_at > HEALTHY_S:
            self._failures.pop(instance.number, None)
        self._change(instance.number, self._bury(instance))
        self._outside.lost(instance.number)

    async def _bury(self, instance: Instance) -> None:
        await instance.writer_ended()
        self._own(self._retry(instance.number))

    def _let_leave(self, instance: Instance) -> None:
        del self._instances[instance.number]
        if self._on_leaving is not None:
            self._on_leaving(instance.number, instance.actor)
        self._change(instance.number, self._evict(instance))

    async def _evict(self, instance: Instance) -> None:
        storage: Storage = self._storages.storage(instance.number)
        self._alarm_comes(instance.next_alarm)  # first: one that is due meanwhile must not be overlooked
        if not await instance.stop():
            self._own(self._retry(instance.number))
            return
        await storage.close()
        await self._registry.deactivate(instance.number, instance.next_alarm)
        await self._placement.disown(instance.number)

    # --- waking -------------------------------------------------------------------------------------------

    async def _wake_all(self) -> None:
        await self._wake_due()
        self.woken.set()

    async def _wake_due(self) -> None:
        """Bring to life what the registry says is active or due, a few at a time."""
        numbers = iter(await self._answer(lambda: self._registry.to_wake(self._clock.now())))

        async def worker() -> None:
            for number in numbers:
                await self._wake(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._wake_concurrency):
                group.create_task(worker())
        self._alarm_comes(await self._answer(self._registry.next_alarm))

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What the registry says, once it can be asked."""
        failures = 0
        while True:
            try:
                return await ask()
            except Unavailable as error:
                log.warning("it is not known yet which objects to wake: %s", error)
                await sleep(self._clock, RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1

    def _alarm_comes(self, at: int | None) -> None:
        """Some sleeping object must be awake by then."""
        if at is not None:
            self._next_alarm = at if self._next_alarm is None else min(self._next_alarm, at)

    async def _wake(self, number: int) -> None:
        try:
            await self._live(number)
        except NoSuchObject:
            log.warning("object %d cannot be woken: the control store does not have it any more", number)
        except Unavailable as error:
            log.warning("object %d could not be woken: %s", number, error)
            self._own(self._retry(number))

    async def _retry(self, number: int) -> None:
        """Wake it later; each failure in a row makes the wait longer."""
        if number in self._retrying:
            return
        self._retrying.add(number)
        try:
            failures = self._failures.get(number, 0)
            self._failures[number] = failures + 1
            await sleep(self._clock, RETRY_S[min(failures, len(RETRY_S) - 1)])
        finally:
            self._retrying.discard(number)
        await self._wake(number)

    # --- the slow sweep -----------------------------------------------------------------------------------

    def _schedule_sweep(self) -> None:
        self._sweep_timer = self._clock.call_at(self._swept_at + SWEEP_S, self._sweep)

    def _look_for_stall(self) -> None:
        """Before any deadline is judged: did this process stand still (suspended, starved)?"""
        late_s = self._clock.monotonic() - self._swept_at - SWEEP_S
        if late_s > STALL_S:
            self._swept_at = self._clock.monotonic()
            log.warning("the process stood still for %.1f s; leases move by as much", late_s)
            for instance in self._instances.values():
                instance.stalled(late_s)

    def _sweep(self) -> None:
        self._look_for_stall()
        self._swept_at = self._clock.monotonic()
        self._schedule_sweep()
        for instance in list(self._instances.values()):
            if self._swept_at - instance.last_used >= self._idle_s and instance.idle():
                self._let_leave(instance)
        if self._next_alarm is not None and self._next_alarm <= self._clock.now():
            self._next_alarm = None
            self._own(self._wake_due())

    # --- owned tasks --------------------------------------------------------------------------------------

    def _change(self, number: int, work: Any) -> asyncio.Task[Any]:
        """Run the one change of state that this object goes through; calls wait for its end."""
        task = asyncio.get_running_loop().create_task(work)
        self._changing[number] = task

        def ended(task: asyncio.Task[Any]) -> None:
            if self._changing.get(number) is task:
                del self._changing[number]
            with suppress(asyncio.CancelledError):
                error = task.exception()
                if error is not None and not isinstance(error, Unavailable):
                    log.error("object %d could not change state", number, exc_info=error)

        task.add_done_callback(ended)
        return task

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        if self._stopped:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
