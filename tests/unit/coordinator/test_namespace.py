"""Objects by number: one live instance each, woken, evicted, buried and brought back."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from coordinator.actor.errors import CommitFailed, StorageBroken
from coordinator.actor.instance import Instance
from coordinator.actor.namespace import RETRY_S, Namespace
from coordinator.actor.placement import LocalPlacement, NotHere
from coordinator.actor.turn import Turn, Wait
from coordinator.errors import NoRoom, NoSuchObject, Unavailable
from coordinator.store.database import Store
from tests.support.faulty_storage import FaultyStorages
from tests.support.ledger import Ledger, World, get, put
from tests.support.virtual_clock import VirtualClock, breathe
from tests.support.waiting import until, until_async

DEADLINE_S = 30.0
IDLE_S = 60.0


class Registry:
    """The control store's objects, which may be away for a while."""

    def __init__(self, store: Store) -> None:
        self.real = store.objects
        self.away = 0

    async def activate(self, number: int) -> None:
        await self.real.activate(number)

    async def deactivate(self, number: int, alarm_at: int | None) -> None:
        await self.real.deactivate(number, alarm_at)

    async def to_wake(self, now: int) -> list[int]:
        if self.away:
            self.away -= 1
            raise Unavailable("the control store is locked")
        return await self.real.to_wake(now)

    async def next_alarm(self) -> int | None:
        return await self.real.next_alarm()


class Placement(LocalPlacement):
    """Local, but for objects that another process has."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: set[int] = set()

    async def own(self, number: int) -> None:
        if number in self.elsewhere:
            raise NotHere
        await super().own(number)


class House:
    """One process' namespace on files that outlive it."""

    def __init__(self, store: Store, storages: FaultyStorages, clock: VirtualClock, world: World) -> None:
        self.store = store
        self.storages = storages
        self.clock = clock
        self.world = world
        self.registry = Registry(store)
        self.placement = Placement()
        self.ledgers: list[Ledger] = []
        self.on_load: Any = lambda turn: None
        self.on_alarm: Any = lambda turn: turn.alarm_at(None)

    def open(self, wake_concurrency: int = 4, most_live: int = 100) -> Namespace:
        return Namespace(
            actor=self._ledger,
            storages=KeptOpen(self.storages),
            placement=self.placement,
            registry=self.registry,
            outside=self.world,
            clock=self.clock,
            idle_s=IDLE_S,
            wake_concurrency=wake_concurrency,
            most_live=most_live,
        )

    async def object(self, name: str = "m") -> int:
        return await self.store.objects.number("default", f"acme/{name}")

    async def active(self, number: int) -> bool:
        row = await self.store.objects.describe(number)
        assert row is not None
        return row.active

    def last(self, number: int) -> Ledger:
        return next(ledger for ledger in reversed(self.ledgers) if ledger.number == number)

    def lives(self, number: int) -> int:
        return sum(ledger.number == number for ledger in self.ledgers)

    def _ledger(self, number: int) -> Ledger:
        ledger = Ledger(number)
        ledger.on_load, ledger.on_alarm = self.on_load, self.on_alarm
        self.ledgers.append(ledger)
        return ledger


class KeptOpen:
    """Storages that are not closed with a namespace, so that the next one of the test may use them."""

    def __init__(self, real: FaultyStorages) -> None:
        self.storage = real.storage

    async def close(self) -> None:
        pass


@pytest.fixture
def house(store: Store, ledgers: FaultyStorages, clock: VirtualClock, world: World) -> House:
    return House(store, ledgers, clock, world)


@pytest.fixture
async def namespace(house: House) -> AsyncIterator[Namespace]:
    namespace = house.open()
    await namespace.start()
    yield namespace
    house.storages.let_go()
    await namespace.stop()


# --- one live instance ------------------------------------------------------------------------------------


async def test_concurrent_calls_reach_the_same_instance(house: House, namespace: Namespace) -> None:
    number = await house.object()
    replies = await asyncio.gather(
        *(namespace.call(number, put(f"n{n}", n), DEADLINE_S) for n in range(20)),
        *(namespace.call(number, get("absent"), DEADLINE_S) for _ in range(5)),
    )
    assert replies == [*range(20), *[None] * 5]
    assert house.lives(number) == 1
    assert house.storages.loads == [number]
    assert namespace.live(number)
    assert await house.active(number)
    assert house.placement.owned(number)


async def test_objects_are_apart(house: House, namespace: Namespace) -> None:
    one, two = await house.object("one"), await house.object("two")
    await namespace.call(one, put("a", 1), DEADLINE_S)
    assert await namespace.call(two, get("a"), DEADLINE_S) is None


