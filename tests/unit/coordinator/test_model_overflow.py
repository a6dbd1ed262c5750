"""Which predictions a coordinator sends to a provider, when, and what it makes of what the door says."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coordinator import calls
from coordinator.overflow.errand import Errand, address_of
from coordinator.overflow.policy import Overflow, When
from coordinator.prediction import Status
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from tests.support.coordination import V1, Coordination, Worker, finished, output
from tests.support.virtual_clock import VirtualClock
from tests.support.waiting import until


class Door:
    """The seam's other end, as a test speaks for it: it attaches when it is called."""

    def __init__(self, house: Coordination, granted: int = 2) -> None:
        self.house = house
        self.granted = granted
        self.calls = 0
        self.heard: list[Any] = []

    def called(self, number: int) -> None:
        self.calls += 1

    def deliver(self, address: calls.SocketAddress, message: wire.ServerMessage | Errand) -> None:
        assert address == self.address
        self.heard.append(message)

    @property
    def address(self) -> calls.SocketAddress:
        return address_of(self.house.number)

    async def attach(self, *held: wire.Held) -> None:
        """Come, as the coordinator has asked."""
        await until(lambda: self.calls, "the door is called")
        self.calls = 0
        await self.house.stub.attach_overflow(
            calls.AttachOverflow(address=self.address, granted=self.granted, held=held)
        )

    def errands(self) -> list[Errand]:
        return [each for each in self.heard if isinstance(each, Errand)]

    async def errand(self, count: int = 1) -> Errand:
        """The last one, once there are so many."""
        await until(lambda: len(self.errands()) >= count, f"errand {count} comes")
        assert len(self.errands()) == count
        return self.errands()[-1]

    async def silence(self) -> None:
        before = len(self.errands())
        await self.house.settled()
        assert len(self.errands()) == before

    async def next_of(self, kind: type[Any]) -> Any:
        return await until(
            lambda: next((each for each in self.heard if isinstance(each, kind)), None), f"a {kind.__name__}"
        )

    # --- what it says -------------------------------------------------------------------------------------

    def say(self, message: wire.AgentMessage) -> None:
        assert self.house.stub.hand_over(calls.FromAgent(address=self.address, message=message))

    def begun(self, errand: Errand, remote: str = "r1") -> None:
        assert self.house.stub.hand_over(
            calls.OverflowBegun(
                address=self.address, prediction=errand.prediction, attempt=errand.attempt, remote=remote
            )
        )

    def hold(
        self, errand: Errand, seconds: float, reason: Any = "overflow_paused", *, doubtful: bool = False
    ) -> None:
        assert self.house.stub.hand_over(
            calls.OverflowHeld(
                address=self.address,
                prediction=errand.prediction,
                attempt=errand.attempt,
                reason=reason,
                detail="replicate says: pay first",
                until=self.house.clock.now() + int(seconds * 1e6),
                doubtful=doubtful,
            )
        )

    def accept(self, errand: Errand) -> None:
        self.say(
            wire.Accepted(
                channel=0,
                prediction=errand.prediction,
                attempt=errand.attempt,
                started_at=self.house.clock.now(),
            )
        )

    def finish(self, errand: Errand, value: Any = "done", **fields: Any) -> None:
        self.say(finished(as_dispatch(errand), value, **fields))
        self.granted += 1
        self.say(wire.Credit(channel=0, granted=self.granted))


def as_dispatch(errand: Errand) -> wire.Dispatch:
    return wire.Dispatch(
        channel=0,
        prediction=errand.prediction,
        attempt=errand.attempt,
        secret=errand.secret,
        input=errand.input,  # type: ignore[arg-type]
        run_s=errand.run_s,
    )


def going(when: When, wait_s: float = 0.0) -> Overflow:
    return Overflow(when=when, wait_s=wait_s, model="acme/elsewhere")


@pytest.fixture
async def server(
    tmp_path: Path, clock: VirtualClock, limits: ServerLimits, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Coordination]:
    monkeypatch.setattr("coordinator.projector.GATHER_S", 0.0)
    server = Coordination(tmp_path, clock, limits)
    server.door = Door(server)
    await server.start()
    yield server
    await server.stop()
    assert server.fatal == []


@pytest.fixture
def door(server: Coordination) -> Door:
    assert isinstance(server.door, Door)
    return server.door


