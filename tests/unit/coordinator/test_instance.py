"""One live object: turns, group commit, what waits for durability, and what happens when it breaks."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from coordinator.actor.errors import CommitFailed, StorageBroken
from coordinator.actor.instance import LATER_S
from coordinator.actor.turn import Hold, Turn, Wait
from coordinator.errors import Unavailable
from tests.support.faulty_storage import FaultyStorages
from tests.support.ledger import Ledger, World, get, put
from tests.support.one_object import DEADLINE_S, House, ask
from tests.support.virtual_clock import VirtualClock, breathe
from tests.support.waiting import until


@pytest.fixture
async def house(ledgers: FaultyStorages, clock: VirtualClock, world: World) -> AsyncIterator[House]:
    house = House(ledgers, clock, world)
    yield house
    ledgers.let_go()
    for instance in house.started:
        await instance.stop()


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


async def test_calls_that_are_handed_over_together_are_one_turn(house: House) -> None:
    instance = await house.start()
    seen: list[tuple[int, int]] = []

    def look(ledger: Ledger, turn: Turn) -> None:
        seen.append((ledger.values["a"], ledger.turns))

    instance.post(put("a", 1), look, put("a", 2), look)
    turns = house.ledger.turns
    assert seen == [(1, turns - 1), (2, turns - 1)]
    await instance.call(get("a"), DEADLINE_S)
    assert [len(batch.writes) for _, batch in house.storages.batches] == [2]


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


def put_and_hold(name: str, value: int) -> Any:
    def call(ledger: Ledger, turn: Turn) -> Any:
        ledger.put(turn, name, value)
        return Hold(name, 10.0, "so far")

    return call


async def test_a_held_answer_is_what_its_topic_is_told_once_that_is_durable(house: House) -> None:
    instance = await house.start()
    held = ask(instance, put_and_hold("a", 1))
    await until(lambda: len(house.storages.batches) == 1, "the first commit has ended")
    house.storages.hold()

    def tell(ledger: Ledger, turn: Turn) -> None:
        ledger.put(turn, "a", 2)
        turn.notify("a", "better")

    instance.post(tell)
    await until(lambda: house.storages.running, "the second commit has begun")
    await breathe()
    assert not held.done()
    house.storages.let_go()
    assert await held == "better"


async def test_a_held_answer_comes_when_its_time_is_over_and_it_is_durable(house: House) -> None:
    instance = await house.start()
    house.storages.hold()
    held = ask(instance, put_and_hold("a", 1))
    await until(lambda: house.storages.running, "the commit has begun")
    await house.clock.advance(10.1)
    assert not held.done()
    house.storages.let_go()
    assert await held == "so far"
    assert instance.idle()


async def test_what_was_accepted_is_said_when_the_instance_goes_and_only_that(house: House) -> None:
    instance = await house.start()
    accepted = ask(instance, put_and_hold("a", 1))
    await until(lambda: len(house.storages.batches) == 1, "the first commit has ended")
    await instance.call(get("a"), DEADLINE_S)
    house.storages.fail(CommitFailed("no room"))
    unknown = ask(instance, put_and_hold("b", 2))
    assert await accepted == "so far"
    with pytest.raises(Unavailable):
        await unknown


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
