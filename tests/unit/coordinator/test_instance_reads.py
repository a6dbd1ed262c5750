"""One live object that reads: calls that fetch rows first, and turns that have rows read."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from coordinator.actor.errors import ReadFailed, StorageBroken
from coordinator.actor.storage import Read
from coordinator.actor.turn import Fetch, Turn
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
