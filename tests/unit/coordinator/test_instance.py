"""One live object: turns, group commit, what waits for durability, and what happens when it breaks."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from coordinator.actor.errors import CommitFailed, ReadFailed, StorageBroken
from coordinator.actor.instance import LATER_S, Instance
from coordinator.actor.storage import Read
from coordinator.actor.turn import Fetch, Turn, Wait
from coordinator.errors import Unavailable
from tests.support.faulty_storage import FaultyStorages
from tests.support.ledger import Ledger, World, get, put
from tests.support.virtual_clock import VirtualClock, breathe
from tests.support.waiting import until

DEADLINE_S = 30.0


class House:
    """Starts instances of object 1, one after the other."""

    def __init__(self, storages: FaultyStorages, clock: VirtualClock, world: World) -> None:
        self.storages = storages
        self.clock = clock
        self.world = world
        self.broken: list[Instance] = []
        self.ledger: Ledger
        self.started: list[Instance] = []

    async def start(self, **attributes: Any) -> Instance:
        self.ledger = Ledger(1)
        for name, value in attributes.items():
            setattr(self.ledger, name, value)
        instance = Instance(
            1,
            self.ledger,
            self.storages.storage(1),
            clock=self.clock,
            outside=self.world,
            on_broken=self.broken.append,
            before_timer=lambda: None,
        )
        self.started.append(instance)
        await instance.start()
        return instance

    async def again(self, **attributes: Any) -> Instance:
        """The next instance, once the last one's writer has ended."""
        await self.started[-1].writer_ended()
        return await self.start(**attributes)


@pytest.fixture
async def house(ledgers: FaultyStorages, clock: VirtualClock, world: World) -> AsyncIterator[House]:
    house = House(ledgers, clock, world)
    yield house
    ledgers.let_go()
    for instance in house.started:
        await instance.stop()


def ask(instance: Instance, call: Any, deadline_s: float = DEADLINE_S) -> "asyncio.Task[Any]":
    return asyncio.ensure_future(instance.call(call, deadline_s))


# --- durability -------------------------------------------------------------------------------------------


async def test_a_reply_comes_once_its_write_is_durable(house: House) -> None:
    instance = await house.start()
    house.storages.hold()
    reply = ask(instance, put("a", 1))
    await until(lambda: house.storages.running, "the commit has begun")
    await breathe()
    assert not reply.done()
    house.storages.let_go()
    assert await reply == 1
    again = await house.again()
    assert house.ledger.values == {"a": 1}
    assert not again.broken


async def test_a_read_waits_for_the_write_that_it_saw(house: House) -> None:
    instance = await house.start()
    house.storages.hold()
    ask(instance, put("a", 1))
    read = ask(instance, get("a"))
    await until(lambda: house.storages.running, "the commit has begun")
    await breathe()
    assert not read.done()
    house.storages.let_go()
    assert await read == 1


async def test_a_read_of_what_is_durable_does_not_wait(house: House) -> None:
    instance = await house.start()
    await instance.call(put("a", 1), DEADLINE_S)
    house.storages.hold()
    assert await instance.call(get("a"), DEADLINE_S) == 1


async def test_turns_that_run_during_a_commit_share_the_next_one(house: House) -> None:
    instance = await house.start()
    house.storages.hold()
    replies = [ask(instance, put("first", 0))]
    await until(lambda: house.storages.running, "the first commit has begun")
    replies += [ask(instance, put(f"n{n}", n)) for n in range(50)]
    await breathe()
    house.storages.let_go()
    assert await asyncio.gather(*replies) == [0, *range(50)]
    assert [len(batch.writes) for _, batch in house.storages.batches] == [1, 50]


async def test_turns_before_the_commit_begins_share_it(house: House) -> None:
    instance = await house.start()
    for n in range(20):
        instance.post(put(f"n{n}", n))
    await instance.call(get("n0"), DEADLINE_S)
    assert [len(batch.writes) for _, batch in house.storages.batches] == [20]