async def reason(server: Coordination, id: str) -> str | None:
    found = await server.stub.why(calls.Why(id=id, account="acme"))
    assert isinstance(found, calls.Explained)
    return found.reason


class TestNoWorkers:
    async def test_goes_and_comes_back(self, server: Coordination, door: Door) -> None:
        id = await server.create(overflow=going("no_workers"))
        await door.attach()
        errand = await door.errand()
        assert (errand.prediction, errand.token, errand.target.model) == (id, "tok_1", "acme/elsewhere")
        assert (errand.remote, errand.since) == ("", 0)
        door.begun(errand)
        door.accept(errand)
        door.say(wire.Progress(channel=0, prediction=id, attempt=errand.attempt, events=(output(1, "a"),)))
        door.finish(errand, ["a"])
        document = await server.ended(id)
        assert (document.status, document.output) == (Status.SUCCEEDED, b'["a"]')
        assert [(a.provider, a.agent_name, a.remote) for a in document.attempts] == [
            ("replicate", "replicate", "r1")
        ]

    async def test_stays_without_a_policy(self, server: Coordination, door: Door) -> None:
        id = await server.create()
        await server.settled()
        assert door.calls == 0
        assert await reason(server, id) == "no_workers"

    async def test_stays_while_a_worker_that_would_do_is_busy(self, server: Coordination, door: Door) -> None:
        worker = Worker(server)
        await worker.attach()
        await server.create()
        await worker.take()
        id = await server.create(overflow=going("no_workers"))
        await door.attach()
        await door.silence()
        assert await reason(server, id) == "all_busy"
        worker.lose()
        assert (await door.errand()).prediction == id

    async def test_goes_past_workers_of_another_version(self, server: Coordination, door: Door) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create(version="9" * 64, overflow=going("no_workers"))
        await door.attach()
        assert (await door.errand()).prediction == id
        assert worker.unread() is None

    async def test_no_more_run_there_than_may(self, server: Coordination, door: Door) -> None:
        ids = [await server.create(overflow=going("no_workers")) for _ in range(3)]
        await door.attach()
        await door.errand(2)
        assert await reason(server, ids[2]) == "overflow_full"
        door.finish(door.errands()[0])
        assert (await door.errand(3)).prediction == ids[2]

    async def test_the_most_urgent_and_the_oldest_goes_first(self, server: Coordination, door: Door) -> None:
        door.granted = 3
        late = await server.create(urgency=2, overflow=going("no_workers"))
        first = await server.create(urgency=1, overflow=going("no_workers"))
        second = await server.create(urgency=1, overflow=going("no_workers"))
        await door.attach()
        await door.errand(3)
        assert [errand.prediction for errand in door.errands()] == [first, second, late]

    async def test_a_token_has_no_more_than_it_may_in_all(self, server: Coordination, door: Door) -> None:
        first = await server.create(overflow=going("no_workers"), max_running=1)
        await server.create(overflow=going("no_workers"), max_running=1)
        await door.attach()
        assert (await door.errand()).prediction == first
        await door.silence()
        door.finish(door.errands()[0])
        await door.errand(2)


class TestSaturated:
    async def test_the_rule_of_2022(self, server: Coordination, door: Door) -> None:
        """One worker: one runs, two wait, the others go; measured on the server of 2022."""
        door.granted = 50
        worker = Worker(server)
        await worker.attach()
        for _ in range(8):
            await server.create(overflow=going("saturated"))
        await worker.take()
        await door.attach()
        await until(lambda: len(door.errands()) == 5, "five go")
        await door.silence()

    async def test_without_workers_all_go(self, server: Coordination, door: Door) -> None:
        await server.create(overflow=going("saturated"))
        await door.attach()
        await door.errand()


