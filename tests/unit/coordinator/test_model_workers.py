"""Predictions that workers crash over, are lost with or give back, and what becomes of those workers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator import calls
from coordinator.prediction import Document, Status
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from tests.support.coordination import Coordination, Worker
from tests.support.virtual_clock import VirtualClock


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Coordination]:
    limits = ServerLimits(lease_s=10, quarantine_s=60, run_s=600, idle_s=1e9, queue_s=1e6)
    server = Coordination(tmp_path, VirtualClock(), limits)
    await server.start()
    yield server
    await server.stop()


def outcomes(document: Document) -> list[str | None]:
    return [attempt.outcome for attempt in document.attempts]


async def worker_of(server: Coordination, agent: str) -> calls.Worker:
    (found,) = [each for each in await server.stub.workers() if each.agent == agent]
    return found


async def crash_on(server: Coordination, bad: Worker, good: Worker) -> str:
    """A prediction that ends ``bad`` and then succeeds on ``good``."""
    id = await server.create()
    bad.crash(await bad.take())
    await bad.next(wire.Ack)
    good.offer()
    good.finish(await good.take())
    await good.next(wire.Ack)
    await server.ended(id)
    return id


class TestPoison:
    async def test_a_crashed_prediction_goes_to_another_worker(self, server: Coordination) -> None:
        first, second = Worker(server, "agent-1"), Worker(server, "agent-2")
        await first.attach()
        id = await server.create()
        dispatch = await first.take()
        await second.attach()
        first.crash(dispatch)
        await first.next(wire.Ack)
        again = await second.take()
        assert (again.prediction, again.attempt) == (id, 2)
        second.finish(again)
        document = await server.ended(id)
        assert document.status is Status.SUCCEEDED
        assert outcomes(document) == ["crashed", "finished"]
        assert document.attempts[0].reason == "was ended by SIGSEGV"

    async def test_it_waits_for_another_worker_that_is_busy_and_holds_up_nobody(
        self, server: Coordination
    ) -> None:
        first, second = Worker(server, "agent-1"), Worker(server, "agent-2")
        await first.attach()
        id = await server.create()
        crashing = await first.take()
        await second.attach()
        await server.create()
        busy = await second.take()
        first.crash(crashing)
        await first.next(wire.Ack)
        first.offer()
        await first.silence()  # it has a free slot, and does not get it
        other = await server.create()
        assert (await first.take()).prediction == other
        second.finish(busy)
        await second.next(wire.Ack)
        second.offer()
        assert (await second.take()).prediction == id

    async def test_where_there_is_no_other_worker_the_same_one_tries_again(
        self, server: Coordination
    ) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create()
        worker.crash(await worker.take())
        await worker.next(wire.Ack)
        worker.offer()
        again = await worker.take()
        assert (again.prediction, again.attempt) == (id, 2)

    async def test_it_fails_as_poison_after_two_processes(self, server: Coordination) -> None:
        workers = [Worker(server, f"agent-{n}") for n in range(3)]
        for worker in workers:
            await worker.attach(slots=0)
        id = await server.create()
        for worker in workers[:2]:
            worker.offer()
            worker.crash(await worker.take(), logs="so far\n")
        document = await server.ended(id)
        assert (document.status, document.error_code) == (Status.FAILED, "poison")
        assert document.error == (
            "it ended 2 processes that ran it (box of agent-0, box of agent-1); the last one: "
            "was ended by SIGSEGV"
        )
        assert outcomes(document) == ["crashed", "crashed"]
        assert document.logs == "so far\n"
        workers[2].offer()
        await workers[2].silence()

    async def test_what_must_not_be_repeated_fails_with_the_crash(self, server: Coordination) -> None:
        worker = Worker(server)
        worker.retries = 0
        await worker.attach()
        id = await server.create()
        worker.crash(await worker.take())
        document = await server.ended(id)
        assert (document.error_code, document.error) == ("runner_crashed", "was ended by SIGSEGV")

    async def test_a_worker_whose_model_cannot_be_set_up_any_more_is_passed_over(
        self, server: Coordination
    ) -> None:
        first, second = Worker(server, "agent-1"), Worker(server, "agent-2")
        await first.attach()
        id = await server.create()
        dispatch = await first.take()
        await second.attach()
        first.crash(dispatch, error="the model is defunct", error_code="runner_defunct")
        second.finish(await second.take())
        assert outcomes(await server.ended(id)) == ["unfit", "finished"]

    async def test_a_cancel_wins_over_a_crash(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create()
        dispatch = await worker.take()
        await server.cancel(id)
        worker.crash(dispatch)
        assert (await server.ended(id)).status is Status.CANCELED
        assert (await worker_of(server, "agent-1")).strikes == 0


class TestRetriesZero:
    async def test_its_lease_is_its_run_limit(self, server: Coordination) -> None:
        worker = Worker(server)
        worker.retries = 0
        await worker.attach()
        id = await server.create(run_s=100.0)
        dispatch = await worker.take()
        worker.lose()
        await server.advance(99)
        assert await worker.attach(slots=0, held=(worker.held(dispatch),)) == {id: "keep"}
        worker.finish(dispatch)
        assert (await server.ended(id)).status is Status.SUCCEEDED

    async def test_it_fails_and_is_not_run_again(self, server: Coordination) -> None:
        worker = Worker(server)
        worker.retries = 0
        await worker.attach()
        id = await server.create(run_s=100.0)
        await worker.take()
        worker.lose()
        other = Worker(server, "agent-2")
        await other.attach()
        await server.advance(101)
        document = await server.ended(id)
        assert (document.status, document.error_code) == (Status.FAILED, "worker_lost")
        await other.silence()

    async def test_given_back_after_it_has_begun_it_fails_too(self, server: Coordination) -> None:
        worker = Worker(server)
        worker.retries = 0
        await worker.attach()
        id = await server.create()
        dispatch = await worker.take()
        worker.refuse(dispatch, "draining")
        document = await server.ended(id)
        assert (document.status, document.error_code) == (Status.FAILED, "worker_lost")

    async def test_refused_before_it_has_begun_it_waits_on(self, server: Coordination) -> None:
        worker = Worker(server)
        worker.retries = 0
        await worker.attach()
        id = await server.create()
        worker.refuse(await worker.next(wire.Dispatch))
        worker.offer()
        assert (await worker.take()).prediction == id


class TestQuarantine:
    async def test_three_crashes_in_a_row_then_a_probe(self, server: Coordination) -> None:
        bad, good = Worker(server, "agent-1"), Worker(server, "agent-2")
        await good.attach(slots=0)
        for _ in range(3):
            await bad.attach()
            await crash_on(server, bad, good)
        found = await worker_of(server, "agent-1")
        assert (found.state, found.strikes) == ("quarantined", 3)
        assert "3 predictions in a row went wrong on it" in found.reason

        id = await server.create()
        other = await server.create()
        await bad.attach(slots=2)
        await server.advance(59)
        await bad.silence()
        await server.advance(2)
        probe = await bad.take()
        assert probe.prediction == id
        await bad.silence()  # one at a time
        bad.finish(probe)
        await server.ended(id)
        await bad.next(wire.Ack)
        assert (await bad.take()).prediction == other
        assert (await worker_of(server, "agent-1")).state == "ok"

    async def test_it_outlives_a_restart_and_an_administrator_can_end_it(self, server: Coordination) -> None:
        bad, good = Worker(server, "agent-1"), Worker(server, "agent-2")
        await good.attach(slots=0)
        for _ in range(3):
            await bad.attach()
            await crash_on(server, bad, good)
        await server.restart()
        await bad.attach()
        id = await server.create()
        await bad.silence()
        await server.stub.mark_worker(calls.MarkWorker(agent="agent-1", name="", mark="release"))
        assert (await bad.take()).prediction == id

    async def test_losses_count(self, server: Coordination) -> None:
        bad = Worker(server, "agent-1")
        other = Worker(server, "agent-2")
        for n in range(3):
            bad.incarnation = f"i{n}"
            await bad.attach()
            id = await server.create()
            await bad.take()
            bad.lose()
            await server.advance(11)
            await other.attach()
            other.finish(await other.take())
            await server.ended(id)
            other.lose()
        found = await worker_of(server, "agent-1")
        assert found.state == "quarantined"
        assert "lease" in found.reason

    async def test_what_our_own_restart_cost_does_not_count(self, server: Coordination) -> None:
        worker, other = Worker(server, "agent-1"), Worker(server, "agent-2")
        await worker.attach(slots=3)
        for _ in range(3):
            await server.create()
            await worker.take()
        await server.restart()
        await server.advance(11)  # it does not come back in time
        await other.attach(slots=3)
        for _ in range(3):
            other.finish(await other.take())
        await server.settled()
        assert [each.agent for each in await server.stub.workers()] == ["agent-2"]

    async def test_a_stall_of_the_server_does_not_count(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach(slots=3)
        dispatches = []
        for _ in range(3):
            await server.create()
            dispatches.append(await worker.take())
        worker.lose()
        await server.settled()
        await server.clock.stall(100)
        await worker.attach(slots=0, held=tuple(map(worker.held, dispatches)))
        assert (await worker_of(server, "agent-1")).strikes == 0

    async def test_model_errors_of_one_client_do_not_count(self, server: Coordination) -> None:
        bad, good = Worker(server, "agent-1"), Worker(server, "agent-2")
        await good.attach(slots=0)
        for _ in range(5):
            await bad.attach()
            id = await server.create()
            bad.finish(await bad.take(), None, status="failed", error="IndexError")
            await server.ended(id)
        assert (await worker_of(server, "agent-1")).state == "ok"

    async def test_given_back_predictions_do_not_count(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create()
        for _ in range(5):
            worker.refuse(await worker.take(), "unavailable")
            worker.offer()
        dispatch = await worker.take()
        worker.finish(dispatch)
        document = await server.ended(id)
        assert outcomes(document) == ["refused"] * 5 + ["finished"]
        assert document.attempts[0].reason == "unavailable"


class TestDrain:
    async def test_a_drained_worker_finishes_and_gets_nothing_until_it_is_resumed(
        self, server: Coordination
    ) -> None:
        worker = Worker(server)
        await worker.attach(slots=2)
        running = await server.create()
        dispatch = await worker.take()
        await server.stub.mark_worker(calls.MarkWorker(agent="agent-1", name="box", mark="drain"))
        waiting = await server.create()
        worker.finish(dispatch)
        assert (await server.ended(running)).status is Status.SUCCEEDED
        await worker.next(wire.Ack)
        await worker.silence()
        assert (await worker_of(server, "agent-1")).state == "draining"
        await server.stub.mark_worker(calls.MarkWorker(agent="agent-1", name="box", mark="resume"))
        assert (await worker.take()).prediction == waiting

    async def test_an_agent_that_knows_the_message_is_told(self, server: Coordination) -> None:
        worker = Worker(server)
        worker.protocol = 2
        await worker.attach()
        for mark, draining in (("drain", True), ("resume", False)):
            await server.stub.mark_worker(calls.MarkWorker(agent="agent-1", name="box", mark=mark))  # type: ignore[arg-type]
            assert (await worker.next(wire.Drain)).draining is draining
        await server.stub.mark_worker(calls.MarkWorker(agent="agent-1", name="box", mark="drain"))
        await worker.attach()
        assert (await worker.next(wire.Drain)).draining is True


class TestDemand:
    async def test_a_shared_channel_hears_when_something_begins_and_ends_to_wait(
        self, server: Coordination
    ) -> None:
        worker = Worker(server)
        worker.protocol, worker.shared = 2, True
        await worker.attach(slots=0)
        first, _ = await server.create(), await server.create()
        assert (await worker.next(wire.Demand)).waiting == 1
        await worker.silence()  # once is enough
        worker.offer(2)
        assert (await worker.take()).prediction == first
        await worker.take()
        assert (await worker.next(wire.Demand)).waiting == 0

    async def test_a_cancel_of_the_last_one_that_waits_is_told(self, server: Coordination) -> None:
        worker = Worker(server)
        worker.protocol, worker.shared = 2, True
        await worker.attach(slots=0)
        id = await server.create()
        await worker.next(wire.Demand)
        await server.cancel(id)
        assert (await worker.next(wire.Demand)).waiting == 0

    @pytest.mark.parametrize(("protocol", "shared"), [(1, True), (2, False)])
    async def test_others_do_not(self, server: Coordination, protocol: int, shared: bool) -> None:
        worker = Worker(server)
        worker.protocol, worker.shared = protocol, shared
        await worker.attach(slots=0)
        await server.create()
        await worker.silence()

    async def test_a_drained_one_is_not_told_of_what_it_would_not_get(self, server: Coordination) -> None:
        worker = Worker(server)
        worker.protocol, worker.shared = 2, True
        await worker.attach(slots=0)
        await server.stub.mark_worker(calls.MarkWorker(agent="agent-1", name="box", mark="drain"))
        await worker.next(wire.Drain)
        await server.create()
        await worker.silence()
