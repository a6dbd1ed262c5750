"""Copies of objects' databases that are in use: whole, of one state, and no hindrance to commits."""
# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at files

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from coordinator.actor.copying import STEP_PAGES
from coordinator.actor.errors import ReadFailed
from coordinator.actor.sqlite import SqliteStorages
from tests.contract.suites.storage import batch, note, taken
from tests.support.ledger import LEDGER_SCHEMA

BODY = b"x" * 40_000
STEP_BYTES = STEP_PAGES * 4096


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "copy.sqlite3"


@pytest.fixture
async def storages(tmp_path: Path) -> AsyncIterator[SqliteStorages]:
    storages = SqliteStorages(tmp_path / "objects", LEDGER_SCHEMA, threads=2, open_limit=2)
    yield storages
    await storages.close()


async def filled(storages: SqliteStorages, count: int = 4 * STEP_BYTES // len(BODY)) -> Any:
    storage, loaded = await taken(storages)
    for n in range(count):
        await storage.commit(batch(note(f"n{n}", n, BODY)), loaded.generation)
    return storage, loaded


def at_each_step(work: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[[int], None]:
    """A ``between`` that has the loop do something, and waits for it."""
    loop = asyncio.get_running_loop()
    return lambda count: asyncio.run_coroutine_threadsafe(work(), loop).result(20)


def names(path: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {row[0] for row in db.execute("SELECT name FROM notes")}


async def test_commits_go_on_and_are_in_it(storages: SqliteStorages, target: Path) -> None:
    storage, loaded = await filled(storages)
    written = []

    async def write() -> None:
        name = f"late{len(written)}"
        await storage.commit(batch(note(name, 1, BODY)), loaded.generation)
        written.append(name)

    assert await asyncio.to_thread(storages.copy, 1, target, at_each_step(write))
    assert len(written) >= 4
    # The last call comes when there is nothing left to copy; all before it are in.
    assert names(target) >= {f"n{n}" for n in range(10)} | {*written[:-1]}
    assert target.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in target.parent.iterdir()} == {"objects", target.name}, "it has no WAL"


async def test_a_copy_can_be_an_objects_storage_again(
    storages: SqliteStorages, target: Path, tmp_path: Path
) -> None:
    _, loaded = await filled(storages, 3)
    assert storages.copy(1, target, lambda count: None)
    (tmp_path / "again").mkdir()
    target.rename(tmp_path / "again" / "000000001.sqlite3")
    others = SqliteStorages(tmp_path / "again", LEDGER_SCHEMA, threads=1, open_limit=2)
    _, again = await taken(others)
    await others.close()
    assert again.generation > loaded.generation
    assert [row[0] for row in again.rows["notes"]] == ["n0", "n1", "n2"]


async def test_an_object_that_leaves_memory_meanwhile(storages: SqliteStorages, target: Path) -> None:
    storage, _ = await filled(storages)

    async def leave_and_return() -> None:
        await storage.close()
        await taken(storages, 2)
        await taken(storages, 3)
        await storage.load()

    assert await asyncio.to_thread(storages.copy, 1, target, at_each_step(leave_and_return))
    assert "n0" in names(target)


async def test_the_end_of_the_storages_ends_a_copy(storages: SqliteStorages, target: Path) -> None:
    await filled(storages)
    with pytest.raises(ReadFailed):
        await asyncio.to_thread(storages.copy, 1, target, at_each_step(storages.close))


async def test_what_ends_a_copy_leaves_the_object_at_work(storages: SqliteStorages, target: Path) -> None:
    storage, loaded = await filled(storages)

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storages.copy(1, target, stop)
    await storage.commit(batch(note("after", 1)), loaded.generation)
    target.unlink()
    assert storages.copy(1, target, lambda count: None)
    assert "after" in names(target)


async def test_an_object_without_storage_is_not_made(
    storages: SqliteStorages, target: Path, tmp_path: Path
) -> None:
    assert not storages.copy(7, target, lambda count: None)
    assert not target.exists()
    assert not (tmp_path / "objects").exists()


async def test_the_schema_says_what_becomes_of_a_copy(target: Path, tmp_path: Path) -> None:
    schema = replace(LEDGER_SCHEMA, copied=(text("DELETE FROM notes WHERE name = 'n1'"),))
    storages = SqliteStorages(tmp_path / "objects", schema, threads=1, open_limit=2)
    await filled(storages, 3)
    assert storages.copy(1, target, lambda count: None)
    assert names(target) == {"n0", "n2"}
    await storages.close()
    assert names(tmp_path / "objects" / "000000001.sqlite3") == {"n0", "n1", "n2"}