async def test_what_is_not_live_takes_no_posts(house: House, namespace: Namespace) -> None:
    number = await house.object()
    assert not namespace.post(number, put("a", 1))
    assert not namespace.live(number)
    await namespace.call(number, get("a"), DEADLINE_S)
    assert namespace.post(number, put("a", 1))
    assert await namespace.call(number, get("a"), DEADLINE_S) == 1


async def test_the_next_instance_loads_after_the_last_writer_has_ended(
    house: House, namespace: Namespace
) -> None:
    number = await house.object()
    await namespace.call(number, put("a", 1), DEADLINE_S)
    house.storages.hold()
    assert namespace.post(number, put("b", 2))
    await until(lambda: house.storages.running, "the commit has begun")

    def fails(ledger: Ledger, turn: Turn) -> None:
        raise KeyError("a mistake of ours")

    assert not namespace.post(number, fails)
    assert house.world.lost_objects == [number]
    next_call = asyncio.ensure_future(namespace.call(number, get("b"), DEADLINE_S))
    await breathe()
    await house.store.objects.activate(number)  # behind whatever the next instance would ask of the store
    await breathe()
    assert house.lives(number) == 1
    house.storages.let_go()
    assert await next_call == 2
    assert house.lives(number) == 2


async def test_a_failed_commit_is_told_and_the_object_comes_back(house: House, namespace: Namespace) -> None:
    number = await house.object()
    await namespace.call(number, put("a", 1), DEADLINE_S)
    house.storages.fail(CommitFailed("disk full"))
    with pytest.raises(Unavailable):
        await namespace.call(number, put("a", 2), DEADLINE_S)
    assert house.world.lost_objects == [number]
    assert await namespace.call(number, get("a"), DEADLINE_S) == 1
    assert await namespace.call(number, put("a", 2), DEADLINE_S) == 2


async def test_a_broken_device_is_fatal(house: House, namespace: Namespace) -> None:
    number = await house.object()
    error = StorageBroken("I/O error")
    house.storages.fail_load(error)
    with pytest.raises(Unavailable):
        await namespace.call(number, get("a"), DEADLINE_S)
    assert house.world.fatal_errors == [error]


async def test_what_another_process_owns_is_not_here(house: House, namespace: Namespace) -> None:
    number = await house.object()
    house.placement.elsewhere.add(number)
    with pytest.raises(Unavailable, match="another server"):
        await namespace.call(number, get("a"), DEADLINE_S)
    assert not await house.active(number)
    assert house.ledgers == []


async def test_an_object_that_is_not_known_is_not_made(house: House, namespace: Namespace) -> None:
    with pytest.raises(Unavailable):
        await namespace.call(4711, get("a"), DEADLINE_S)
    assert house.storages.loads == []


async def test_a_call_does_not_wait_for_ever_for_an_object_to_load(
    house: House, namespace: Namespace
) -> None:
    number = await house.object()
    house.storages.hold_loads()
    call = asyncio.ensure_future(namespace.call(number, get("a"), 5.0))
    await until(lambda: house.storages.loads, "it loads")
    await house.clock.advance(5.1)
    with pytest.raises(Unavailable, match="come to life"):
        await call
    house.storages.let_go()
    assert await namespace.call(number, get("a"), DEADLINE_S) is None


# --- leaving memory ---------------------------------------------------------------------------------------


async def left(house: House, namespace: Namespace, number: int) -> None:
    await house.clock.advance(IDLE_S + 2)
    for _ in range(500):
        if not namespace.live(number) and not await house.active(number):
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it has not left")


async def test_an_idle_object_leaves_memory_and_comes_back(house: House, namespace: Namespace) -> None:
    number = await house.object()
    await namespace.call(number, put("a", 1), DEADLINE_S)
    await house.clock.advance(IDLE_S - 2)
    assert namespace.live(number)
    await left(house, namespace, number)
    await until(lambda: not house.placement.owned(number), "it is given up")
    assert house.world.lost_objects == []
    assert await namespace.call(number, get("a"), DEADLINE_S) == 1
    assert house.lives(number) == 2
    assert await house.active(number)


async def test_use_keeps_an_object_in_memory(house: House, namespace: Namespace) -> None:
    number = await house.object()
    for _ in range(4):
        await namespace.call(number, get("a"), DEADLINE_S)
        await house.clock.advance(IDLE_S - 5)
    assert house.lives(number) == 1
    assert namespace.live(number)