class TestWaitOver:
    async def test_goes_once_it_has_waited_so_long(self, server: Coordination, door: Door) -> None:
        id = await server.create(overflow=going("wait_over", 20))
        await door.attach()
        await server.advance(19)
        assert door.errands() == []
        await server.advance(1.5)
        assert (await door.errand()).prediction == id

    async def test_a_worker_in_time_has_it(self, server: Coordination, door: Door) -> None:
        await server.create(overflow=going("wait_over", 20))
        await door.attach()
        await server.advance(10)
        worker = Worker(server)
        await worker.attach()
        await worker.take()
        await server.advance(15)
        assert door.errands() == []

    async def test_goes_at_once_when_it_would_wait_longer(self, server: Coordination, door: Door) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create()
        dispatch = await worker.take()
        await server.advance(60)
        worker.finish(dispatch, started_at=server.clock.now() - 60_000_000)
        await server.ended(id)
        await worker.next(wire.Ack)
        worker.offer()
        await server.create()
        await worker.take()
        patient = await server.create(overflow=going("wait_over", 300))
        hurried = await server.create(overflow=going("wait_over", 20))
        await door.attach()
        assert (await door.errand()).prediction == hurried
        assert await reason(server, patient) == "all_busy"


class TestAlways:
    async def test_never_on_an_own_worker(self, server: Coordination, door: Door) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create(overflow=going("always"))
        await door.attach()
        assert (await door.errand()).prediction == id
        await worker.silence()


class TestHeld:
    async def test_its_token_waits_and_then_one_is_tried(self, server: Coordination, door: Door) -> None:
        ids = [await server.create(overflow=going("no_workers"), retries=0) for _ in range(2)]
        await door.attach()
        await door.errand(2)
        door.hold(door.errands()[0], 30)
        door.hold(door.errands()[1], 30)
        door.granted += 2
        door.say(wire.Credit(channel=0, granted=door.granted))
        await door.silence()
        assert [await reason(server, id) for id in ids] == ["overflow_paused"] * 2
        (found,) = await server.stub.workers()
        assert (found.name, found.state, found.reason) == ("overflow", "paused", "replicate says: pay first")
        await server.advance(31)
        trial = await door.errand(3)
        await door.silence()
        door.begun(trial)
        await door.errand(4)
        (found,) = await server.stub.workers()
        assert (found.state, found.running) == ("ok", 2)

    async def test_another_token_is_not_held(self, server: Coordination, door: Door) -> None:
        first = await server.create(overflow=going("no_workers"))
        await door.attach()
        door.hold(await door.errand(), 3600, "overflow_cap")
        other = await server.create(token="tok_2", overflow=going("no_workers"))
        assert (await door.errand(2)).prediction == other
        assert await reason(server, first) == "overflow_cap"

    async def test_an_own_worker_takes_what_is_held(self, server: Coordination, door: Door) -> None:
        id = await server.create(overflow=going("no_workers"))
        await door.attach()
        door.hold(await door.errand(), 3600)
        await server.settled()
        worker = Worker(server)
        await worker.attach()
        assert (await worker.take()).prediction == id

    async def test_it_is_not_forgotten_when_nothing_happens(self, server: Coordination, door: Door) -> None:
        await server.create(overflow=going("no_workers"), queue_s=7200.0)
        await door.attach()
        door.hold(await door.errand(), 3000)
        await server.advance(2000)
        await server.advance(1010)
        await door.errand(2)

    async def test_a_drained_door_gets_nothing(self, server: Coordination, door: Door) -> None:
        await server.create(overflow=going("no_workers"))
        await door.attach()
        door.finish(await door.errand())
        await server.stub.mark_worker(calls.MarkWorker(agent="overflow", name="overflow", mark="drain"))
        await server.create(overflow=going("no_workers"))
        await door.silence()
        await server.stub.mark_worker(calls.MarkWorker(agent="overflow", name="overflow", mark="resume"))
        await door.errand(2)


