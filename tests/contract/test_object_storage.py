"""The object storages that there are, held to the contract; and what is special about SQLite."""
# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test prepares a disk

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from coordinator.actor.errors import CommitFailed, StorageBroken
from coordinator.actor.sqlite import CHECKPOINT_BYTES, SqliteStorages
from coordinator.actor.storage import Write
from coordinator.model_schema import MODEL_SCHEMA
from tests.contract.suites.outbox import OutboxContract
from tests.contract.suites.storage import OpenStorages, StorageContract, batch, note, notes, taken
from tests.support.ledger import LEDGER_SCHEMA
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
async def open_storages(folder: Path) -> AsyncIterator[OpenStorages]:
    opened: list[SqliteStorages] = []

    async def open_anew(**options: Any) -> SqliteStorages:
        for storages in opened:
            await storages.close()
        opened.append(SqliteStorages(folder, LEDGER_SCHEMA, **{"threads": 2, "open_limit": 8} | options))
        return opened[-1]

    yield open_anew
    for storages in opened:
        await storages.close()


@pytest.fixture
async def open_models(folder: Path) -> AsyncIterator[OpenStorages]:
    opened: list[SqliteStorages] = []

    async def open_anew() -> SqliteStorages:
        for storages in opened:
            await storages.close()
        opened.append(SqliteStorages(folder, MODEL_SCHEMA, threads=1, open_limit=8))
        return opened[-1]

    yield open_anew
    for storages in opened:
        await storages.close()


class TestSqlite(StorageContract):
    pass


class TestSqliteOutbox(OutboxContract):
    pass


def open_files(folder: Path) -> set[str]:
    """The databases below the folder that this process has open."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            target = link.readlink()
            if target.parent == folder and target.suffix == ".sqlite3":
                found.add(target.name)
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")


class TestFiles:
    async def test_file_names_are_of_the_number_alone(
        self, open_storages: OpenStorages, folder: Path
    ) -> None:
        await taken(await open_storages(), 42)
        assert {path.name for path in folder.iterdir()} == {"000000042.sqlite3", "000000042.sqlite3-wal"}

    @needs_proc
    async def test_the_least_recently_used_are_closed(self, open_storages: Any, folder: Path) -> None:
        storages = await open_storages(open_limit=3)
        objects = {number: await taken(storages, number) for number in range(1, 6)}
        assert open_files(folder) == {f"{number:09d}.sqlite3" for number in (3, 4, 5)}
        for number in (3, 1):  # 3 is used again, 1 comes back; 4 gives way
            storage, loaded = objects[number]
            await storage.commit(batch(note("a", number)), loaded.generation)
        assert open_files(folder) == {f"{number:09d}.sqlite3" for number in (1, 3, 5)}
        _, loaded = await taken(storages, 1)
        assert notes(loaded) == {"a": 1}

    @needs_proc
    async def test_more_objects_at_work_than_may_stay_open(self, open_storages: Any, folder: Path) -> None:
        storages = await open_storages(threads=4, open_limit=2)
        objects = [await taken(storages, number) for number in range(1, 9)]
        for n in range(4):
            await asyncio.gather(
                *(one.commit(batch(note(f"n{n}", n)), loaded.generation) for one, loaded in objects)
            )
        await until(lambda: len(open_files(folder)) <= 4, "the surplus is closed")
        for number in range(1, 9):
            _, loaded = await taken(storages, number)
            assert len(notes(loaded)) == 4

    async def test_the_wal_is_moved_into_the_database(
        self, open_storages: OpenStorages, folder: Path
    ) -> None:
        storage, loaded = await taken(await open_storages())
        body = b"x" * (CHECKPOINT_BYTES // 4)
        database, wal = folder / "000000001.sqlite3", folder / "000000001.sqlite3-wal"
        for n in range(6):
            await storage.commit(batch(note(f"n{n}", n, body)), loaded.generation)
        await until(lambda: database.stat().st_size >= CHECKPOINT_BYTES, "a checkpoint has run")
        # What follows begins the WAL anew: it does not grow with all that was ever written.
        for n in range(6, 30):
            await storage.commit(batch(note(f"n{n}", n, body)), loaded.generation)
        assert wal.stat().st_size < 4 * CHECKPOINT_BYTES
        _, again = await taken(await open_storages())
        assert len(notes(again)) == 30
        assert all(row[2] == body for row in again.rows["notes"])

    async def test_every_commit_is_synced(self, open_storages: OpenStorages, folder: Path) -> None:
        storages = await open_storages()
        storage, loaded = await taken(storages)
        await storage.commit(batch(note("a", 1)), loaded.generation)
        await storages.close()
        database = sqlite3.connect(folder / "000000001.sqlite3")
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A file system of that size; it may be remounted read-only."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


class TestDisk:
    async def test_a_full_disk(self, open_storages: OpenStorages, folder: Path) -> None:
        with small_disk(folder, 512):
            storage, loaded = await taken(await open_storages())
            written = 0
            with pytest.raises(CommitFailed, match="full"):
                while True:
                    await storage.commit(batch(note(f"n{written}", 1, b"x" * 20_000)), loaded.generation)
                    written += 1
            with pytest.raises(CommitFailed):
                await storage.commit(batch(note("again", 1, b"x" * 20_000)), loaded.generation)
            remount(folder, "size=8m")
            await storage.commit(batch(note("space", 1, b"x" * 20_000)), loaded.generation)
            storages = await open_storages()
            _, again = await taken(storages)
            assert notes(again) == {**{f"n{n}": 1 for n in range(written)}, "space": 1}
            assert written > 3
            await storages.close()

    async def test_a_disk_without_room_for_a_new_object(
        self, open_storages: OpenStorages, folder: Path
    ) -> None:
        with small_disk(folder, 64):
            (folder / "filler").write_bytes(b"x" * 60_000)
            storages = await open_storages()
            with pytest.raises(CommitFailed):
                await taken(storages)
            (folder / "filler").unlink()
            storage, loaded = await taken(storages)
            await storage.commit(batch(note("a", 1)), loaded.generation)
            await storages.close()

    async def test_a_read_only_disk(self, open_storages: OpenStorages, folder: Path) -> None:
        with small_disk(folder, 4096):
            storage, loaded = await taken(await open_storages())
            await storage.commit(batch(note("a", 1)), loaded.generation)
            storages = await open_storages()
            remount(folder, "ro")
            for number in (1, 2):
                with pytest.raises(CommitFailed):
                    await taken(storages, number)
            remount(folder, "rw")
            _, again = await taken(storages)
            assert notes(again) == {"a": 1}
            await storages.close()

    async def test_a_folder_that_cannot_be(self, open_storages: OpenStorages, folder: Path) -> None:
        folder.write_bytes(b"a file")
        with pytest.raises(CommitFailed):
            await taken(await open_storages())

    async def test_a_page_limit_stands_for_a_full_disk(
        self, open_storages: OpenStorages, folder: Path
    ) -> None:
        storages = await open_storages()
        storage, loaded = await taken(storages)
        await storage.commit(batch(note("a", 1)), loaded.generation)
        connection = storages._files[1]._connection  # type: ignore[attr-defined]
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(CommitFailed, match="full"):
            await storage.commit(batch(note("b", 1, b"x" * 100_000)), loaded.generation)
        connection.execute("PRAGMA max_page_count = 100000")
        await storage.commit(batch(note("c", 1)), loaded.generation)
        _, again = await taken(await open_storages())
        assert notes(again) == {"a": 1, "c": 1}

    async def test_what_is_no_database_ends_the_process(
        self, open_storages: OpenStorages, folder: Path
    ) -> None:
        folder.mkdir()
        (folder / "000000001.sqlite3").write_bytes(b"something else entirely" * 1000)
        with pytest.raises(StorageBroken):
            await taken(await open_storages())

    async def test_a_row_that_storage_refuses_is_not_the_end(self, open_storages: OpenStorages) -> None:
        storage, loaded = await taken(await open_storages())
        with pytest.raises(CommitFailed):
            await storage.commit(batch(Write("insert", ("a", None, None))), loaded.generation)
        await storage.commit(batch(note("a", 1)), loaded.generation)


WRITER = """
import asyncio, sys
from pathlib import Path
from coordinator.actor.sqlite import SqliteStorages
from coordinator.actor.storage import Batch, Write
from tests.support.ledger import LEDGER_SCHEMA

