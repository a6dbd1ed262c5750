"""Accepting predictions and giving them to agents: order, credits, versions, and what is refused."""

import asyncio
import logging

import msgspec
import pytest

from coordinator import calls
from coordinator.actor.errors import CommitFailed
from coordinator.errors import Unavailable
from coordinator.prediction import Document, Status
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from tests.support.coordination import V1, V2, Coordination, Worker
from tests.support.virtual_clock import breathe
from tests.support.waiting import until, until_async


class TestCreate:
    async def test_it_waits_until_there_is_a_worker(self, server: Coordination) -> None:
        id = await server.create(streams=True, input_files={"https://x/1": "uploads/1/a"})
        document = await server.get(id)
        assert document.status is Status.STARTING
        assert document.created_at == server.clock.now()
        assert document.queue_deadline_at == server.clock.now() + int(server.limits.queue_s * 1e6)
        assert document.run_s == server.limits.run_s
        assert (document.account, document.input, document.attempts) == ("acme", b'{"n":1}', ())
        assert document.streams
        assert document.version == ""

    async def test_the_same_id_again_changes_nothing(self, server: Coordination) -> None:
        id = await server.create()
        await server.clock.advance(5)
        again = await server.try_create(id, input=b'{"n":2}')
        assert isinstance(again, calls.Found)
        assert again.document.input == b'{"n":1}'
        worker = Worker(server)
        await worker.attach(slots=5)
        assert (await worker.take()).prediction == id
        await worker.silence()

    async def test_the_same_id_at_the_same_time_is_one_prediction(self, server: Coordination) -> None:
        id = server.ids.make(server.number)
        assert await asyncio.gather(*(server.create(id) for _ in range(5))) == [id] * 5
        worker = Worker(server)
        await worker.attach(slots=5)
        await worker.take()
        await worker.silence()

    async def test_another_account_knows_nothing_of_it(self, server: Coordination) -> None:
        id = await server.create()
        assert await server.find(id, account="other") is None
        for call in (
            calls.Cancel(id=id, account="other"),
            calls.EventsAfter(id=id, account="other", timeout_s=5.0),
        ):
            reply = await server.coordinators.namespace.call(server.number, call, 5.0)
            assert reply == calls.Unknown()
        assert (await server.get(id)).status is Status.STARTING
        assert await server.find(server.ids.make(server.number)) is None

    async def test_it_is_accepted_once_it_is_on_disk(self, server: Coordination) -> None:
        await server.create()
        await server.settled()
        server.storages.hold()
        creating = asyncio.ensure_future(server.create())
        await until(lambda: server.storages.running, "the commit has begun")
        await breathe()
        assert not creating.done()
        server.storages.let_go()
        await creating

    async def test_a_full_disk_is_no_acceptance(
        self, server: Coordination, caplog: pytest.LogCaptureFixture
    ) -> None:
        kept = await server.create()
        await server.settled()
        server.storages.fail(CommitFailed("disk full"))
        id = server.ids.make(server.number)
        with caplog.at_level(logging.CRITICAL), pytest.raises(Unavailable):
            await server.create(id)
        assert server.sockets.lost_objects == [server.number]
        assert await server.find(id) is None
        assert await server.find(kept) is not None
        assert await server.create(id) == id


