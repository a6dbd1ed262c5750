"""Cancelling, and running too long: durable, one-way, and terminal in bounded time."""

import logging
from typing import Any

import pytest

from coordinator.actor.errors import CommitFailed
from coordinator.errors import Unavailable
from coordinator.prediction import Status
from coordinator.protocol import messages as wire
from tests.support.coordination import Coordination, Worker

OVERRUN_S = 30.0


async def running(server: Coordination, worker: Worker, **fields: Any) -> tuple[str, wire.Dispatch]:
    await worker.attach()
    id = await server.create(**fields)
    return id, await worker.take()


async def test_who_runs_one_that_waits_beside_it_too_long_is_told(server: Coordination) -> None:
    """It was given up, came back, and went on beside the attempt that had replaced it."""
    first, second = Worker(server, "agent-1"), Worker(server, "agent-2")
    id, dispatch = await running(server, first, queue_s=20.0)
    first.lose()
    await second.attach()
    await server.advance(server.limits.lease_s)
    again = await second.take()
    assert await first.attach(held=(first.held(dispatch),), slots=0) == {id: "keep"}
    second.crash(again)
    await server.advance(21.0)
    assert (await server.ended(id)).status is Status.CANCELED
    assert (await first.next(wire.Cancel)).prediction == id


async def test_a_queued_one_ends_at_once(server: Coordination) -> None:
    id = await server.create()
    document = await server.cancel(id)
    assert document.status is Status.CANCELED
    assert document.completed_at == server.clock.now()
    assert document.attempts == ()
    worker = Worker(server)
    await worker.attach()
    await worker.silence()


async def test_a_running_one_ends_when_its_worker_says_so(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    document = await server.cancel(id)
    assert (document.status, document.cancel_requested) == (Status.PROCESSING, True)
    cancel = await worker.next(wire.Cancel)
    assert (cancel.prediction, cancel.attempt) == (id, 1)
    assert cancel.grace_s == server.limits.cancel_grace_s
    worker.finish(dispatch, None, status="canceled", logs="stopping\n")
    await worker.next(wire.Ack)
    document = await server.ended(id)
    assert (document.status, document.error, document.logs) == (Status.CANCELED, None, "stopping\n")


@pytest.mark.parametrize("status", ["succeeded", "failed"])
async def test_any_result_ends_as_canceled(server: Coordination, status: str) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    await server.cancel(id)
    await worker.next(wire.Cancel)
    worker.finish(dispatch, "in time", status=status, error=None)
    assert (await server.ended(id)).status is Status.CANCELED


async def test_it_is_idempotent(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    for _ in range(3):
        assert (await server.cancel(id)).cancel_requested
    await worker.next(wire.Cancel)
    await worker.silence()
    worker.finish(dispatch, None, status="canceled")
    await server.ended(id)


async def test_an_ended_one_stays_as_it_is(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    server.storages.hold()
    worker.finish(dispatch)
    server.storages.let_go()
    document = await server.cancel(id)
    assert document.status is Status.SUCCEEDED


async def test_a_worker_that_does_not_answer_is_fenced(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    await server.cancel(id)
    await worker.next(wire.Cancel)
    await server.advance(server.limits.cancel_grace_s + OVERRUN_S - 1)
    assert (await server.get(id)).status is Status.PROCESSING
    await server.advance(2)
    document = await server.ended(id)
    assert document.status is Status.CANCELED
    assert document.attempts[0].outcome == "fenced"
    worker.finish(dispatch, "far too late")
    await worker.next(wire.Ack)
    await server.settled()
    assert await server.store.index.get(id, "acme") == document


async def test_an_offline_worker_is_fenced_at_once(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    worker.lose()
    assert (await server.cancel(id)).status is Status.CANCELED
    assert await worker.attach(held=(worker.held(dispatch),)) == {id: "cancel"}
    worker.finish(dispatch, "late")
    await worker.next(wire.Ack)
    assert (await server.get(id)).status is Status.CANCELED


async def test_a_worker_that_goes_offline_after_it_is_fenced(server: Coordination) -> None:
    worker = Worker(server)
    id, _ = await running(server, worker)
    await server.cancel(id)
    worker.lose()
    assert (await server.ended(id)).status is Status.CANCELED


async def test_a_refused_one_is_not_queued_again(server: Coordination) -> None:
    worker = Worker(server)
    await worker.attach(slots=2)
    id = await server.create()
    dispatch = await worker.next(wire.Dispatch)
    await server.cancel(id)
    worker.refuse(dispatch)
    assert (await server.ended(id)).status is Status.CANCELED
    await worker.next(wire.Cancel)
    await worker.silence()


async def test_it_outlives_a_restart(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    assert (await server.cancel(id)).cancel_requested
    await server.restart()
    document = await server.ended(id)
    assert document.status is Status.CANCELED
    assert await worker.attach(held=(worker.held(dispatch),)) == {id: "cancel"}
    await worker.silence()


async def test_a_cancel_that_is_not_on_disk_did_not_happen(
    server: Coordination, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    await server.settled()
    server.storages.fail(CommitFailed("disk full"))
    with caplog.at_level(logging.CRITICAL), pytest.raises(Unavailable):
        await server.cancel(id)
    assert worker.heard(wire.Cancel) == []
    assert await worker.attach(slots=0, held=(worker.held(dispatch),)) == {id: "keep"}
    assert not (await server.get(id)).cancel_requested


class TestRunLimit:
    async def test_a_worker_that_overruns_the_limit_is_canceled(self, server: Coordination) -> None:
        worker = Worker(server)
        id, _ = await running(server, worker, run_s=60.0)
        await server.advance(60 + server.limits.cancel_grace_s + OVERRUN_S - 1)
        await worker.silence()
        await server.advance(2)
        assert (await worker.next(wire.Cancel)).prediction == id
        assert (await server.get(id)).cancel_requested
        await server.advance(server.limits.cancel_grace_s + OVERRUN_S + 1)
        document = await server.ended(id)
        assert (document.status, document.error_code) == (Status.CANCELED, "run_timeout")
        assert "60" in (document.error or "")

    async def test_its_late_answer_ends_it_earlier(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker, run_s=60.0)
        await server.advance(60 + server.limits.cancel_grace_s + OVERRUN_S + 1)
        await worker.next(wire.Cancel)
        worker.finish(dispatch, None, status="canceled")
        assert (await server.ended(id)).error_code == "run_timeout"

    async def test_the_agents_own_limit_comes_first(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker, run_s=60.0)
        await server.advance(61)
        worker.finish(dispatch, None, status="canceled", error="ran too long", error_code="run_timeout")
        document = await server.ended(id)
        assert (document.status, document.error_code) == (Status.CANCELED, "run_timeout")
