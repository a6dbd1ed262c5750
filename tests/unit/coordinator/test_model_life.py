"""A coordinator's own life: into the index, out of memory, and back after a stop or a crash."""

import asyncio
import logging

import pytest

from coordinator.actor.errors import CommitFailed
from coordinator.actor.instance import LATER_S
from coordinator.errors import Unavailable
from coordinator.prediction import Document, Status
from coordinator.protocol import messages as wire
from coordinator.store.errors import StoreUnavailable
from tests.support.coordination import Coordination, Worker, output
from tests.support.virtual_clock import breathe
from tests.support.waiting import until, until_async


async def running(server: Coordination, worker: Worker) -> tuple[str, wire.Dispatch]:
    await worker.attach()
    id = await server.create()
    return id, await worker.take()


async def inactive(server: Coordination) -> bool:
    row = await server.store.objects.describe(server.number)
    return row is not None and not row.active


async def indexed(server: Coordination, id: str) -> Document | None:
    return await server.store.index.get(id, "acme")


class TestIndex:
    async def test_creation_and_end_are_known_to_the_index(self, server: Coordination) -> None:
        id = await server.create()
        await server.settled()
        document = await indexed(server, id)
        assert document is not None
        assert (document.status, document.input) == (Status.STARTING, b'{"n":1}')
        await server.cancel(id)
        await server.settled()
        document = await indexed(server, id)
        assert document is not None
        assert document.status is Status.CANCELED

    async def test_the_index_is_told_after_the_commit(self, server: Coordination) -> None:
        await server.create()
        await server.settled()
        server.storages.hold()
        id = server.ids.make(server.number)
        creating = asyncio.ensure_future(server.create(id))
        await until(lambda: server.storages.running, "the commit has begun")
        await breathe()
        assert [d for d in server.coordinators.projector.pending("acme") if d.id == id] == []
        server.storages.let_go()
        await creating

    async def test_an_ended_one_leaves_the_coordinator(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.finish(dispatch)
        ended = await server.ended(id)
        await server.settled()
        assert await server.find(id) is None
        assert await indexed(server, id) == ended
        await server.restart()
        assert await server.find(id) is None

    async def test_one_that_is_not_ended_stays(self, server: Coordination) -> None:
        id = await server.create()
        await server.settled()
        assert await server.find(id) is not None
        await server.restart()
        assert await server.find(id) is not None

    async def test_a_crash_between_the_end_and_the_index(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        await server.settled()
        await server.coordinators.projector.stop()
        worker.finish(dispatch)
        await worker.next(wire.Ack)
        ended = await server.ended(id)
        before = await indexed(server, id)
        assert before is not None
        assert before.status is Status.STARTING
        await server.restart()
        await server.settled()  # it is told again
        assert await indexed(server, id) == ended
        assert await server.find(id) is None

    async def test_a_crash_between_the_index_and_its_acknowledgement(
        self, server: Coordination, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        await server.settled()
        server.storages.fail(CommitFailed("disk full"), after=1)  # the row's removal
        with caplog.at_level(logging.CRITICAL):
            worker.finish(dispatch)
            ended = await server.ended(id)
            await server.advance(LATER_S)
            await until(lambda: server.sockets.lost_objects, "the instance is gone")
            assert (await server.get(id)).status is Status.SUCCEEDED
            await server.settled()
        assert await server.find(id) is None
        assert await indexed(server, id) == ended

    async def test_an_index_that_is_away_delays_nobody(
        self,
        server: Coordination,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr("coordinator.projector.RETRY_S", (0.01,))
        upsert = server.store.index.upsert
        away = True

        async def fails(documents: list[Document]) -> None:
            if away:
                raise StoreUnavailable("disk full")
            await upsert(documents)

        monkeypatch.setattr(server.store.index, "upsert", fails)
        with caplog.at_level(logging.CRITICAL):
            worker = Worker(server)
            id, dispatch = await running(server, worker)
            worker.finish(dispatch)
            ended = await server.ended(id)
            assert server.coordinators.projector.pending("acme") == [ended]
            assert await server.find(id) == ended, "the object is the truth until the index has it"
            away = False
            await server.settled()
        assert await indexed(server, id) == ended
        assert await server.find(id) is None


class TestMemory:
    async def asleep(self, server: Coordination) -> None:
        await server.advance(server.limits.idle_s + 2)
        await until(lambda: not server.stub.live, "it sleeps")
        await until_async(lambda: inactive(server), "it is marked asleep")

    async def test_an_object_with_nothing_to_do_sleeps(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.finish(dispatch)
        await server.ended(id)
        await server.advance(server.limits.idle_s * 3)
        assert server.stub.live, "an agent is attached"
        worker.lose()
        await self.asleep(server)

    async def test_what_runs_keeps_it_awake(self, server: Coordination) -> None:
        worker = Worker(server)
        await running(server, worker)
        worker.lose()
        await server.advance(server.limits.lease_s - 1)
        assert server.stub.live

    async def test_who_listens_keeps_it_awake(self, server: Coordination) -> None:
        id = await server.create()
        waiting = asyncio.ensure_future(server.events(id, timeout_s=600.0))
        await server.advance(500)
        assert server.stub.live
        waiting.cancel()
        await self.asleep(server)

    async def test_the_queue_waits_on_disk_for_an_agent(self, server: Coordination) -> None:
        ids = [await server.create() for _ in range(3)]
        await self.asleep(server)
        row = await server.store.objects.describe(server.number)
        assert row is not None
        assert row.alarm_at is not None
        worker = Worker(server)
        await worker.attach(slots=3)
        assert [(await worker.take()).prediction for _ in range(3)] == ids

    async def test_what_the_index_does_not_have_keeps_it_awake(
        self,
        server: Coordination,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr("coordinator.projector.RETRY_S", (0.01,))
        upsert = server.store.index.upsert
        away = True

        async def fails(documents: list[Document]) -> None:
            if away:
                raise StoreUnavailable("disk full")
            await upsert(documents)

        monkeypatch.setattr(server.store.index, "upsert", fails)
        with caplog.at_level(logging.CRITICAL):
            await server.create()
            await server.clock.advance(server.limits.idle_s + 5)
            assert server.stub.live
            away = False
            await server.settled()
        await self.asleep(server)

    async def test_a_read_wakes_it(self, server: Coordination) -> None:
        id = await server.create()
        await self.asleep(server)
        assert (await server.get(id)).status is Status.STARTING
        assert server.stub.live


class TestRestart:
    async def test_what_was_at_work_wakes_by_itself(self, server: Coordination) -> None:
        id = await server.create()
        await server.restart()
        assert server.stub.live
        assert await server.find(id) is not None

    async def test_nothing_is_lost_by_a_stop_in_the_midst(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach(slots=3)
        creating = [asyncio.ensure_future(server.create()) for _ in range(20)]
        await breathe()
        await server.restart()
        accepted = []
        for task in creating:
            try:
                accepted.append(await task)
            except Unavailable:
                continue
        assert accepted
        for id in accepted:
            assert await server.find(id) is not None

    async def test_a_prediction_is_whole_after_it(self, server: Coordination) -> None:
        id = await server.create(
            input=b'{"text":"\xc3\xa9"}',
            input_files={"https://x/1": "uploads/1/a"},
            run_s=77.0,
            streams=True,
            version="3" * 64,
        )
        before = await server.get(id)
        await server.restart()
        assert await server.get(id) == before

    async def test_progress_is_not_kept(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.progress(dispatch, output(1, "a"))
        await server.restart()
        document = await server.get(id)
        assert (document.status, document.output) == (Status.PROCESSING, None)
