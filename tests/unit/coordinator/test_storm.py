"""A coordinator in a storm (``tests/support/storm.py``): whatever comes together, its promises hold.

More seeds, or one that failed: ``STORM_SEEDS=17:18 .venv/bin/pytest tests/unit/coordinator/test_storm.py``.
"""

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from coordinator.actor.sqlite import SqliteStorages
from coordinator.attempts import Attempts
from coordinator.book import Entry, Session
from coordinator.ids import Ids
from coordinator.protocol.limits import ServerLimits
from tests.support.backing import Backing
from tests.support.coordination import Coordination
from tests.support.storm import Storm
from tests.support.virtual_clock import VirtualClock

FIRST, END = map(int, os.environ.get("STORM_SEEDS", "0:16").split(":"))
WINDOWS = (8, 16, 32)
WINDOW_BYTES = (1 << 20, 30, 60, 120)
STEPS = (60, 150, 400)


@pytest.fixture(autouse=True)
def in_an_order_that_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases answer at once, on the loop's own thread: the same seed, the same order."""

    async def run(storages: SqliteStorages, function: Callable[[], Any]) -> Any:
        return function()

    async def execute(connection: aiosqlite.Connection, function: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    monkeypatch.setattr(SqliteStorages, "run", run)
    monkeypatch.setattr(aiosqlite.core.Connection, "_execute", execute)
    monkeypatch.setattr("coordinator.projector.GATHER_S", 0.0)
    monkeypatch.setattr("coordinator.backlog.PAGE", 4)


@pytest.fixture(autouse=True)
def no_cap_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Attempts._begin

    def checked(attempts: Attempts, entry: Entry, session: Session) -> None:
        begin(attempts, entry, session)
        document, book = entry.document, attempts._book
        running = sum(each.document.token == document.token for each in book.running.values())
        assert running <= (document.max_running or running), f"{document.token} runs {running}"

    monkeypatch.setattr(Attempts, "_begin", checked)


@pytest.fixture
async def storms(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Callable[[int], Awaitable[Storm]]]:
    begun: list[Storm] = []

    async def begin(seed: int) -> Storm:
        limits = ServerLimits(
            queue_window=WINDOWS[seed % 3], queue_window_bytes=WINDOW_BYTES[seed % 4], lease_s=30.0
        )
        server = Coordination(tmp_path, clock, limits)
        server.ids = Ids(b"i" * 32, random.Random(seed).getrandbits)
        await server.start()
        begun.append(Storm(server, seed))
        return begun[-1]

    yield begin
    for storm in begun:
        await storm.house.stop()


@contextmanager
def told(seed: int, storm: Storm, folder: Path) -> Iterator[None]:
    """A failure says how to have it again, and what had happened."""
    try:
        yield
    except AssertionError as error:
        story = folder / "story.txt"
        story.write_text("\n".join(storm.story))
        raise AssertionError(f"STORM_SEEDS={seed}:{seed + 1} fails, see {story}: {error}") from error


Begin = Callable[[int], Awaitable[Storm]]


@pytest.mark.parametrize("seed", range(FIRST, END))
async def test_storm(seed: int, tmp_path: Path, storms: Begin) -> None:
    storm = await storms(seed)
    with told(seed, storm, tmp_path):
        await storm.steps(STEPS[seed // 3 % 3])
        await storm.calm()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + (END - FIRST + 3) // 4))
async def test_a_backup_in_a_storm_is_one_state(seed: int, tmp_path: Path, storms: Begin) -> None:
    storm = await storms(seed)
    with told(seed, storm, tmp_path):
        await storm.steps(STEPS[seed % 2])
        await storm.clear()
        await storm.settled()
        accepted, ended = set(storm.accepted), dict(storm.ended)
        server, storm.restarts = storm.house, False  # a server that ends makes no backup
        backing = Backing(server, tmp_path / "backup", tmp_path)

        async def meanwhile() -> None:
            await storm.steps(15)
            storm.let_go()

        backing.before_objects = backing.before_files = meanwhile
        await backing.make()
        await storm.calm()
        await server.stop()
        other = await backing.copied(tmp_path / "restored")
        other.ids = server.ids
        await storm.restored(other, accepted, ended)
        await storm.calm()