async def test_what_is_not_idle_stays(house: House, namespace: Namespace) -> None:
    busy, waited, effective = [await house.object(name) for name in ("busy", "waited", "effective")]
    await namespace.call(busy, get("a"), DEADLINE_S)
    house.last(busy).may_leave = False
    never = asyncio.Event()
    await namespace.call(effective, lambda ledger, turn: turn.effect(never.wait), DEADLINE_S)
    waiting = asyncio.ensure_future(
        namespace.call(waited, lambda ledger, turn: Wait("x", 10 * IDLE_S, get("a")), DEADLINE_S)
    )
    await until(lambda: namespace.live(waited), "it is live")
    await house.clock.advance(3 * IDLE_S)
    assert all(namespace.live(number) for number in (busy, waited, effective))
    waiting.cancel()
    never.set()
    house.last(busy).may_leave = True
    for number in (busy, waited, effective):
        await left(house, namespace, number)


async def test_calls_during_the_eviction_reach_the_next_instance(house: House, namespace: Namespace) -> None:
    number = await house.object()
    await namespace.call(number, put("a", 1), DEADLINE_S)
    await house.clock.advance(IDLE_S - 1)
    while namespace.live(number):
        await house.clock.advance(0.5)
    assert await namespace.call(number, put("a", 2), DEADLINE_S) == 2
    assert house.lives(number) == 2
    assert await house.active(number)


async def test_a_sleeping_object_wakes_for_its_alarm(house: House, namespace: Namespace) -> None:
    number = await house.object()
    at = house.clock.now() + int(3 * IDLE_S * 1e6)
    await namespace.call(number, lambda ledger, turn: turn.alarm_at(at), DEADLINE_S)
    await left(house, namespace, number)
    row = await house.store.objects.describe(number)
    assert row is not None
    assert row.alarm_at == at
    await house.clock.advance(2 * IDLE_S + 2)
    await until(lambda: house.lives(number) == 2 and house.last(number).alarms, "the alarm has come")
    assert house.last(number).alarms[0] >= at


async def test_an_eviction_whose_last_commit_fails_leaves_the_object_awake(
    house: House, namespace: Namespace
) -> None:
    number = await house.object()
    await namespace.call(number, put("a", 1), DEADLINE_S)

    ledger = house.last(number)
    ledger.may_leave = True
    real_idle = ledger.idle

    def idle() -> bool:
        # The moment between the decision to leave and the end: one more turn runs.
        asyncio.get_running_loop().call_soon(self_post)
        return real_idle()

    instance: list[Instance] = list(namespace._instances.values())

    def self_post() -> None:
        house.storages.fail(CommitFailed("disk full"))
        instance[0].post(lambda ledger, turn: turn.alarm_at(1))

    ledger.idle = idle  # type: ignore[method-assign]
    await house.clock.advance(IDLE_S + 1)

    async def back() -> bool:
        assert await house.active(number)
        await house.clock.advance(RETRY_S[0])  # waiting begins when the commit has failed
        return house.lives(number) == 2 and namespace.live(number)

    await until_async(back, "it is back")


# --- waking -----------------------------------------------------------------------------------------------


async def test_what_was_active_or_due_is_woken_after_a_restart(house: House) -> None:
    first = house.open()
    await first.start()
    active, due, asleep, never = [await house.object(name) for name in ("active", "due", "asleep", "never")]
    for number in (active, due, asleep):
        await first.call(number, put("a", number), DEADLINE_S)
    await first.stop()
    now = house.clock.now()
    await house.store.objects.deactivate(due, now + 5_000_000)
    await house.store.objects.deactivate(asleep, now + 500_000_000)
    await house.clock.advance(10.0)

    house.storages.loads.clear()
    second = house.open()
    assert not second.woken.is_set()
    await second.start()
    await asyncio.wait_for(second.woken.wait(), 5)
    assert sorted(house.storages.loads) == sorted([active, due])
    assert second.live(active)
    assert not second.live(asleep)
    assert not second.live(never)
    await house.clock.advance(490.0)
    await until(lambda: second.live(asleep), "its alarm wakes it")
    await second.stop()


async def test_a_restart_finds_what_the_last_process_committed(house: House) -> None:
    first = house.open()
    await first.start()
    number = await house.object()
    await asyncio.gather(*(first.call(number, put(f"n{n}", n), DEADLINE_S) for n in range(10)))
    await first.stop()
    assert await house.active(number), "a stop is no reason to sleep: the next start wakes it"
    second = house.open()
    await second.start()
    assert await second.call(number, get("n9"), DEADLINE_S) == 9
    await second.stop()