class TestRestart:
    async def test_the_same_attempt_comes_again_with_its_name(self, server: Coordination, door: Door) -> None:
        await server.create(overflow=going("no_workers"))
        await door.attach()
        first = await door.errand()
        door.begun(first, "r77")
        await server.settled()
        door.heard.clear()
        await server.restart()
        await door.attach()
        again = await door.errand()
        assert (again.attempt, again.secret, again.remote) == (first.attempt, first.secret, "r77")

    async def test_one_without_a_name_is_looked_for(self, server: Coordination, door: Door) -> None:
        await server.create(overflow=going("no_workers"))
        await door.attach()
        first = await door.errand()
        door.heard.clear()
        await server.restart()
        await door.attach()
        again = await door.errand()
        assert (again.remote, again.since, again.attempt) == ("", first.dispatched_at, first.attempt)

    async def test_what_waits_goes_on(self, server: Coordination, door: Door) -> None:
        id = await server.create(overflow=going("wait_over", 50))
        await door.attach()
        await server.restart()
        await server.advance(51)
        await door.attach()
        assert (await door.errand()).prediction == id

    async def test_a_lost_one_is_looked_for_by_the_next_attempt(
        self, server: Coordination, door: Door
    ) -> None:
        await server.create(overflow=going("no_workers"))
        await door.attach()
        first = await door.errand()
        door.finish(first, None, status="failed", error="unknown", error_code="provider_lost")
        second = await door.errand(2)
        assert (second.attempt, second.since) == (2, first.dispatched_at)

    async def test_so_is_one_whose_answer_was_lost(self, server: Coordination, door: Door) -> None:
        await server.create(overflow=going("no_workers"))
        await door.attach()
        first = await door.errand()
        door.hold(first, 5, doubtful=True)
        await server.advance(6)
        second = await door.errand(2)
        assert (second.attempt, second.since) == (2, first.dispatched_at)

    async def test_one_that_must_not_be_repeated_is_not(self, server: Coordination, door: Door) -> None:
        id = await server.create(overflow=going("no_workers"), retries=0)
        await door.attach()
        door.hold(await door.errand(), 5, doubtful=True)
        assert (await server.ended(id)).error_code == "worker_lost"


class TestCancel:
    async def test_the_door_is_told(self, server: Coordination, door: Door) -> None:
        id = await server.create(overflow=going("no_workers"))
        await door.attach()
        errand = await door.errand()
        door.begun(errand)
        await server.cancel(id)
        cancel = await door.next_of(wire.Cancel)
        assert (cancel.prediction, cancel.attempt) == (id, errand.attempt)
        door.finish(errand, None, status="canceled")
        assert (await server.ended(id)).status is Status.CANCELED

    async def test_after_a_restart_it_is_told_again(self, server: Coordination, door: Door) -> None:
        id = await server.create(overflow=going("no_workers"))
        await door.attach()
        door.begun(await door.errand(), "r5")
        await server.settled()
        await server.cancel(id)
        door.heard.clear()
        await server.restart()
        await door.attach()
        errand, cancel = await door.errand(), await door.next_of(wire.Cancel)
        assert (errand.remote, cancel.prediction) == ("r5", id)

    async def test_one_that_is_not_wanted_any_more_is_canceled_there(
        self, server: Coordination, door: Door, limits: ServerLimits
    ) -> None:
        """The coordinator did without the door: what that says then is answered by a cancel."""
        id = await server.create(overflow=going("no_workers"))
        await door.attach()
        errand = await door.errand()
        await server.cancel(id)
        await server.advance(limits.cancel_grace_s + 31)
        assert (await server.ended(id)).status is Status.CANCELED
        door.heard.clear()
        door.begun(errand)
        await door.next_of(wire.Cancel)


class TestAccounts:
    async def test_it_costs_nobody_a_share_and_teaches_nothing(
        self, server: Coordination, door: Door
    ) -> None:
        id = await server.create(overflow=going("no_workers"))
        await door.attach()
        errand = await door.errand()
        door.accept(errand)
        await server.advance(500)
        door.finish(errand, started_at=server.clock.now() - 500_000_000)
        await server.ended(id)
        worker = Worker(server)
        await worker.attach(slots=0)
        waiting = await server.create()
        found = await server.stub.why(calls.Why(id=waiting, account="acme"))
        assert isinstance(found, calls.Explained)
        assert found.eta_p50_s is None, "no own worker has run it yet"

    async def test_its_failures_are_no_workers(self, server: Coordination, door: Door) -> None:
        for count in range(4):
            id = await server.create(overflow=going("no_workers"))
            if not count:
                await door.attach()
            door.finish(await door.errand(count + 1), None, status="failed", error="boom")
            assert (await server.ended(id)).status is Status.FAILED
        (found,) = await server.stub.workers()
        assert (found.state, found.strikes) == ("ok", 0)

    async def test_its_version_stays_open(self, server: Coordination, door: Door) -> None:
        id = await server.create(version=V1, overflow=going("no_workers"))
        await door.attach()
        door.finish(await door.errand())
        assert (await server.ended(id)).version == V1
