"""What every object storage must do. An implementation's test module gives the fixture ``open_storages``:
a function that opens the storages of ``LEDGER_SCHEMA`` anew on what the last ones left, closing those."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from coordinator.actor.errors import CommitFailed, Fenced, ReadFailed
from coordinator.actor.storage import Batch, Loaded, Read, Storage, Storages, Write

OpenStorages = Callable[[], Awaitable[Storages]]


def note(name: str, value: int, body: bytes | None = None) -> Write:
    return Write("insert", (name, value, body))


def batch(*writes: Write, alarm_at: int | None = None) -> Batch:
    return Batch(list(writes), alarm_at)


def notes(loaded: Loaded) -> dict[str, int]:
    return {name: value for name, value, _ in loaded.rows["notes"]}


async def taken(storages: Storages, number: int = 1) -> tuple[Storage, Loaded]:
    storage = storages.storage(number)
    return storage, await storage.load()


async def read(storage: Storage, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    (rows,) = await storage.read([Read(statement, parameters)])
    return [tuple(row) for row in rows]


class StorageContract:
    async def test_a_new_object_is_empty(self, open_storages: OpenStorages) -> None:
        _, loaded = await taken(await open_storages())
        assert loaded == Loaded(1, None, {"notes": []})

    async def test_what_was_committed_is_loaded(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        await storage.commit(batch(note("b", 2, b"\x00\xff"), note("a", 1)), loaded.generation)
        _, again = await taken(await open_storages())
        assert [tuple(row) for row in again.rows["notes"]] == [("a", 1, None), ("b", 2, b"\x00\xff")]

    async def test_values_at_their_limits(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        text = "é\u2028\U0001f600\x00'\""
        rows = [note(text, 2**63 - 1), note("min", -(2**63)), note("empty", 0, b""), note("", 5)]
        await storage.commit(batch(*rows), loaded.generation)
        _, again = await taken(await open_storages())
        assert notes(again) == {text: 2**63 - 1, "min": -(2**63), "empty": 0, "": 5}
        assert {name: body for name, _, body in again.rows["notes"]}["empty"] == b""

    async def test_statements_run_in_order(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        writes = [
            note("a", 1),
            Write("update", ("a", 2)),
            Write("remove", ("a",)),
            note("a", 3),
            note("b", 4),
            Write("update", ("a", 5)),
            Write("update", ("b", 6)),
            Write("remove", ("never there",)),
        ]
        await storage.commit(batch(*writes), loaded.generation)
        _, again = await taken(await open_storages())
        assert notes(again) == {"a": 5, "b": 6}

    async def test_a_batch_is_whole_or_not_at_all(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        await storage.commit(batch(note("a", 1), alarm_at=7), loaded.generation)
        with pytest.raises(CommitFailed):
            await storage.commit(batch(note("b", 2), note("a", 3), alarm_at=9), loaded.generation)
        await storage.commit(batch(note("c", 4), alarm_at=7), loaded.generation)
        _, again = await taken(await open_storages())
        assert notes(again) == {"a": 1, "c": 4}
        assert again.alarm_at == 7

    async def test_objects_are_apart(self, open_storages: OpenStorages) -> None:
        storages = await open_storages()
        one, first = await taken(storages, 1)
        two, second = await taken(storages, 2)
        await one.commit(batch(note("a", 1), alarm_at=5), first.generation)
        await two.commit(batch(note("a", 2)), second.generation)
        storages = await open_storages()
        _, first = await taken(storages, 1)
        _, second = await taken(storages, 2)
        assert (notes(first), first.alarm_at) == ({"a": 1}, 5)
        assert (notes(second), second.alarm_at) == ({"a": 2}, None)

    async def test_objects_commit_at_the_same_time(self, open_storages: OpenStorages) -> None:
        storages = await open_storages()
        objects = [await taken(storages, number) for number in range(1, 7)]
        for n in range(5):
            write = batch(note(f"n{n}", n))
            await asyncio.gather(*(one.commit(write, loaded.generation) for one, loaded in objects))
        storages = await open_storages()
        for number in range(1, 7):
            _, loaded = await taken(storages, number)
            assert notes(loaded) == {f"n{n}": n for n in range(5)}

    # --- the alarm ----------------------------------------------------------------------------------------

    async def test_the_alarm_is_of_the_last_commit(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        await storage.commit(batch(alarm_at=2**53), loaded.generation)
        storage, loaded = await taken(await open_storages())
        assert loaded.alarm_at == 2**53, "a load leaves it alone"
        await storage.commit(batch(alarm_at=None), loaded.generation)
        _, loaded = await taken(await open_storages())
        assert loaded.alarm_at is None

    # --- ownership ----------------------------------------------------------------------------------------

    async def test_each_owner_has_a_higher_generation(self, open_storages: OpenStorages) -> None:
        storages = await open_storages()
        generations = [(await taken(storages))[1].generation for _ in range(3)]
        generations.append((await taken(await open_storages()))[1].generation)
        assert generations == sorted(set(generations))

    async def test_the_old_owner_can_write_no_more(self, open_storages: OpenStorages) -> None:
        storages = await open_storages()
        old, first = await taken(storages)
        await old.commit(batch(note("a", 1), alarm_at=5), first.generation)
        new, second = await taken(storages)
        assert notes(second) == {"a": 1}
        with pytest.raises(Fenced):
            await old.commit(batch(note("b", 2), alarm_at=6), first.generation)
        await new.commit(batch(note("c", 3), alarm_at=5), second.generation)
        with pytest.raises(Fenced):
            await old.commit(batch(alarm_at=6), first.generation)
        _, third = await taken(await open_storages())
        assert notes(third) == {"a": 1, "c": 3}
        assert third.alarm_at == 5

    async def test_a_generation_that_placement_gave(self, open_storages: OpenStorages) -> None:
        storages = await open_storages()
        storage = storages.storage(1)
        assert (await storage.load(10)).generation == 10
        await storage.commit(batch(note("a", 1)), 10)
        for stale in (9, 10):
            with pytest.raises(Fenced):
                await storage.load(stale)
        await storage.commit(batch(note("b", 2)), 10)
        loaded = await storages.storage(1).load(11)
        assert loaded.generation == 11
        assert notes(loaded) == {"a": 1, "b": 2}

    async def test_an_object_that_nobody_loaded_cannot_be_written(self, open_storages: OpenStorages) -> None:
        storage = (await open_storages()).storage(1)
        with pytest.raises(CommitFailed):
            await storage.commit(batch(note("a", 1)), 1)

    # --- reads --------------------------------------------------------------------------------------------

    async def test_a_read_sees_what_was_committed(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        await storage.commit(batch(note("a", 1), note("b", 2), note("c", 3)), loaded.generation)
        assert await read(storage, "by_name", "b") == [(2,)]
        assert await read(storage, "by_name", "never there") == []
        await storage.commit(batch(Write("update", ("b", 7)), Write("remove", ("a",))), loaded.generation)
        assert await read(storage, "by_name", "b") == [(7,)]
        assert await read(storage, "by_name", "a") == []
        _, again = await taken(await open_storages())
        assert notes(again) == {"b": 7, "c": 3}, "reading changes nothing"

    async def test_parameters_go_where_they_are_declared(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        await storage.commit(batch(*(note(f"n{n}", n) for n in range(10))), loaded.generation)
        assert await read(storage, "between", 3, 9, 4) == [("n4",), ("n5",), ("n6",)]
        assert await read(storage, "between", 100, 9, 8) == [("n8",)]
        assert await read(storage, "between", 0, 9, 4) == []

    async def test_several_reads_at_once_see_one_state(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        await storage.commit(batch(note("a", 0), note("b", 0)), loaded.generation)

        async def write() -> None:
            for n in range(1, 40):
                writes = batch(Write("update", ("a", n)), Write("update", ("b", n)))
                await storage.commit(writes, loaded.generation)

        writing = asyncio.ensure_future(write())
        seen = set()
        while not writing.done():
            (first,), (second,) = await storage.read([Read("by_name", ("a",)), Read("by_name", ("b",))])
            assert first == second
            seen.add(first)
            await asyncio.sleep(0)
        await writing
        assert len(seen) > 1

    async def test_nothing_of_a_failed_batch_is_read(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        await storage.commit(batch(note("a", 1)), loaded.generation)
        with pytest.raises(CommitFailed):
            await storage.commit(batch(note("b", 2), note("a", 3)), loaded.generation)
        assert await read(storage, "by_name", "b") == []
        assert await read(storage, "by_name", "a") == [(1,)]

    async def test_a_closed_object_is_opened_to_be_read(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        await storage.commit(batch(note("a", 1)), loaded.generation)
        await storage.close()
        assert await read(storage, "by_name", "a") == [(1,)]

    async def test_an_object_that_nobody_loaded_cannot_be_read(self, open_storages: OpenStorages) -> None:
        with pytest.raises(ReadFailed):
            await read((await open_storages()).storage(1), "by_name", "a")

    # --- the caller ---------------------------------------------------------------------------------------

    async def test_cancelling_the_caller_does_not_stop_the_commit(self, open_storages: OpenStorages) -> None:
        storages = await open_storages()
        storage, loaded = await taken(storages)
        commit = asyncio.ensure_future(storage.commit(batch(note("a", 1)), loaded.generation))
        await asyncio.sleep(0)
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        _, again = await taken(await open_storages())
        assert notes(again) == {"a": 1}

    async def test_closing_is_safe_at_any_time(self, open_storages: OpenStorages) -> None:
        storages = await open_storages()
        storage: Any
        storage, loaded = await taken(storages)
        await storage.commit(batch(note("a", 1)), loaded.generation)
        await storage.close()
        await storage.close()
        again = await storage.load()
        assert notes(again) == {"a": 1}
        await storages.close()
        await storages.close()
