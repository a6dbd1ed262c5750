"""Fixtures of the coordinator's tests: real files, virtual time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from coordinator.actor.sqlite import SqliteStorages
from coordinator.protocol.limits import ServerLimits
from coordinator.store.database import Store
from tests.support.control_store import open_store
from tests.support.coordination import Coordination
from tests.support.faulty_storage import FaultyStorages
from tests.support.ledger import LEDGER_SCHEMA, World
from tests.support.virtual_clock import VirtualClock

# The machine may be busy: no deadline. The same examples each time: a failure is there again tomorrow.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def ledgers(tmp_path: Path) -> AsyncIterator[FaultyStorages]:
    """The storage of ledgers: SQLite files, with commits that can be held and failed."""
    storages = FaultyStorages(SqliteStorages(tmp_path / "objects", LEDGER_SCHEMA, threads=2, open_limit=8))
    yield storages
    storages.let_go()
    await storages.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(tmp_path / "control.db")
    yield store
    await store.close()


@pytest.fixture
def limits() -> ServerLimits:
    return ServerLimits()


@pytest.fixture
async def server(
    tmp_path: Path, clock: VirtualClock, limits: ServerLimits, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Coordination]:
    """Coordinators of the model ``MODEL``, whose projector waits for no batch to gather."""
    monkeypatch.setattr("coordinator.projector.GATHER_S", 0.0)
    server = Coordination(tmp_path, clock, limits)
    await server.start()
    yield server
    await server.stop()
    assert server.fatal == []