class TestLimits:
    @pytest.fixture
    def limits(self) -> ServerLimits:
        return ServerLimits(queue_length=3, queue_bytes=100)

    async def test_a_full_queue_refuses_before_any_change(self, server: Coordination) -> None:
        for _ in range(3):
            await server.create(input=b"{}")
        await server.settled()
        commits = len(server.storages.batches)
        id = server.ids.make(server.number)
        refused = await server.try_create(id, input=b"{}")
        assert isinstance(refused, calls.Refused)
        assert refused.code == "queue_full"
        assert refused.retry_after_s
        assert await server.find(id) is None
        assert len(server.storages.batches) == commits

    async def test_too_many_bytes_are_refused(self, server: Coordination) -> None:
        await server.create(input=b'"%s"' % (b"x" * 80))
        refused = await server.try_create(input=b'"%s"' % (b"x" * 30))
        assert isinstance(refused, calls.Refused)
        assert refused.code == "queue_bytes_full"
        await server.create(input=b"{}")

    async def test_what_runs_does_not_count(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach(slots=2)
        for _ in range(5):
            await server.create(input=b'"%s"' % (b"x" * 20))
        assert isinstance(await server.try_create(), calls.Refused)
        worker.offer(1)
        await server.create(input=b"{}")

    async def test_an_accepted_one_is_found_though_the_queue_is_full(self, server: Coordination) -> None:
        ids = [await server.create(input=b"{}") for _ in range(3)]
        assert await server.create(ids[0]) == ids[0]


class TestDispatch:
    async def test_what_an_agent_is_sent(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        source = "https://api.example.test/v1/files/1"
        id = await server.create(input=b'{"image": "x"}', input_files={source: "uploads/1/a.png"}, run_s=60.0)
        dispatch = await worker.next(wire.Dispatch)
        assert (dispatch.prediction, dispatch.attempt, dispatch.channel) == (id, 1, 3)
        assert bytes(dispatch.input) == b'{"image": "x"}'
        assert dispatch.run_s == 60.0
        assert len(dispatch.secret) >= 22
        assert dispatch.files[source].startswith("/files/uploads/1/a.png?")
        (attempt,) = (await server.get(id)).attempts
        assert (attempt.agent, attempt.agent_name) == ("agent-1", "box of agent-1")
        assert (attempt.incarnation, attempt.outcome) == ("i1", None)
        assert attempt.secret == dispatch.secret
        assert attempt.key not in ("", dispatch.secret)

    async def test_accepted_makes_it_processing(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create()
        dispatch = await worker.next(wire.Dispatch)
        assert (await server.get(id)).status is Status.STARTING
        await server.clock.advance(1)
        worker.accept(dispatch)
        document = await server.get(id)
        assert document.status is Status.PROCESSING
        assert document.started_at == server.clock.now()
        assert document.version == V1

    async def test_an_attempt_is_sent_once_it_is_on_disk(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        server.storages.hold()
        creating = asyncio.ensure_future(server.create())
        await until(lambda: server.storages.running, "the commit has begun")
        await breathe()
        assert worker.heard(wire.Dispatch) == []
        server.storages.let_go()
        await creating
        assert len(worker.heard(wire.Dispatch)) == 1

    async def test_first_come_first_served_within_the_credits(self, server: Coordination) -> None:
        ids = [await server.create() for _ in range(5)]
        worker = Worker(server)
        await worker.attach(slots=2)
        assert [(await worker.take()).prediction for _ in range(2)] == ids[:2]
        await worker.silence()
        worker.offer(2)
        assert [(await worker.take()).prediction for _ in range(2)] == ids[2:4]
        await worker.silence()

    async def test_credits_may_sink(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach(slots=3)
        first = await server.create()
        assert (await worker.take()).prediction == first
        worker.offer(-2)
        ids = [await server.create() for _ in range(2)]
        await worker.silence()
        worker.offer(-1)  # fewer than it has had already
        await worker.silence()
        worker.offer(1)
        await worker.silence()
        worker.offer(1)
        assert (await worker.take()).prediction == ids[0]
        await worker.silence()

    async def test_no_credit_no_work(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach(slots=0)
        await server.create()
        await worker.silence()

    async def test_the_agent_with_most_free_slots_gets_it(self, server: Coordination) -> None:
        small, large = Worker(server, "small"), Worker(server, "large")
        await small.attach(slots=1)
        await large.attach(slots=3)
        for _ in range(2):
            await server.create()
            await large.take()
        await small.silence()

    async def test_a_pinned_one_waits_for_its_version_and_blocks_nobody(self, server: Coordination) -> None:
        pinned = await server.create(version=V2)
        loose = await server.create()
        old, new = Worker(server, "old"), Worker(server, "new")
        new.version = V2
        await old.attach(slots=5)
        assert (await old.take()).prediction == loose
        await old.silence()
        await new.attach(slots=5)
        assert (await new.take()).prediction == pinned
        assert (await server.get(pinned)).version == V2
        assert (await server.get(loose)).version == V1

    async def test_an_unpinned_one_takes_the_version_of_its_last_dispatch(self, server: Coordination) -> None:
        id = await server.create()
        old, new = Worker(server, "old"), Worker(server, "new")
        new.version = V2
        await old.attach()
        old.refuse(await old.next(wire.Dispatch))
        assert (await server.get(id)).version == V1
        await new.attach()
        await new.take()
        assert (await server.get(id)).version == V2


class TestRefusedByTheAgent:
    async def test_it_goes_to_the_head_and_does_not_count(self, server: Coordination) -> None:
        first, second = await server.create(), await server.create()
        worker = Worker(server)
        await worker.attach(slots=1)
        for attempt in range(1, 6):
            dispatch = await worker.next(wire.Dispatch)
            assert (dispatch.prediction, dispatch.attempt) == (first, attempt)
            worker.refuse(dispatch)
            await worker.silence()
            worker.offer()
        dispatch = await worker.take()
        assert dispatch.prediction == first
        document = await server.get(first)
        assert [a.outcome for a in document.attempts] == ["refused"] * 5 + [None]
        assert len({a.secret for a in document.attempts}) == 6
        assert len({a.key for a in document.attempts}) == 6
        worker.finish(dispatch)
        assert (await server.ended(first)).status is Status.SUCCEEDED
        worker.offer()
        await worker.next(wire.Ack)
        assert (await worker.take()).prediction == second

    async def test_another_agent_takes_it(self, server: Coordination) -> None:
        id = await server.create()
        one, two = Worker(server, "one"), Worker(server, "two")
        await one.attach()
        dispatch = await one.next(wire.Dispatch)
        await two.attach()
        one.refuse(dispatch)
        assert (await two.take()).prediction == id

    async def test_a_refusal_of_what_is_not_its_own_changes_nothing(self, server: Coordination) -> None:
        id = await server.create()
        one, two = Worker(server, "one"), Worker(server, "two")
        await one.attach()
        dispatch = await one.take()
        await two.attach()
        two.refuse(dispatch)
        one.refuse(msgspec.structs.replace(dispatch, attempt=7))
        await two.silence()
        assert (await server.get(id)).attempts[-1].outcome is None


class TestDeadline:
    async def test_who_waits_too_long_is_canceled(self, server: Coordination) -> None:
        long, short = await server.create(), await server.create(queue_s=60.0)
        await server.advance(59)
        assert (await server.get(short)).status is Status.STARTING
        await server.advance(1)
        document = await server.ended(short)
        assert document.status is Status.CANCELED
        assert document.error_code == "deadline_before_start"
        assert document.completed_at == server.clock.now()
        assert (await server.get(long)).status is Status.STARTING
        await server.advance(server.limits.queue_s)
        assert (await server.ended(long)).error_code == "deadline_before_start"

    async def test_what_runs_has_no_such_deadline(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create(queue_s=60.0)
        dispatch = await worker.take()
        await server.advance(600)
        worker.finish(dispatch)
        assert (await server.ended(id)).status is Status.SUCCEEDED

    async def test_it_comes_by_the_alarm_though_the_object_sleeps(self, server: Coordination) -> None:
        id = await server.create(queue_s=1000.0)
        await server.advance(server.limits.idle_s + 2)
        await until(lambda: not server.stub.live, "it sleeps")
        await server.advance(1000)

        async def ended() -> Document | None:
            await server.advance(1)  # the alarm may be noted only now, if leaving memory took its time
            return server.coordinators.projector.recent(id)

        document = await until_async(ended, "the alarm has ended it")
        assert document.error_code == "deadline_before_start"

    async def test_it_passes_while_the_server_is_down(self, server: Coordination) -> None:
        id = await server.create(queue_s=1000.0)
        await server.stop()
        await server.clock.advance(2000)
        await server.start()
        await server.advance(0)
        assert (await server.ended(id)).error_code == "deadline_before_start"

    async def test_what_came_back_from_an_agent_waits_anew(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create(queue_s=100.0)
        dispatch = await worker.next(wire.Dispatch)
        await server.advance(90)
        worker.refuse(dispatch)
        await server.advance(20)
        assert (await server.get(id)).status is Status.STARTING
        await server.advance(server.limits.queue_s)
        assert (await server.ended(id)).error_code == "deadline_before_start"