async def test_messages_leave_after_their_commit_and_in_order(house: House) -> None:
    instance = await house.start()

    def work(ledger: Ledger, turn: Turn) -> None:
        ledger.put(turn, "a", 1)
        turn.send("socket", "one")
        turn.send("other", "two")

    house.storages.hold()
    instance.post(work)
    instance.post(lambda ledger, turn: turn.send("socket", "three"))  # a read, but of what is not durable yet
    await until(lambda: house.storages.running, "the commit has begun")
    await breathe()
    assert house.world.sent == []
    house.storages.let_go()
    await instance.call(get("a"), DEADLINE_S)
    assert house.world.sent == [("socket", "one"), ("other", "two"), ("socket", "three")]


async def test_an_effect_begins_after_its_commit_and_comes_back_as_a_call(house: House) -> None:
    instance = await house.start()
    begun: list[str] = []

    async def look() -> Any:
        begun.append("looked")
        return put("seen", 7)

    def work(ledger: Ledger, turn: Turn) -> None:
        ledger.put(turn, "a", 1)
        turn.effect(look)

    house.storages.hold()
    instance.post(work)
    await until(lambda: house.storages.running, "the commit has begun")
    await breathe()
    assert begun == []
    assert not instance.idle()
    house.storages.let_go()
    await until(lambda: house.ledger.values.get("seen"), "the effect has come back")
    assert await instance.call(get("seen"), DEADLINE_S) == 7
    assert instance.idle()


async def test_a_call_that_is_not_durable_in_time_is_unknown(house: House) -> None:
    instance = await house.start()
    house.storages.hold()
    reply = ask(instance, put("a", 1), 5.0)
    await until(lambda: house.storages.running, "the commit has begun")
    await house.clock.advance(4.9)
    assert not reply.done()
    await house.clock.advance(0.2)
    with pytest.raises(Unavailable, match="in time"):
        await reply
    house.storages.let_go()
    assert await instance.call(get("a"), DEADLINE_S) == 1  # unknown, not undone


async def test_stop_commits_what_is_staged(house: House) -> None:
    instance = await house.start()
    house.storages.hold()
    instance.post(put("a", 1))
    await until(lambda: house.storages.running, "the first commit has begun")
    instance.post(put("b", 2))
    stopping = asyncio.ensure_future(instance.stop())
    await breathe()
    assert not stopping.done()
    house.storages.let_go()
    assert await stopping
    assert not await instance.stop(), "an ended instance has nothing more to make durable"
    with pytest.raises(Unavailable):
        await instance.call(get("a"), DEADLINE_S)
    await house.start()
    assert house.ledger.values == {"a": 1, "b": 2}


def put_later(name: str, value: int) -> Any:
    return lambda ledger, turn: turn.write_later("insert", name, value, None)


async def test_a_write_that_nothing_depends_on_rides_with_the_next_commit(house: House) -> None:
    instance = await house.start()
    instance.post(put_later("a", 1))
    await breathe()
    assert house.storages.batches == []
    await instance.call(put("b", 2), DEADLINE_S)
    await house.clock.advance(LATER_S * 2)
    assert [len(batch.writes) for _, batch in house.storages.batches] == [2]


async def test_or_has_a_commit_of_its_own(house: House) -> None:
    instance = await house.start()
    for name in "abc":
        instance.post(put_later(name, 1))
    await house.clock.advance(LATER_S - 0.1)
    assert house.storages.batches == []
    await house.clock.advance(0.2)
    await until(lambda: len(house.storages.batches) == 1, "the commit has begun")
    assert await instance.stop()
    await house.start()
    assert house.ledger.values == {"a": 1, "b": 1, "c": 1}
    assert len(house.storages.batches) == 1


async def test_or_goes_with_the_stop(house: House) -> None:
    instance = await house.start()
    instance.post(put_later("a", 1))
    assert await instance.stop()
    await house.start()
    assert house.ledger.values == {"a": 1}


async def test_stop_ends_waits_and_effects(house: House) -> None:
    instance = await house.start()
    never = asyncio.Event()
    instance.post(lambda ledger, turn: turn.effect(never.wait))
    waiting = ask(instance, lambda ledger, turn: Wait("topic", 100.0, get("a")))
    await breathe()
    assert await instance.stop()
    with pytest.raises(Unavailable):
        await waiting


# --- broken -----------------------------------------------------------------------------------------------


