"""A backup of coordinators at work: whatever happens between its steps, what is restored is one state."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.backup.pace import Pace
from coordinator.backup.reading import verify
from coordinator.prediction import Document, Status
from coordinator.protocol import messages as wire
from coordinator.store.copies import GAP
from tests.support.backing import RATE, Backing
from tests.support.coordination import Coordination, Worker
from tests.support.waiting import until, until_async


@pytest.fixture
def backing(server: Coordination, tmp_path: Path) -> Backing:
    return Backing(server, tmp_path / "backup", tmp_path)


async def known(server: Coordination, id: str) -> Document:
    """The prediction as a client finds it: with the coordinator, or in the index if it has ended there."""
    found = await server.find(id)
    if found is None:
        found = await server.store.index.get(id, "acme")
        assert found is not None, f"{id} is lost"
        assert found.status.terminal, f"{id} runs nowhere"
    return found


async def both(server: Coordination, id: str) -> None:
    """Once all is told, index and coordinator do not say different things."""
    held, indexed = await server.find(id), await server.store.index.get(id, "acme")
    assert indexed is not None
    assert held is None or held.status.terminal == indexed.status.terminal


async def test_what_happens_between_the_steps_is_consistent(
    server: Coordination, backing: Backing, tmp_path: Path
) -> None:
    worker = Worker(server)
    await worker.attach(slots=1)
    ended_before = await server.create()
    worker.finish(await worker.take())
    await worker.next(wire.Ack)
    await server.ended(ended_before)
    await server.advance(5)
    assert await server.find(ended_before) is None, "it has left its coordinator"
    worker.offer()
    ends_meanwhile = await server.create()
    dispatch = await worker.take()
    queued, canceled_meanwhile, canceled_later = [await server.create() for _ in range(3)]
    late: list[str] = []
    await server.settled()

    async def end_some() -> None:
        """Ends them, has the index know, and gives the coordinator the time to remove them."""
        worker.finish(dispatch)
        await server.ended(ends_meanwhile)
        await server.cancel(canceled_meanwhile)
        late.append(await server.create())
        await server.advance(5)
        indexed = await server.store.index.get(ends_meanwhile, "acme")
        assert indexed is not None
        assert indexed.status is Status.SUCCEEDED

    async def end_more() -> None:
        await server.cancel(canceled_later)
        await server.advance(5)

    backing.before_objects, backing.before_files = end_some, end_more
    manifest = await backing.make()
    assert (manifest.objects, manifest.predictions) == (1, 5)
    await until_async(lambda: gone(server, ends_meanwhile), "what was held has left")

    other = await backing.restored(tmp_path / "restored")
    assert (await known(other, ended_before)).status is Status.SUCCEEDED
    assert (await known(other, ends_meanwhile)).status is Status.SUCCEEDED
    assert (await known(other, canceled_meanwhile)).status is Status.CANCELED
    assert (await known(other, queued)).status is Status.STARTING
    assert (await known(other, canceled_later)).status is Status.STARTING, "that came after its copy"
    await other.settled()
    for id in (ended_before, ends_meanwhile, queued, canceled_meanwhile, canceled_later, *late):
        await both(other, id)
    await other.stop()


async def gone(server: Coordination, id: str) -> bool:
    await server.advance(2)
    return await server.find(id) is None


async def test_every_creation_is_listed_after_a_restore(
    server: Coordination, backing: Backing, tmp_path: Path
) -> None:
    """The index knew of creations that its copy lacks: they are told again."""
    ids = [await server.create() for _ in range(3)]
    await server.settled()

    async def create_more() -> None:
        ids.extend([await server.create() for _ in range(3)])
        await server.settled()
        await server.cancel(ids[0])  # a row that is written takes along how far the index is
        await server.settled()

    backing.before_objects = create_more
    await backing.make()
    other = await backing.restored(tmp_path / "restored")
    await other.settled()
    listed = await other.store.index.list("acme", limit=100)
    assert {document.id for document in listed} == {*ids}
    await other.stop()


async def test_a_coordinator_that_the_backup_found_asleep_wakes(
    backing: Backing, server: Coordination, tmp_path: Path
) -> None:
    """Its row in the control database is older than its work."""
    await server.store.objects.deactivate(server.number, None)
    id = server.ids.make(server.number)

    async def create() -> None:
        await server.create(id)

    backing.before_objects = create
    await backing.make()
    other = await backing.restored(tmp_path / "restored")
    await until(lambda: other.models.live(other.number), "it is awake")
    await other.clock.advance(other.limits.queue_s + 1)
    assert (await other.ended(id)).error_code == "deadline_before_start"
    await other.stop()


async def test_numbers_are_not_given_out_again(
    server: Coordination, backing: Backing, tmp_path: Path
) -> None:
    await backing.make()
    after = await server.store.objects.number("default", "acme/after")
    numbers = []
    for name in ("one", "two"):
        other = await backing.restored(tmp_path / name)
        assert other.number == server.number
        numbers.append(await other.store.objects.number("default", "acme/new"))
        await other.stop()
    assert after < GAP < min(numbers)
    assert numbers[0] != numbers[1], "nor by another restore of the same backup"


async def test_an_agent_is_told_to_drop_what_came_later(
    server: Coordination, backing: Backing, tmp_path: Path
) -> None:
    queued = await server.create()
    await backing.make()
    worker = Worker(server)
    await worker.attach(slots=2)
    later = await server.create()
    first, second = await worker.take(), await worker.take()

    other = await backing.restored(tmp_path / "restored")
    again = Worker(other)
    held = (again.held(first, "finished"), again.held(second, "finished"))
    assert await again.attach(slots=1, held=held) == {queued: "drop", later: "drop"}
    for dispatch in (first, second):
        again.finish(dispatch)
    await until(lambda: len(again.heard(wire.Ack)) == 2, "both are acknowledged")
    assert (await known(other, queued)).status is not Status.SUCCEEDED, "it was another attempt's result"
    own = again.heard(wire.Dispatch)
    assert [dispatch.prediction for dispatch in own] == [queued]
    again.finish(own[0])
    assert (await other.ended(queued)).status is Status.SUCCEEDED
    assert await other.find(later) is None
    await other.stop()


async def test_files_of_what_succeeded_are_there(
    server: Coordination, backing: Backing, tmp_path: Path
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"picture"

    async def delete() -> None:
        await server.blobs.delete("outputs/p/k/0/a.png")

    await server.blobs.put("outputs/p/k/0/a.png", chunks(), content_type="image/png", limit_bytes=100)
    backing.before_objects = delete
    manifest = await backing.make()
    assert (manifest.blobs, manifest.blob_bytes) == (1, 7)
    assert await server.blobs.stat("outputs/p/k/0/a.png") is None, "it is deleted now"
    other = await backing.restored(tmp_path / "restored")
    stat = await other.blobs.stat("outputs/p/k/0/a.png")
    assert stat is not None
    assert stat.length == 7
    await other.stop()
    assert verify(backing.folder, Pace(RATE), lambda *_: None)[1] == []
    await backing.make()
    assert not [path for path in (backing.folder / "blobs").rglob("*") if path.is_file()]