async def main():
    storages = SqliteStorages(Path(sys.argv[1]), LEDGER_SCHEMA, threads=2, open_limit=8)
    async def write(number):
        storage = storages.storage(number)
        loaded = await storage.load()
        n = 0
        while True:
            rows = [Write("insert", (f"{n}.{part}", n, b"x" * 3000)) for part in range(3)]
            await storage.commit(Batch(rows, n), loaded.generation)
            print(number, n, flush=True)
            n += 1
    await asyncio.gather(write(1), write(2))

asyncio.run(main())
"""


class TestKilled:
    async def test_every_acknowledged_commit_is_there(
        self, open_storages: OpenStorages, folder: Path
    ) -> None:
        for round_ in range(2):
            told = await asyncio.to_thread(self.write_until_killed, folder, 150)
            storages = await open_storages()
            for number in (1, 2):
                _, loaded = await taken(storages, number)
                by_batch: dict[int, int] = {}
                for value in notes(loaded).values():
                    by_batch[value] = by_batch.get(value, 0) + 1
                assert set(by_batch.values()) <= {3}, "each batch is there whole"
                assert sorted(by_batch) == list(range(len(by_batch)))
                assert len(by_batch) > told[number], "what was told is there"
                assert len(by_batch) - told[number] <= 2, "and at most the one that was under way"
                assert loaded.alarm_at == max(by_batch)
                assert loaded.generation == 2, round_
            await storages.close()
            for path in folder.iterdir():
                path.unlink()

    @staticmethod
    def write_until_killed(folder: Path, lines: int) -> dict[int, int]:
        """Runs a writer, kills it in the midst; gives the last commit that it told of, by object."""
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout is not None
        told = {1: -1, 2: -1}
        for count, line in enumerate(process.stdout):
            number, n = line.split()
            told[int(number)] = int(n)
            if count == lines:
                process.send_signal(signal.SIGKILL)
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        return told
