"""Many coordinators used in turn: files, threads and memory stay within bounds."""

import threading
from contextlib import suppress
from pathlib import Path

import pytest

from coordinator import calls
from tests.support.coordination import Coordination
from tests.support.waiting import until

OBJECTS = 200
OPEN_LIMIT = 8
"""Of the storages that ``Coordination`` opens."""


def databases_open(folder: Path) -> int:
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += link.readlink().parent == folder
    return count


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
async def test_used_in_turn(server: Coordination, tmp_path: Path) -> None:
    threads = threading.active_count()
    ids: dict[int, str] = {}
    for n in range(OBJECTS):
        number = await server.store.objects.number("default", f"acme/model-{n}")
        id = ids[number] = server.ids.make(number)
        create = calls.Create(
            id=id, account="acme", token="t", pool="default", model=f"acme/model-{n}", input=b"{}"
        )
        reply = await server.models.stub(number).create(create)
        assert isinstance(reply, calls.Found)
    assert databases_open(tmp_path / "objects") <= 2 * (OPEN_LIMIT + 2), "a file and its WAL each"
    assert threading.active_count() <= threads
    await server.advance(server.limits.idle_s + 2)
    live = server.coordinators.namespace._instances
    await until(lambda: not live, "all have left memory")
    for number, id in ids.items():
        found = await server.models.stub(number).get(calls.Get(id=id, account="acme"))
        assert isinstance(found, calls.Found)
    assert databases_open(tmp_path / "objects") <= 2 * (OPEN_LIMIT + 2)