async def test_a_turn_that_raises_breaks_the_instance(house: House, caplog: pytest.LogCaptureFixture) -> None:
    instance = await house.start()
    house.storages.hold()
    ahead = ask(instance, put("a", 1))
    await until(lambda: house.storages.running, "the commit has begun")
    staged = ask(instance, put("b", 2))
    await breathe()

    def fails(ledger: Ledger, turn: Turn) -> None:
        ledger.put(turn, "c", 3)
        turn.send("socket", "never said")
        raise KeyError("a mistake of ours")

    with caplog.at_level(logging.CRITICAL), pytest.raises(Unavailable):
        await instance.call(fails, DEADLINE_S)
    assert house.broken == [instance]
    for reply in (ahead, staged):
        with pytest.raises(Unavailable):
            await reply
    house.storages.let_go()
    await house.again()
    # The commit that ran is durable, though nobody was told; what was only staged is not.
    assert house.ledger.values == {"a": 1}
    assert house.world.sent == []


@pytest.mark.parametrize("error", [CommitFailed("disk full"), OverflowError("too large for SQLite")])
async def test_a_failed_commit_is_unknown_to_all_that_waited(house: House, error: Exception) -> None:
    instance = await house.start()
    await instance.call(put("a", 1), DEADLINE_S)

    def work(ledger: Ledger, turn: Turn) -> None:
        ledger.put(turn, "b", 2)
        turn.send("socket", "never said")
        turn.notify("topic")

    house.storages.hold()
    house.storages.fail(error)
    waiting = ask(instance, lambda ledger, turn: Wait("topic", 100.0, get("a")))
    failing = [ask(instance, work), ask(instance, get("b"))]
    await until(lambda: house.storages.running, "the commit has begun")
    later = ask(instance, put("c", 3))
    await breathe()
    house.storages.let_go()
    for reply in (*failing, later, waiting):
        with pytest.raises(Unavailable):
            await reply
    assert house.broken == [instance]
    assert house.world.sent == []
    assert house.world.fatal_errors == []
    with pytest.raises(Unavailable):
        instance.post(put("d", 4))
    assert not await instance.stop()
    await house.again()
    assert house.ledger.values == {"a": 1}


async def test_the_nth_commit_fails_and_those_before_it_stand(house: House) -> None:
    instance = await house.start()
    house.storages.fail(CommitFailed("disk full"), after=3)
    for n in range(3):
        await instance.call(put(f"n{n}", n), DEADLINE_S)
    with pytest.raises(Unavailable):
        await instance.call(put("n3", 3), DEADLINE_S)
    await house.again()
    assert house.ledger.values == {"n0": 0, "n1": 1, "n2": 2}


async def test_a_row_that_storage_cannot_take_breaks_only_the_instance(house: House) -> None:
    instance = await house.start()
    with pytest.raises(Unavailable):
        await instance.call(lambda ledger, turn: turn.write("insert", "a", 2**70, None), DEADLINE_S)
    assert house.broken == [instance]
    assert house.world.fatal_errors == []
    await house.again()
    assert house.ledger.values == {}


async def test_a_broken_device_ends_the_process(house: House) -> None:
    instance = await house.start()
    error = StorageBroken("fsync failed")
    house.storages.fail(error)
    with pytest.raises(Unavailable):
        await instance.call(put("a", 1), DEADLINE_S)
    assert house.world.fatal_errors == [error]


