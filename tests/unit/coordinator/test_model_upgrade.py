"""Storage that an earlier release wrote: nothing of it is lost. ``data/object-of-0.1.sql`` is a dump of what
version 0.1.0 left when it was stopped, in virtual time, with the index away from the third creation on."""

import sqlite3
from pathlib import Path

import pytest

from coordinator import calls
from coordinator.actor.sqlite import SqliteStorages
from coordinator.model_schema import MODEL_SCHEMA, OPEN
from coordinator.prediction import Status
from coordinator.protocol import messages as wire
from tests.support.coordination import V2, Coordination, Worker, finished

RUNNING = "000004rtxac88jqvr3chvqk39x"
REFUSED = "0000055wpcsajggp80f057xjdk"
ENDED = "000005kwt08xhaf61v8eb5acvz"
PINNED = "0000064sk2hahqxnd16z0s96ax"
WAITING = "00000481k52shcf5wgkbexhpkj"
OTHERS = "000007ekd1g0mvzqjezr4km53v"
SECRET = "7O21pnt4AImbEwPlCsrbDA"


def old_database(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "000000001.sqlite3"
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript((Path(__file__).parent / "data" / "object-of-0.1.sql").read_text())
    database.close()
    return path


@pytest.fixture
async def upgraded(server: Coordination, tmp_path: Path) -> Coordination:
    """The object wakes on the old database."""
    await server.store.objects.activate(server.number)
    await server.stop()
    old_database(tmp_path / "objects")
    await server.start()
    return server


async def test_every_prediction_goes_on_as_it_was(upgraded: Coordination) -> None:
    server = upgraded
    await server.settled()
    others = await server.stub.get(calls.Get(id=OTHERS, account="other"))
    assert isinstance(others, calls.Found)
    assert (await server.get(PINNED)).version == V2
    assert (await server.get(WAITING)).input == '{"n":"é"}'.encode()
    ended = await server.store.index.get(ENDED, "acme")
    assert ended is not None
    assert (ended.status, ended.output) == (Status.SUCCEEDED, b'"done"')

    worker = Worker(server)
    held = wire.Held(prediction=RUNNING, attempt=1, secret=SECRET, state="running", started_at=1)
    assert await worker.attach(slots=0, held=(held,)) == {RUNNING: "keep"}
    worker.say(finished(wire.Dispatch(channel=3, prediction=RUNNING, attempt=1, secret=SECRET, **WHATEVER)))
    assert (await server.ended(RUNNING)).output == b'"done"'

    worker.offer(4)
    ran = []
    for _ in range(3):
        dispatch = await worker.next_of(wire.Dispatch)
        worker.accept(dispatch)
        worker.finish(dispatch)
        ran.append((dispatch.prediction, dispatch.attempt, bytes(dispatch.input)))
    assert sorted(ran) == sorted(
        [(REFUSED, 2, b'{"n":"lost"}'), (WAITING, 1, '{"n":"é"}'.encode()), (OTHERS, 1, b"{}")]
    )
    new = Worker(server, "new")
    new.version = V2
    await new.attach()
    assert (await new.take()).prediction == PINNED


async def test_all_are_in_the_index(upgraded: Coordination) -> None:
    await upgraded.settled()
    listed = [document.id for document in await upgraded.store.index.list("acme", limit=100)]
    assert sorted(listed) == sorted([RUNNING, REFUSED, ENDED, PINNED, WAITING])


async def test_limits_of_waiting_go_on(upgraded: Coordination) -> None:
    server = upgraded
    await server.advance(600)
    assert (await server.ended(OTHERS)).error_code == "deadline_before_start"
    assert (await server.get(WAITING)).status is Status.STARTING


async def test_it_moves_once_and_whole(tmp_path: Path) -> None:
    path = old_database(tmp_path)
    for _ in range(2):
        storages = SqliteStorages(tmp_path, MODEL_SCHEMA, threads=1, open_limit=1)
        loaded = await storages.storage(1).load()
        await storages.close()
        assert len(loaded.rows[OPEN]) == 2
        assert loaded.alarm_at == 1700000600000000
    database = sqlite3.connect(path)
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "predictions" not in tables
    assert database.execute("SELECT count(*) FROM entries").fetchone() == (6,)
    assert database.execute("SELECT count(*) FROM entries WHERE flow IS NOT NULL").fetchone() == (4,)
    database.close()


async def test_a_move_that_fails_leaves_the_old_table_as_it_was(tmp_path: Path) -> None:
    path = old_database(tmp_path)
    database = sqlite3.connect(path)
    database.execute("UPDATE predictions SET document = x'00' WHERE sequence = 6")
    database.commit()
    before = database.execute("SELECT * FROM predictions").fetchall()
    database.close()
    storages = SqliteStorages(tmp_path, MODEL_SCHEMA, threads=1, open_limit=1)
    with pytest.raises(Exception, match="Expected"):
        await storages.storage(1).load()
    await storages.close()
    database = sqlite3.connect(path)
    assert database.execute("SELECT * FROM predictions").fetchall() == before
    database.close()


WHATEVER: dict[str, object] = {"input": b"{}", "run_s": 1.0, "files": {}}