async def test_waking_is_bounded(house: House) -> None:
    numbers = [await house.object(f"m{n}") for n in range(12)]
    for number in numbers:
        await house.store.objects.activate(number)
    house.storages.hold_loads()
    namespace = house.open(wake_concurrency=3)
    await namespace.start()
    await until(lambda: len(house.storages.loads) == 3, "three load")
    await house.clock.advance(5.0)
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert len(house.storages.loads) == 3
    assert not namespace.woken.is_set()
    house.storages.let_go()
    await asyncio.wait_for(namespace.woken.wait(), 5)
    assert sorted(house.storages.loads) == sorted(numbers)
    await namespace.stop()


async def test_a_start_waits_for_a_control_store_that_is_away(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    number = await house.object()
    await house.store.objects.activate(number)
    house.registry.away = 2
    namespace = house.open()
    with caplog.at_level(logging.CRITICAL):
        await namespace.start()
        for _ in range(3):
            await house.clock.advance(2.0)
        await until(lambda: namespace.live(number), "it is woken")
    await asyncio.wait_for(namespace.woken.wait(), 5)
    await namespace.stop()


async def test_when_memory_has_room_for_no_more_the_one_that_was_used_first_leaves(house: House) -> None:
    namespace = house.open(most_live=2)
    await namespace.start()
    numbers = [await house.object(name) for name in "abcd"]
    for number in numbers[:3]:
        await namespace.call(number, put("a", 1), DEADLINE_S)
        await house.clock.advance(2.0)
    assert [namespace.live(number) for number in numbers[:3]] == [False, True, True]
    for number in numbers[1:3]:
        house.last(number).may_leave = False
    with pytest.raises(NoRoom, match="limit: live_models"):
        await namespace.call(numbers[3], put("a", 1), DEADLINE_S)
    await namespace.call(numbers[1], put("a", 2), DEADLINE_S)
    house.last(numbers[1]).may_leave = True
    await house.clock.advance(2.0)
    await namespace.call(numbers[3], put("a", 1), DEADLINE_S)
    assert [namespace.live(number) for number in numbers[1:]] == [False, True, True]
    await namespace.stop()


async def test_an_object_that_the_control_store_does_not_have(house: House, namespace: Namespace) -> None:
    number = await house.object() + 1
    for _ in range(2):
        with pytest.raises(NoSuchObject):
            await namespace.call(number, lambda ledger, turn: turn.now, DEADLINE_S)
    await house.clock.advance(2 * IDLE_S)
    assert (house.lives(number), house.storages.loads) == (0, [])
    assert not house.placement.owned(number)
    assert not namespace.live(number)


async def test_an_alarm_is_not_forgotten_when_the_control_store_is_away(
    house: House, namespace: Namespace
) -> None:
    number = await house.object()
    at = house.clock.now() + int(3 * IDLE_S * 1e6)
    await namespace.call(number, lambda ledger, turn: turn.alarm_at(at), DEADLINE_S)
    await left(house, namespace, number)
    house.registry.away = 1
    await house.clock.advance(2 * IDLE_S + 2)
    await until(lambda: house.registry.away == 0, "it was asked in vain")
    await breathe()
    await house.clock.advance(3.0)
    await until(lambda: house.lives(number) == 2 and house.last(number).alarms, "the alarm has come")


async def test_what_cannot_be_woken_is_tried_again_later_and_later(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    number = await house.object()
    await house.store.objects.activate(number)
    namespace = house.open()
    for _ in range(3):
        house.storages.fail_load(CommitFailed("disk full"))
    with caplog.at_level(logging.CRITICAL):
        await namespace.start()
        await asyncio.wait_for(namespace.woken.wait(), 5)
        loads = house.storages.loads
        for tries, wait_s in enumerate(RETRY_S[:3], start=1):
            await until(lambda tries=tries: len(loads) == tries, f"try {tries}")  # type: ignore[misc]
            await breathe()
            await house.clock.advance(wait_s - 0.1)
            assert len(loads) == tries
            await house.clock.advance(0.1)
        await until(lambda: namespace.live(number), "it is awake")
    assert len(loads) == 4
    await namespace.stop()


async def test_an_alarm_that_fails_comes_again_with_back_off(
    house: House, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    number = await house.object()

    def fails(turn: Turn) -> None:
        raise KeyError("a mistake of ours")

    house.on_alarm = fails
    with caplog.at_level(logging.CRITICAL):
        at = house.clock.now() + 1_000_000
        await namespace.call(number, lambda ledger, turn: turn.alarm_at(at), DEADLINE_S)
        await house.clock.advance(1.0)
        for lives, wait_s in enumerate(RETRY_S[:3], start=1):
            alarms = sum(len(ledger.alarms) for ledger in house.ledgers)
            assert (house.lives(number), alarms) == (lives, lives)
            failed_at = house.clock.monotonic()
            async with asyncio.timeout(10):
                while house.lives(number) == lives:
                    await asyncio.sleep(0.001)
                    await house.clock.advance(0.1)
            assert house.clock.monotonic() - failed_at > wait_s - 0.01
            await until(lambda: house.last(number).alarms, "it fails again")
    assert len(house.world.lost_objects) == 4


async def test_an_object_that_breaks_is_woken_again_by_itself(house: House, namespace: Namespace) -> None:
    number = await house.object()
    await namespace.call(number, put("a", 1), DEADLINE_S)
    house.storages.fail(CommitFailed("disk full"))
    with pytest.raises(Unavailable):
        await namespace.call(number, put("a", 2), DEADLINE_S)
    await breathe()
    assert not namespace.live(number)
    await house.clock.advance(RETRY_S[0])
    await until(lambda: namespace.live(number), "it is back")


# --- the process stands still -----------------------------------------------------------------------------


async def test_a_stall_moves_deadlines_exactly_once(
    house: House, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await house.object("one"), await house.object("two")
    for number in (one, two):
        await namespace.call(number, get("a"), DEADLINE_S)
    await house.clock.advance(1.0)
    assert house.last(one).stalls == []
    with caplog.at_level(logging.CRITICAL):
        await house.clock.stall(20.0)
    await house.clock.advance(5.0)
    for number in (one, two):
        (late_s,) = house.last(number).stalls
        assert 19.0 <= late_s <= 20.0


async def test_a_stall_is_seen_before_a_deadline_is_judged(
    house: House, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    number = await house.object()
    order: list[str] = []
    await namespace.call(number, get("a"), DEADLINE_S)
    ledger = house.last(number)
    ledger.stalled = lambda late_s: order.append(f"stalled {late_s:.0f}")  # type: ignore[method-assign]
    ledger.timer = lambda turn: order.append("timer")  # type: ignore[method-assign]
    await house.clock.advance(0.5)
    # Due before the next sweep, so that nothing but the timer itself can look for the stall.
    soon = house.clock.monotonic() + 0.1
    await namespace.call(number, lambda ledger, turn: turn.timer_at(soon), DEADLINE_S)
    with caplog.at_level(logging.CRITICAL):
        await house.clock.stall(20.0)
    await house.clock.advance(5.0)
    assert order[1:] == ["timer"]
    assert order[0].startswith("stalled ")
    assert 19 <= int(order[0].split()[1]) <= 20


async def test_being_a_little_late_is_no_stall(house: House, namespace: Namespace) -> None:
    number = await house.object()
    await namespace.call(number, get("a"), DEADLINE_S)
    for _ in range(10):
        await house.clock.stall(1.3)
    assert house.last(number).stalls == []


# --- stop -------------------------------------------------------------------------------------------------


async def test_stop_is_safe_at_any_time(house: House) -> None:
    namespace = house.open()
    await namespace.stop()
    await namespace.stop()

    namespace = house.open()
    await namespace.start()
    number = await house.object()
    house.storages.hold()
    call = asyncio.ensure_future(namespace.call(number, put("a", 1), DEADLINE_S))
    await until(lambda: house.storages.running, "the commit has begun")
    stopping = asyncio.ensure_future(namespace.stop())
    await breathe()
    house.storages.let_go()
    assert await call == 1
    await stopping
    await namespace.stop()
    with pytest.raises(Unavailable):
        await namespace.call(number, get("a"), DEADLINE_S)
    assert not namespace.post(number, put("a", 2))


async def test_stop_while_objects_break_leaves_nothing_behind(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    namespace = house.open()
    await namespace.start()
    number = await house.object()
    await namespace.call(number, put("a", 1), DEADLINE_S)
    house.storages.hold()
    house.storages.fail(CommitFailed("disk full"))
    assert namespace.post(number, put("a", 2))
    await until(lambda: house.storages.running, "the commit has begun")

    def fails(ledger: Ledger, turn: Turn) -> None:
        raise KeyError("a mistake of ours")

    with caplog.at_level(logging.CRITICAL):
        assert not namespace.post(number, fails)  # buried, once its commit has ended
        stopping = asyncio.ensure_future(namespace.stop())
        await breathe()
        house.storages.let_go()
        await stopping
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await house.clock.advance(120.0)
        assert asyncio.all_tasks() - {asyncio.current_task()} <= tasks
    assert not [task for task in tasks if "Namespace" in repr(task.get_coro())]
    assert house.lives(number) == 1
