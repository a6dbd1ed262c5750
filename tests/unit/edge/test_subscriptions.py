"""Waiting and listening, however many do: over real coordinators in virtual time."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator import calls
from coordinator.actor.errors import CommitFailed
from coordinator.errors import Unavailable
from coordinator.prediction import Document, Status
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from coordinator.stub import Models
from edge.subscriptions import POLL_S, RECALL_S, NotFound, Subscriptions
from tests.support.coordination import Coordination, Encoded, Worker, output
from tests.support.virtual_clock import VirtualClock, breathe
from tests.support.waiting import until

HISTORY_BYTES = 4000


class Asked:
    """Counts the questions that reach the coordinators, and may hold them up."""

    def __init__(self, server: Coordination) -> None:
        self._objects = Encoded(server.coordinators.namespace)
        self.questions = 0
        self.failures: list[Exception] = []
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def call(self, number: int, call: calls.AnyCall, deadline_s: float) -> calls.AnyReply:
        self.questions += 1
        await self.flowing.wait()
        if self.failures:
            raise self.failures.pop(0)
        return await self._objects.call(number, call, deadline_s)

    def post(self, number: int, *posted: calls.AnyCall) -> bool:
        return self._objects.post(number, *posted)

    def live(self, number: int) -> bool:
        return self._objects.live(number)


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Coordination]:
    monkeypatch.setattr("coordinator.projector.GATHER_S", 0.0)
    server = Coordination(tmp_path, VirtualClock(), ServerLimits(history_bytes=HISTORY_BYTES))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def asked(server: Coordination) -> Asked:
    return Asked(server)


@pytest.fixture
async def subscriptions(server: Coordination, asked: Asked) -> AsyncIterator[Subscriptions]:
    models = Models(asked, server.limits.call_s)
    subscriptions = Subscriptions(models, server.store.index, server.coordinators.projector, HISTORY_BYTES)
    yield subscriptions
    await subscriptions.stop()
    await subscriptions.stop()


class Listener:
    """Reads a subscription to its end and keeps what came."""

    def __init__(
        self,
        server: Coordination,
        subscriptions: Subscriptions,
        id: str,
        cursor: str = "",
        account: str = "acme",
    ) -> None:
        self.batches: list[calls.Events] = []
        self._source = subscriptions.listen(server.number, id, account, cursor)
        self._task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            async for batch in self._source:
                if batch is not None:
                    self.batches.append(batch)
        finally:
            await self._source.aclose()

    @property
    def heard(self) -> list[bytes]:
        return [bytes(event.data) for batch in self.batches for event in batch.events]

    async def hears(self, count: int) -> None:
        await until(lambda: len(self.heard) >= count, f"{count} events are heard, not {self.heard}")

    async def ended(self) -> Document:
        await asyncio.wait_for(self._task, 5)
        return self.batches[-1].document

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))


async def running(server: Coordination, worker: Worker) -> tuple[str, wire.Dispatch]:
    await worker.attach()
    id = await server.create()
    return id, await worker.take()


def say(worker: Worker, dispatch: wire.Dispatch, *values: tuple[int, Any]) -> None:
    worker.progress(dispatch, *(output(seq, value) for seq, value in values))


class TestListen:
    async def test_from_the_beginning_to_the_end(
        self, server: Coordination, subscriptions: Subscriptions
    ) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        listener = Listener(server, subscriptions, id)
        say(worker, dispatch, (1, "a"), (2, "b"))
        await listener.hears(2)
        say(worker, dispatch, (3, "c"))
        await listener.hears(3)
        worker.finish(dispatch, ["a", "b", "c"])
        assert (await listener.ended()).status is Status.SUCCEEDED
        assert listener.heard == [b'"a"', b'"b"', b'"c"']
        assert not any(batch.replaced or batch.lost for batch in listener.batches)

    async def test_many_listeners_cost_the_questions_of_one(
        self, server: Coordination, subscriptions: Subscriptions, asked: Asked
    ) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        listeners = [Listener(server, subscriptions, id) for _ in range(20)]
        await breathe()
        assert asked.questions == 2, "how it stands, and what comes next"
        say(worker, dispatch, (1, "a"))
        for listener in listeners:
            await listener.hears(1)
        late = Listener(server, subscriptions, id)
        await late.hears(1)
        assert asked.questions == 3
        worker.finish(dispatch)
        for listener in (*listeners, late):
            assert (await listener.ended()).status is Status.SUCCEEDED

    async def test_from_a_place_in_the_midst(
        self, server: Coordination, subscriptions: Subscriptions
    ) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        say(worker, dispatch, (1, "a"), (2, "b"), (3, "c"))
        listener = Listener(server, subscriptions, id, cursor="1:2")
        await listener.hears(1)
        assert listener.heard == [b'"c"']
        assert listener.batches[-1].cursor == "1:3"
        await listener.stop()

    async def test_a_queued_one_is_listened_to_until_it_runs(
        self, server: Coordination, subscriptions: Subscriptions
    ) -> None:
        id = await server.create()
        listener = Listener(server, subscriptions, id)
        await breathe()
        await server.advance(POLL_S * 2.5)
        assert listener.batches == []
        worker = Worker(server)
        await worker.attach()
        dispatch = await worker.take()
        say(worker, dispatch, (1, "a"))
        await listener.hears(1)
        await listener.stop()

    async def test_a_replaced_attempt_ends_it(
        self, server: Coordination, subscriptions: Subscriptions
    ) -> None:
        worker, other = Worker(server), Worker(server, "other")
        id, dispatch = await running(server, worker)
        listener = Listener(server, subscriptions, id)
        say(worker, dispatch, (1, "a"))
        await listener.hears(1)
        worker.lose()
        await other.attach()
        await server.advance(server.limits.lease_s + 1)
        new = await other.take()
        await listener.ended()
        assert listener.batches[-1].replaced
        again = Listener(server, subscriptions, id)
        say(other, new, (1, "b"))
        await again.hears(1)
        assert again.heard == [b'"b"']
        await again.stop()

    async def test_who_heard_nothing_yet_goes_on_with_the_new_attempt(
        self, server: Coordination, subscriptions: Subscriptions
    ) -> None:
        worker, other = Worker(server), Worker(server, "other")
        id, _ = await running(server, worker)
        listener = Listener(server, subscriptions, id)
        await breathe()
        worker.lose()
        await other.attach()
        await server.advance(server.limits.lease_s + 1)
        say(other, await other.take(), (1, "b"))
        await listener.hears(1)
        assert not listener.batches[-1].replaced
        await listener.stop()

    async def test_an_ended_one_that_left_for_the_index(
        self, server: Coordination, subscriptions: Subscriptions
    ) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.finish(dispatch, ["a"])
        await server.ended(id)
        await server.settled()
        listener = Listener(server, subscriptions, id)
        assert (await listener.ended()).output == b'["a"]'
        (batch,) = listener.batches
        assert (batch.attempt, batch.events) == (0, ())

    async def test_what_is_forgotten_is_had_from_the_agent(
        self, server: Coordination, subscriptions: Subscriptions
    ) -> None:
        worker = Worker(server)
        worker.protocol = 2
        id, dispatch = await running(server, worker)
        said = [f"{seq} " + "x" * 200 for seq in range(1, 61)]
        for seq, text in enumerate(said, 1):
            say(worker, dispatch, (seq, text))
        listeners = [Listener(server, subscriptions, id, cursor) for cursor in ("", "1:5", "1:5")]
        while any(len(one.heard) < 60 - behind for one, behind in zip(listeners, (0, 5, 5), strict=True)):
            resend = await worker.next(wire.Resend)
            assert (resend.prediction, resend.attempt) == (id, 1)
            first = resend.from_seq
            say(worker, dispatch, *enumerate(said[first - 1 : first + 9], first))
            await breathe()
        for listener, behind in zip(listeners, (0, 5, 5), strict=True):
            assert [msgspec.json.decode(data) for data in listener.heard] == said[behind:]
            assert not any(batch.lost or batch.replaced for batch in listener.batches)
            await listener.stop()
        say(worker, dispatch, (61, "new"))
        assert (await server.get(id)).output is not None

    async def test_an_agent_that_is_away_is_asked_when_it_is_back(
        self, server: Coordination, subscriptions: Subscriptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edge.subscriptions.RECALL_AGAIN_S", 0.001)
        worker = Worker(server)
        worker.protocol = 2
        id, dispatch = await running(server, worker)
        for seq in range(1, 61):
            say(worker, dispatch, (seq, "x" * 200))
        listener = Listener(server, subscriptions, id)
        await worker.next(wire.Resend)
        worker.lose()
        await breathe()
        await worker.attach(slots=0, held=(worker.held(dispatch),))
        # The first question goes unanswered: its time is over, and the new session is asked.
        await server.advance(RECALL_S + 1)
        resend = await worker.next(wire.Resend)
        say(worker, dispatch, (resend.from_seq, "first"))
        await listener.hears(1)
        assert listener.heard[0] == b'"first"'
        await listener.stop()

    async def test_a_listener_that_falls_behind_gets_the_end(
        self,
        server: Coordination,
        subscriptions: Subscriptions,
        asked: Asked,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Of an agent that cannot send anything again."""
        monkeypatch.setattr("edge.subscriptions.RECALL_AGAIN_S", 0.001)
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        source = subscriptions.listen(server.number, id, "acme")
        first = asyncio.ensure_future(anext(source))
        await breathe()
        say(worker, dispatch, (1, "a"))
        heard = await first
        assert heard is not None
        assert heard.cursor == "1:1"
        # This process does not ask for a while, and the coordinator forgets.
        asked.flowing.clear()
        await breathe()
        for seq in range(2, 60):
            say(worker, dispatch, (seq, "x" * 200))
        asked.flowing.set()
        coming = asyncio.ensure_future(anext(source))
        await breathe()
        worker.finish(dispatch, ["a"])
        batch = await asyncio.wait_for(coming, 5)
        assert batch is not None
        assert (batch.lost, batch.document.status) == (True, Status.SUCCEEDED)
        await source.aclose()

    async def test_another_account_hears_nothing(
        self, server: Coordination, subscriptions: Subscriptions
    ) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        with pytest.raises(NotFound):
            await Listener(server, subscriptions, id, account="other").ended()
        listener = Listener(server, subscriptions, id)
        say(worker, dispatch, (1, "a"))
        await listener.hears(1)
        with pytest.raises(NotFound):
            await Listener(server, subscriptions, id, account="other").ended()
        await listener.stop()

    async def test_one_that_never_was(self, server: Coordination, subscriptions: Subscriptions) -> None:
        with pytest.raises(NotFound):
            await Listener(server, subscriptions, server.ids.make(server.number)).ended()

    async def test_a_coordinator_that_goes_and_comes_back(
        self,
        server: Coordination,
        subscriptions: Subscriptions,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr("edge.subscriptions.RETRY_S", 0.001)
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        listener = Listener(server, subscriptions, id)
        say(worker, dispatch, (1, "a"))
        await listener.hears(1)
        await server.settled()
        server.storages.fail(CommitFailed("disk full"))
        with caplog.at_level(logging.CRITICAL), pytest.raises(Unavailable):
            await server.create()
        await worker.attach(slots=0, held=(worker.held(dispatch),))
        say(worker, dispatch, (1, "a"), (2, "b"))
        await listener.hears(2)
        assert listener.heard == [b'"a"', b'"b"']
        await listener.stop()

    async def test_a_coordinator_that_stays_away(
        self,
        server: Coordination,
        subscriptions: Subscriptions,
        asked: Asked,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("edge.subscriptions.RETRY_S", 0.0001)
        monkeypatch.setattr("edge.subscriptions.RETRIES", 3)
        id = await server.create()
        asked.failures = [Unavailable("away") for _ in range(10)]
        with pytest.raises(Unavailable):
            await Listener(server, subscriptions, id).ended()

    async def test_when_the_last_listener_goes_nobody_asks_any_more(
        self, server: Coordination, subscriptions: Subscriptions, asked: Asked
    ) -> None:
        id = await server.create()
        listeners = [Listener(server, subscriptions, id) for _ in range(3)]
        await breathe()
        for listener in listeners:
            await listener.stop()
        await breathe()
        await server.advance(POLL_S * 3)
        assert asked.questions == 2


class TestWait:
    async def test_until_it_has_ended(self, server: Coordination, subscriptions: Subscriptions) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        waiting = asyncio.ensure_future(subscriptions.wait_terminal(server.number, id, "acme", 50.0))
        say(worker, dispatch, (1, "a"))
        await breathe()
        assert not waiting.done()
        worker.finish(dispatch)
        document = await waiting
        assert document is not None
        assert document.status is Status.SUCCEEDED

    async def test_or_until_the_time_is_over(
        self, server: Coordination, subscriptions: Subscriptions
    ) -> None:
        id = await server.create()
        document = await subscriptions.wait_terminal(server.number, id, "acme", 0.0)
        assert document is not None
        assert document.status is Status.STARTING

    async def test_of_one_that_has_ended(self, server: Coordination, subscriptions: Subscriptions) -> None:
        id = await server.create()
        await server.cancel(id)
        for _ in range(2):
            document = await subscriptions.wait_terminal(server.number, id, "acme", 50.0)
            assert document is not None
            assert document.status is Status.CANCELED
            await server.settled()
        await server.restart()
        fresh = Subscriptions(server.models, server.store.index, server.coordinators.projector, HISTORY_BYTES)
        assert await fresh.wait_terminal(server.number, id, "acme", 50.0) == document

    async def test_of_one_of_another_account(
        self, server: Coordination, subscriptions: Subscriptions
    ) -> None:
        id = await server.create()
        assert await subscriptions.wait_terminal(server.number, id, "other", 50.0) is None
        await server.cancel(id)
        await server.settled()
        assert await subscriptions.wait_terminal(server.number, id, "other", 50.0) is None
        assert await subscriptions.ended(id, "other") is None
        assert await subscriptions.ended(id, "acme") is not None

    async def test_a_coordinator_that_is_away_for_a_moment(
        self,
        server: Coordination,
        subscriptions: Subscriptions,
        asked: Asked,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("edge.subscriptions.RETRY_S", 0.001)
        id = await server.create()
        await server.cancel(id)
        asked.failures = [Unavailable("away"), Unavailable("away")]
        document = await subscriptions.wait_terminal(server.number, id, "acme", 50.0)
        assert document is not None
        assert document.status is Status.CANCELED

    async def test_a_coordinator_that_stays_away(
        self, server: Coordination, subscriptions: Subscriptions, asked: Asked
    ) -> None:
        id = await server.create()
        asked.failures = [Unavailable("away")]
        with pytest.raises(Unavailable):
            await subscriptions.wait_terminal(server.number, id, "acme", 0.0)
