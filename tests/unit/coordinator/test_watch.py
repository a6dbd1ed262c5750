"""What is known of coordinators without asking them: awake, asleep, after a restart."""

import pytest

from coordinator.figures import Figures
from coordinator.protocol.limits import ServerLimits
from coordinator.protocol.traces import attempt_span
from edge.metrics.sleepers import Sleepers
from tests.support.coordination import Coordination, Worker
from tests.support.waiting import until, until_async

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def figures(server: Coordination) -> Figures | None:
    coordinators = server.coordinators
    return (await coordinators.watch.figures(coordinators.namespace.actors())).get(server.number)


async def asleep(server: Coordination) -> None:
    """Let so much time pass that it leaves memory, however slow the disk is."""
    for _ in range(20):
        await server.advance(server.limits.idle_s)
        if not server.models.live(server.number):
            return
    raise AssertionError("it does not leave memory")


async def test_what_waits_is_known_while_it_sleeps_and_after_a_restart(server: Coordination) -> None:
    await server.create()
    await server.create()
    begun = server.clock.now()
    await asleep(server)
    before = await figures(server)
    assert before is not None
    assert (before.queued, before.oldest_at) == (2, begun)

    await server.restart()
    assert await figures(server) is None
    sleepers = Sleepers(server.store.objects, server.coordinators)
    await sleepers.start()
    await until(lambda: server.models.live(server.number), "it was woken")

    async def known() -> bool:
        after = await figures(server)
        return after is not None and (after.queued, after.oldest_at) == (2, begun)

    await until_async(known, "what waits is known again")
    await sleepers.stop()


async def test_nothing_is_kept_of_a_model_that_has_nothing_to_say(server: Coordination) -> None:
    id = await server.create()
    await server.cancel(id)
    await asleep(server)
    assert await figures(server) is None
    assert server.coordinators.watch.tally(server.number).ended == {"canceled": 1}


async def test_workers_and_slots_by_state(server: Coordination) -> None:
    first, second = Worker(server, "agent-1"), Worker(server, "agent-2")
    await first.attach(slots=3)
    second.loading_since = server.clock.now()
    await second.attach(slots=0)
    await server.create()
    await first.take()

    found = await figures(server)

    assert found is not None
    assert found.workers == {"ready": 1, "loading": 1}
    assert (found.running, found.busy, found.free, found.queued) == (1, 1, 2, 0)
    assert server.coordinators.watch.tally(server.number).slots == 3


async def test_those_whose_token_runs_as_many_as_it_may_are_held(server: Coordination) -> None:
    worker = Worker(server)
    await worker.attach(slots=3)
    for _ in range(3):
        await server.create(max_running=1)
    await server.create(token="tok_2")
    await server.settled()

    found = await figures(server)

    assert found is not None
    assert (found.running, found.queued, found.held) == (2, 2, 2)


class TestMany:
    @pytest.fixture
    def limits(self) -> ServerLimits:
        return ServerLimits(metrics_models=0)

    async def test_those_beyond_the_limit_share_one_tally(self, server: Coordination) -> None:
        await server.create()
        assert server.coordinators.watch.others.created == 1
        assert not server.coordinators.watch.tallies


@pytest.mark.parametrize("protocol", [3, 4])
async def test_an_agent_hears_of_the_trace_if_it_knows_what_that_is(
    server: Coordination, protocol: int
) -> None:
    worker = Worker(server)
    worker.protocol = protocol
    await worker.attach()
    created = server.clock.now()
    id = await server.create(trace=TRACEPARENT)

    trace = (await worker.take()).trace

    if protocol == 3:
        assert trace is None
    else:
        assert trace is not None
        assert trace.parent == TRACEPARENT.replace("b7ad6b7169203331", attempt_span(id, 1))
        assert trace.since == created
