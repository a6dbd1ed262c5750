"""Why a prediction waits, when it may begin, and what ends it when time is over."""

from pathlib import Path

import pytest

from coordinator import calls
from coordinator.prediction import Status
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from tests.support.coordination import V2, Coordination, Worker


async def explained(server: Coordination, id: str) -> calls.Explained:
    reply = await server.stub.why(calls.Why(id=id, account="acme"))
    assert isinstance(reply, calls.Explained), reply
    return reply


async def ran(server: Coordination, worker: Worker, seconds: float) -> None:
    """One more run of the model."""
    id = await server.create()
    dispatch = await worker.take()
    await server.advance(seconds)
    worker.finish(dispatch, started_at=server.clock.now() - int(seconds * 1e6))
    await server.ended(id)
    await worker.next(wire.Ack)
    worker.offer()


class TestReason:
    async def test_no_workers(self, server: Coordination) -> None:
        found = await explained(server, await server.create())
        assert (found.reason, found.position, found.of, found.workers) == ("no_workers", 1, 1, 0)
        assert found.eta_p50_s is None

    async def test_no_such_version(self, server: Coordination) -> None:
        await Worker(server).attach()
        assert (await explained(server, await server.create(version=V2))).reason == "no_such_version"

    async def test_no_such_hardware(self, server: Coordination) -> None:
        await Worker(server).attach()
        assert (await explained(server, await server.create(gpu="a100"))).reason == "no_such_hardware"

    async def test_workers_unhealthy_and_draining(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        await mark(server, worker, "drain")
        id = await server.create()
        assert (await explained(server, id)).reason == "draining"
        await mark(server, worker, "resume")
        await worker.take()
        await mark(server, worker, "distrust")
        assert (await explained(server, await server.create())).reason == "workers_unhealthy"

    async def test_model_loading(self, server: Coordination) -> None:
        worker = Worker(server)
        worker.protocol, worker.loading_since = 2, server.clock.now()
        await worker.attach(slots=0)
        id = await server.create()
        assert (await explained(server, id)).reason == "model_loading"
        ready = Worker(server, "ready")
        await ready.attach(slots=0)
        assert (await explained(server, id)).reason == "all_busy"

    async def test_all_busy(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        runs, waits = await server.create(), await server.create()
        await worker.take()
        found = await explained(server, waits)
        assert (found.reason, found.position, found.of, found.running) == ("all_busy", 1, 1, 1)
        found = await explained(server, runs)
        assert (found.reason, found.position) == (None, 0)

    async def test_token_cap(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach(slots=3)
        await server.create(max_running=1)
        waits = await server.create(max_running=1)
        await worker.take()
        await worker.silence()
        assert (await explained(server, waits)).reason == "token_cap"

    async def test_behind_fair_share(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        mine = [await server.create(token="many") for _ in range(3)]
        await server.create(token="one")
        await worker.take()
        found = await explained(server, mine[1])
        assert (found.reason, found.position, found.of) == ("behind_fair_share", 2, 3)

    async def test_runs_of_no_time_divide_nothing_by_zero(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        for _ in range(4):
            await ran(server, worker, 0.0)
        first, second = await server.create(user="u"), await server.create(user="w")
        await worker.take()
        assert (await explained(server, second)).position == 1
        assert (await explained(server, first)).reason is None

    async def test_another_accounts_is_unknown(self, server: Coordination) -> None:
        id = await server.create()
        assert isinstance(await server.stub.why(calls.Why(id=id, account="other")), calls.Unknown)


async def mark(server: Coordination, worker: Worker, what: str) -> None:
    call = calls.MarkWorker(agent=worker.agent, name="box", mark=what)  # type: ignore[arg-type]
    await server.coordinators.namespace.call(server.number, call, 5.0)


class TestOnDisk:
    @pytest.fixture
    def limits(self) -> ServerLimits:
        return ServerLimits(queue_window=16)

    async def test_one_that_waits_on_disk_says_so_too(self, server: Coordination) -> None:
        ids = [await server.create(user=f"u{n % 3}") for n in range(100)]
        await server.restart()
        worker = Worker(server)
        await worker.attach()
        await worker.take()
        assert await server.find(ids[-1]) is not None
        found = await explained(server, ids[-1])
        assert (found.reason, found.of) == ("all_busy", len(ids) - 1)
        assert len(ids) // 2 < found.position <= len(ids)


class TestEta:
    async def test_from_the_models_own_runs_also_after_a_restart(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        for _ in range(32):
            await ran(server, worker, 10.0)
        await server.restart()
        worker = Worker(server)
        await worker.attach()
        ids = [await server.create() for _ in range(4)]
        await worker.take()
        await server.advance(4)
        first, last = await explained(server, ids[1]), await explained(server, ids[3])
        assert first.eta_p50_s == pytest.approx(6.0, abs=0.1)
        assert last.eta_p50_s == pytest.approx(26.0, abs=0.1)
        assert (last.eta_p90_s or 0) >= (last.eta_p50_s or 0)


class TestTotal:
    async def test_it_ends_what_waits_and_says_which_limit_it_was(self, server: Coordination) -> None:
        total = await server.create(total_s=60.0)
        queue = await server.create(queue_s=90.0, total_s=100.0)
        await server.advance(61)
        document = await server.ended(total)
        assert (document.status, document.error_code) == (Status.CANCELED, "deadline_before_start")
        assert "within its limit of 60 s for waiting and running together" in (document.error or "")
        await server.advance(30)
        document = await server.ended(queue)
        assert "waited longer than its limit of 90 s for waiting" in (document.error or "")

    async def test_it_ends_what_runs(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create(total_s=60.0)
        await server.advance(1)
        dispatch = await worker.take()
        await server.advance(58)
        await worker.silence()
        await server.advance(2)
        await worker.next(wire.Cancel)
        worker.finish(dispatch, None, status="canceled")
        document = await server.ended(id)
        assert (document.status, document.error_code) == (Status.CANCELED, "total_timeout")
        assert "did not end within its limit of 60 s" in (document.error or "")

    async def test_it_ends_what_an_absent_worker_may_be_running(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create(total_s=60.0)
        await worker.take()
        worker.lose()
        await server.advance(61)
        assert (await server.ended(id)).error_code == "total_timeout"

    async def test_it_holds_after_a_restart(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create(total_s=60.0)
        await worker.take()
        await server.restart()
        await server.advance(61)
        assert (await server.ended(id)).error_code == "total_timeout"


async def test_shares_hold_after_a_restart(server: Coordination, tmp_path: Path) -> None:
    """Weights and caps are of the predictions themselves."""
    for _ in range(8):
        await server.create(account="acme", token="a", account_share=3.0)
        await server.create(account="umbrella", token="b")
    await server.restart()
    worker = Worker(server)
    await worker.attach(slots=8)
    tokens = []
    for _ in range(8):
        dispatch = await worker.take()
        found = await server.find(dispatch.prediction)
        tokens.append("acme" if found else "umbrella")
    assert tokens.count("acme") == 6
