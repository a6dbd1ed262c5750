"""A model that an administrator has paused: nothing of it begins anywhere, and nothing of it is lost."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator import calls
from coordinator.overflow.policy import Overflow
from coordinator.prediction import ErrorCode, Status
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from tests.support.coordination import Coordination, Worker
from tests.support.virtual_clock import VirtualClock


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Coordination]:
    server = Coordination(tmp_path, VirtualClock(), ServerLimits(idle_s=1e9, queue_s=60, quarantine_s=30))
    await server.start()
    yield server
    await server.stop()


async def reason(server: Coordination, id: str) -> str | None:
    found = await server.stub.why(calls.Why(id=id, account="acme"))
    assert isinstance(found, calls.Explained)
    return found.reason


async def test_what_runs_goes_on_and_what_comes_waits_until_it_is_resumed(server: Coordination) -> None:
    worker = Worker(server)
    worker.protocol, worker.shared = 2, True
    await worker.attach(slots=2)
    running = await server.create()
    dispatch = await worker.take()
    await server.stub.pause(True)
    await server.stub.pause(True)
    waiting = await server.create()
    worker.finish(dispatch)
    assert (await server.ended(running)).status is Status.SUCCEEDED
    await worker.next(wire.Ack)
    await worker.silence()
    assert await reason(server, waiting) == "paused"
    queue = await server.stub.queue()
    assert (queue.paused, queue.waiting, queue.running, queue.workers, queue.free) == (True, 1, 0, 1, 1)
    assert queue.oldest_at == server.clock.now()
    assert (await server.stub.room(calls.AskRoom())).free == 0
    await server.stub.pause(False)
    assert (await worker.take()).prediction == waiting


async def test_a_pause_outlives_a_restart(server: Coordination) -> None:
    await server.stub.pause(True)
    id = await server.create()
    await server.restart()
    worker = Worker(server)
    await worker.attach()
    await worker.silence()
    assert await reason(server, id) == "paused"
    await server.stub.pause(False)
    assert (await worker.take()).prediction == id
    await server.restart()
    assert (await server.stub.queue()).paused is False


async def test_nothing_goes_to_a_provider_either(server: Coordination) -> None:
    await server.stub.pause(True)
    overflow = Overflow(when="no_workers", wait_s=0.0, model="acme/greeter", version="", price_s=0.0)
    id = await server.create(overflow=overflow)
    await server.settled()
    assert await reason(server, id) == "paused"


async def test_it_may_be_canceled_and_ends_when_it_has_waited_too_long(server: Coordination) -> None:
    await server.stub.pause(True)
    first, second = await server.create(), await server.create()
    await server.stub.cancel(calls.Cancel(id=first, account="acme"))
    assert (await server.ended(first)).status is Status.CANCELED
    await server.advance(61)
    document = await server.ended(second)
    assert document.error_code == ErrorCode.DEADLINE_BEFORE_START
    assert "the model is paused" in (document.error or "")


async def test_a_worker_that_is_quarantined_by_hand_is_tried_after_a_time(server: Coordination) -> None:
    worker = Worker(server)
    await worker.attach()
    mark = calls.MarkWorker(agent="agent-1", name="box", mark="quarantine")
    await server.stub.mark_worker(mark)
    (known,) = await server.stub.workers()
    assert (known.state, known.reason) == ("quarantined", "an administrator put it there")
    id = await server.create()
    await worker.silence()
    await server.advance(server.limits.quarantine_s)
    assert (await worker.take()).prediction == id