async def test_an_effect_that_fails_breaks_the_instance(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    instance = await house.start()

    async def fails() -> None:
        raise Unavailable("storage is away")

    with caplog.at_level(logging.CRITICAL):
        instance.post(lambda ledger, turn: turn.effect(fails))
        await until(lambda: house.broken, "the instance is discarded")


async def test_the_effects_of_a_broken_instance_end(house: House) -> None:
    instance = await house.start()
    ended = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    instance.post(lambda ledger, turn: turn.effect(long))
    await breathe()
    house.storages.fail(CommitFailed("disk full"))
    with pytest.raises(Unavailable):
        await instance.call(put("a", 1), DEADLINE_S)
    await asyncio.wait_for(ended.wait(), 5)


async def test_the_writer_of_a_broken_instance_is_waited_for(house: House) -> None:
    instance = await house.start()
    house.storages.hold()
    instance.post(put("a", 1))
    await until(lambda: house.storages.running, "the commit has begun")
    with pytest.raises(Unavailable):
        instance.post(lambda ledger, turn: ledger.values[turn.now])
    ended = asyncio.ensure_future(instance.writer_ended())
    await breathe()
    assert not ended.done()
    house.storages.let_go()
    await ended


async def test_loading_that_fails_says_so(house: House) -> None:
    house.storages.fail_load(CommitFailed("read-only disk"))
    with pytest.raises(CommitFailed):
        await house.start()

    def fails(turn: Turn) -> None:
        raise ValueError("a row of a newer version")

    with pytest.raises(Unavailable):
        await house.start(on_load=fails)


# --- waiting ----------------------------------------------------------------------------------------------


def wait_for(name: str, timeout_s: float = 10.0) -> Any:
    """A call that waits until the ledger has that name; afterwards it answers "nothing"."""

    def call(ledger: Ledger, turn: Turn) -> Any:
        if name in ledger.values:
            return ledger.values[name]
        return Wait(name, timeout_s, lambda ledger, turn: "nothing")

    return call


def put_and_tell(name: str, value: int, topic: str | None = None) -> Any:
    def call(ledger: Ledger, turn: Turn) -> None:
        ledger.put(turn, name, value)
        turn.notify(topic or name)

    return call


async def test_a_wait_ends_when_its_topic_is_told_and_durable(house: House) -> None:
    instance = await house.start()
    waiting = ask(instance, wait_for("a"))
    await breathe()
    assert not instance.idle()
    house.storages.hold()
    instance.post(put_and_tell("a", 5))
    await until(lambda: house.storages.running, "the commit has begun")
    await breathe()
    assert not waiting.done()
    house.storages.let_go()
    assert await waiting == 5
    assert instance.idle()


async def test_a_wait_asks_otherwise_when_its_time_is_over(house: House) -> None:
    instance = await house.start()
    waiting = ask(instance, wait_for("a", 10.0))
    await house.clock.advance(9.9)
    assert not waiting.done()
    await house.clock.advance(0.1)
    assert await waiting == "nothing"


async def test_being_told_of_other_things_does_not_make_the_wait_longer(house: House) -> None:
    instance = await house.start()
    waiting = ask(instance, wait_for("a", 10.0))
    for n in range(3):
        await house.clock.advance(3.0)
        await instance.call(put_and_tell(f"other{n}", n, topic="a"), DEADLINE_S)
        await breathe()
        assert not waiting.done()
    await house.clock.advance(1.1)
    assert await waiting == "nothing"


async def test_progress_wakes_at_once_but_not_before_a_gated_notice(house: House) -> None:
    instance = await house.start()
    house.storages.hold()
    instance.post(put("unrelated", 1))
    await until(lambda: house.storages.running, "the commit has begun")
    asked: list[str] = []

    def listen(topic: str) -> Any:
        def call(ledger: Ledger, turn: Turn) -> Any:
            asked.append(topic)
            return Wait(topic, 10.0, get("a"))

        return call

    tasks = [ask(instance, listen("delta")), ask(instance, listen("ended"))]
    await breathe()
    asked.clear()
    instance.post(lambda ledger, turn: turn.notify_at_once("delta"))
    await breathe()
    assert asked == ["delta"]
    instance.post(lambda ledger, turn: turn.notify("ended"))
    instance.post(lambda ledger, turn: turn.notify_at_once("ended"))
    await breathe()
    assert asked == ["delta"]
    house.storages.let_go()
    await until(lambda: "ended" in asked, "the gated notice has left")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert instance.idle(), "calls that were cancelled are gone"


# --- alarm and timer --------------------------------------------------------------------------------------


def set_alarm(at: int | None) -> Any:
    return lambda ledger, turn: turn.alarm_at(at)


async def test_the_alarm_comes_when_it_is_due(house: House) -> None:
    instance = await house.start()
    at = house.clock.now() + 10_000_000
    await instance.call(set_alarm(at), DEADLINE_S)
    await house.clock.advance(9.9)
    assert house.ledger.alarms == []
    await house.clock.advance(0.2)
    assert house.ledger.alarms == [at]
    await instance.call(get("a"), DEADLINE_S)
    assert instance.next_alarm is None
    await house.clock.advance(100.0)
    assert len(house.ledger.alarms) == 1


async def test_the_alarm_outlives_the_instance(house: House) -> None:
    instance = await house.start()
    at = house.clock.now() + 10_000_000
    await instance.call(set_alarm(at), DEADLINE_S)
    await instance.stop()
    await house.clock.advance(60.0)
    assert house.ledger.alarms == []
    again = await house.start()
    await house.clock.advance(0.0)
    assert house.ledger.alarms == [house.clock.now()]
    assert again.next_alarm is None


async def test_an_alarm_whose_commit_failed_comes_again(house: House) -> None:
    instance = await house.start()
    await instance.call(set_alarm(house.clock.now() + 1_000_000), DEADLINE_S)
    house.storages.fail(CommitFailed("disk full"))
    await house.clock.advance(1.0)
    assert len(house.ledger.alarms) == 1
    await until(lambda: house.broken, "the commit has failed")
    await house.again()
    await house.clock.advance(0.0)
    assert len(house.ledger.alarms) == 1, "it is another ledger, told for the first time"


async def test_an_earlier_alarm_takes_the_place_of_a_later_one(house: House) -> None:
    instance = await house.start()
    soon = house.clock.now() + 1_000_000
    await instance.call(set_alarm(soon + 9_000_000), DEADLINE_S)
    await instance.call(set_alarm(soon), DEADLINE_S)
    await house.clock.advance(1.0)
    assert house.ledger.alarms == [soon]
    await house.clock.advance(20.0)
    assert len(house.ledger.alarms) == 1


async def test_the_alarm_waits_when_the_wall_clock_is_set_back(house: House) -> None:
    instance = await house.start()
    at = house.clock.now() + 10_000_000
    await instance.call(set_alarm(at), DEADLINE_S)
    house.clock.set_wall_clock(-3600)
    await house.clock.advance(10.0)
    assert house.ledger.alarms == []
    await house.clock.advance(3600.0)
    assert house.ledger.alarms == [at]


async def test_the_timer_is_one_and_of_the_instance(house: House) -> None:
    instance = await house.start()
    start = house.clock.monotonic()
    instance.post(lambda ledger, turn: turn.timer_at(start + 5))
    instance.post(lambda ledger, turn: turn.timer_at(start + 2))
    await house.clock.advance(3.0)
    assert house.ledger.timers == [start + 2]
    instance.post(lambda ledger, turn: turn.timer_at(start + 4))
    instance.post(lambda ledger, turn: turn.timer_at(None))
    await house.clock.advance(9.0)
    assert len(house.ledger.timers) == 1
    instance.post(lambda ledger, turn: turn.timer_at(house.clock.monotonic() + 1))
    await instance.stop()
    await house.clock.advance(9.0)
    assert len(house.ledger.timers) == 1


# --- reading ----------------------------------------------------------------------------------------------


def value_of(name: str) -> Any:
    """A call that answers with what storage has of this name."""

    def call(ledger: Ledger, turn: Turn, rows: Any = None) -> Any:
        return Fetch((Read("by_name", (name,)),)) if rows is None else rows[0]

    return call


def look(tag: str, *names: str) -> Any:
    """A call that has these names read."""
    return lambda ledger, turn: turn.read(tag, *(Read("by_name", (name,)) for name in names))


async def test_a_handler_is_asked_again_with_the_rows_that_it_wants(house: House) -> None:
    instance = await house.start()
    await instance.call(put("a", 1), DEADLINE_S)
    assert await instance.call(value_of("a"), DEADLINE_S) == [(1,)]
    assert await instance.call(value_of("b"), DEADLINE_S) == []


async def test_rows_are_read_once_all_before_is_durable(house: House) -> None:
    instance = await house.start()
    house.storages.hold()
    ask(instance, put("a", 1))
    reply = ask(instance, value_of("a"))
    await until(lambda: house.storages.running, "the commit has begun")
    await breathe()
    assert house.storages.reads == []
    house.storages.let_go()
    assert await reply == [(1,)]


async def test_other_turns_run_while_rows_are_read(house: House) -> None:
    instance = await house.start()
    await instance.call(put("a", 1), DEADLINE_S)
    house.storages.hold_reads()
    reply = ask(instance, value_of("a"))
    await until(lambda: house.storages.reading, "the read has begun")
    await instance.call(put("a", 2), DEADLINE_S)
    house.storages.let_go()
    assert await reply == [(1,)], "the rows are of when they were read"


async def test_a_posted_call_may_fetch_too(house: House) -> None:
    instance = await house.start()
    seen: list[Any] = []

    def call(ledger: Ledger, turn: Turn, rows: Any = None) -> Any:
        if rows is None:
            return Fetch((Read("by_name", ("a",)),))
        seen.append(rows)
        return None

    instance.post(put("a", 1))
    instance.post(call)
    await until(lambda: seen, "the call has its rows")
    assert seen == [[[(1,)]]]


async def test_what_a_turn_has_read_comes_as_a_turn(house: House) -> None:
    instance = await house.start()

    def call(ledger: Ledger, turn: Turn) -> None:
        ledger.put(turn, "a", 1)
        look("both", "a", "b")(ledger, turn)

    house.storages.hold()
    instance.post(call)
    await until(lambda: house.storages.running, "the commit has begun")
    await breathe()
    assert house.storages.reads == []
    house.storages.let_go()
    await until(lambda: house.ledger.read, "the rows come")
    assert house.ledger.read == [("both", [[(1,)], []])]


async def test_it_is_known_which_reads_may_still_bring_old_rows(house: House) -> None:
    instance = await house.start()
    assert (instance.reads_begun, instance.reads_ended) == (0, 0)
    house.storages.hold_reads()
    instance.post(look("first", "a"))
    fetching = ask(instance, value_of("a"))
    await until(lambda: house.storages.reading == 2, "both are under way")
    assert (instance.reads_begun, instance.reads_ended) == (2, 0)
    fetching.cancel()
    await asyncio.wait([fetching])
    instance.post(look("third", "a"))
    assert (instance.reads_begun, instance.reads_ended) == (3, 0)
    house.storages.let_go()
    await until(lambda: len(house.ledger.read) == 2, "the rows come")
    assert (instance.reads_begun, instance.reads_ended) == (3, 3)


async def test_an_object_that_reads_is_at_work(house: House) -> None:
    instance = await house.start()
    house.storages.hold_reads()
    instance.post(look("one", "a"))
    assert not instance.idle()
    house.storages.let_go()
    await until(instance.idle, "it is idle")
    assert len(house.ledger.read) == 1


async def test_rows_that_do_not_come_in_time_are_unknown(house: House) -> None:
    instance = await house.start()
    house.storages.hold_reads()
    reply = ask(instance, value_of("a"), deadline_s=5.0)
    await until(lambda: house.storages.reading, "the read has begun")
    await house.clock.advance(5)
    with pytest.raises(Unavailable, match="in time"):
        await reply
    assert instance.broken is None
    house.storages.let_go()
    assert await instance.call(value_of("a"), DEADLINE_S) == []


@pytest.mark.parametrize("how", ["called", "posted", "of a turn"])
@pytest.mark.parametrize("error", [ReadFailed("no file handles"), StorageBroken("disk I/O error")])
async def test_a_read_that_fails_breaks_the_instance(house: House, error: Exception, how: str) -> None:
    instance = await house.start()
    await instance.call(put("a", 1), DEADLINE_S)
    house.storages.fail_read(error)
    if how == "called":
        with pytest.raises(Unavailable):
            await instance.call(value_of("a"), DEADLINE_S)
    else:
        instance.post(value_of("a") if how == "posted" else look("one", "a"))
    await until(lambda: house.broken, "it is discarded")
    assert house.broken == [instance]
    assert house.world.fatal_errors == ([error] if isinstance(error, StorageBroken) else [])
    with pytest.raises(Unavailable):
        await instance.call(get("a"), DEADLINE_S)
    again = await house.again()
    assert await again.call(value_of("a"), DEADLINE_S) == [(1,)]
    assert house.ledger.read == []


async def test_stop_ends_reads(house: House) -> None:
    instance = await house.start()
    house.storages.hold_reads()
    reply = ask(instance, value_of("a"))
    instance.post(look("one", "a"))
    await until(lambda: house.storages.reading == 2, "the reads have begun")
    assert await instance.stop()
    with pytest.raises(Unavailable):
        await reply
    assert house.ledger.read == []
