"""The agents' door, with a real server and real sockets."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from coordinator.actor.errors import CommitFailed
from coordinator.errors import Unavailable
from coordinator.prediction import Status
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits, WireLimits
from edge import gateway as module
from tests.support.gatehouse import AgentSocket, Gatehouse, gatehouse
from tests.support.virtual_clock import breathe
from tests.support.waiting import until


@pytest.fixture
def limits() -> ServerLimits:
    return ServerLimits(token_recheck_s=0.05, lease_s=0.2)


@pytest.fixture
def wire_limits() -> WireLimits:
    return WireLimits(hello_s=5.0)


@pytest.fixture
async def door(tmp_path: Path, limits: ServerLimits, wire_limits: WireLimits) -> AsyncIterator[Gatehouse]:
    async with gatehouse(tmp_path, limits, wire_limits) as house:
        yield house


@pytest.fixture
async def agent(door: Gatehouse) -> AsyncIterator[AgentSocket]:
    """A greeted agent of the account acme."""
    async with door.connected(await door.token()) as agent:
        await agent.greet()
        yield agent


class TestRefusedBeforeTheUpgrade:
    async def refused(
        self, door: Gatehouse, token: str | None, subprotocol: str | None = wire.SUBPROTOCOL
    ) -> tuple[int, dict[str, object]]:
        with pytest.raises(InvalidStatus) as caught:
            async with door.connected(token, subprotocol):
                pass
        response = caught.value.response
        assert response.headers["content-type"] == "application/problem+json"
        assert response.body is not None
        problem = json.loads(response.body)
        assert problem["status"] == response.status_code
        self.retry_after = response.headers.get("retry-after")
        return response.status_code, problem

    async def test_without_a_token(self, door: Gatehouse) -> None:
        status, problem = await self.refused(door, None)
        assert (status, problem["code"]) == (401, "unauthenticated")

    async def test_with_a_token_of_nobody(self, door: Gatehouse) -> None:
        status, problem = await self.refused(door, "cf_" + "x" * 43)
        assert (status, problem["code"]) == (401, "unauthenticated")

    async def test_with_a_token_that_was_revoked(self, door: Gatehouse) -> None:
        token = await door.token("gone")
        await door.store.tokens.revoke("gone", "acme")
        assert (await self.refused(door, token))[0] == 401

    async def test_with_a_token_of_a_client(self, door: Gatehouse) -> None:
        token = await door.token("client", scopes=("submit", "read"))
        status, problem = await self.refused(door, token)
        assert (status, problem["code"]) == (403, "missing_scope")

    async def test_without_the_subprotocol(self, door: Gatehouse) -> None:
        token = await door.token()
        for subprotocol in (None, "cogflare.v99"):
            status, problem = await self.refused(door, token, subprotocol)
            assert (status, problem["code"]) == (400, "bad_request")
            assert wire.SUBPROTOCOL in str(problem["detail"])

    async def test_while_the_server_stops(self, door: Gatehouse) -> None:
        token = await door.token()
        await door.gateway.stop()
        status, problem = await self.refused(door, token)
        assert (status, problem["code"], self.retry_after) == (503, "unavailable", "1")

    async def test_while_tokens_cannot_be_looked_up(
        self, door: Gatehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        token = await door.token()

        async def away(secret: str) -> None:
            raise Unavailable("the control store is locked", retry_after_s=2.5)

        monkeypatch.setattr(door.store.tokens, "by_secret", away)
        with caplog.at_level(logging.CRITICAL):
            status, problem = await self.refused(door, token)
        assert (status, problem["code"], self.retry_after) == (503, "unavailable", "3")


class TestHardware:
    async def test_what_gpus_an_agent_has_is_remembered_for_its_models(self, door: Gatehouse) -> None:
        async with door.connected(await door.token()) as agent:
            gpu = wire.Gpu(kind="NVIDIA A100-SXM4-80GB", memory_bytes=80)
            await agent.greet(gpus=(gpu, gpu))
            await agent.attach("acme/m")
        assert await door.store.models.gpus("default", "acme/m") == [("NVIDIA A100-SXM4-80GB", 80)]


class TestWork:
    async def test_from_attach_to_acknowledgement(self, door: Gatehouse, agent: AgentSocket) -> None:
        assert agent.connection.subprotocol == wire.SUBPROTOCOL
        assert agent.welcome.server == door.store.server_id
        await agent.attach()
        id = await door.create()
        dispatch = await agent.take()
        assert dispatch.prediction == id
        await agent.finish(dispatch)
        ack = await agent.next(wire.Ack)
        assert (ack.prediction, ack.attempt) == (id, 1)
        document = await door.ended(id)
        assert (document.status, document.output) == (Status.SUCCEEDED, b'"done"')
        row = await door.store.models.get("acme", "acme/m")
        assert row is not None
        assert row.latest_version is not None

    async def test_one_socket_serves_several_models(self, door: Gatehouse, agent: AgentSocket) -> None:
        await agent.attach("acme/one", channel=1)
        await agent.attach("acme/two", channel=7)
        ids = {await door.create("acme/two"): 7, await door.create("acme/one"): 1}
        dispatches = [await agent.take() for _ in ids]
        assert {dispatch.prediction: dispatch.channel for dispatch in dispatches} == ids
        for dispatch in dispatches:
            await agent.finish(dispatch)
            ack = await agent.next(wire.Ack)
            assert (ack.prediction, ack.channel) == (dispatch.prediction, dispatch.channel)

    async def test_what_comes_while_attaching_is_handled_after_it(
        self, door: Gatehouse, agent: AgentSocket
    ) -> None:
        first, second = await door.create(), await door.create()
        door.storages.hold()
        await agent.ask_attach(granted=1)
        await agent.say(wire.Credit(channel=0, granted=2))
        await until(lambda: door.storages.running, "the first dispatch is being committed")
        door.storages.let_go()
        await agent.next(wire.Attached)
        assert [(await agent.take()).prediction for _ in range(2)] == [first, second]

    async def test_a_model_of_another_account(self, door: Gatehouse, agent: AgentSocket) -> None:
        await agent.attach("acme/m")
        token = await door.token("stranger", account="other")
        async with door.connected(token) as stranger:
            await stranger.greet("agent-2")
            await stranger.ask_attach("acme/m")
            refused = await stranger.next(wire.AttachRefused)
            assert (refused.code, refused.channel) == ("not_allowed", 0)
            await stranger.attach("other/m")  # the channel may try again

    async def test_a_model_that_the_token_may_not_register(self, door: Gatehouse) -> None:
        token = await door.token("narrow", models=("acme/only-*",))
        async with door.connected(token) as agent:
            await agent.greet()
            await agent.ask_attach("acme/m")
            assert (await agent.next(wire.AttachRefused)).code == "not_allowed"
            await agent.attach("acme/only-this", channel=1)

    async def test_a_model_name_that_is_none(self, door: Gatehouse, agent: AgentSocket) -> None:
        await agent.ask_attach("No Name")
        assert (await agent.next(wire.AttachRefused)).code == "invalid"


class TestVersions:
    """An agent one version older or newer than the server works."""

    CORPUS = Path(__file__).parents[2] / "contract" / "wire" / "corpus" / "agent"

    async def says(self, agent: AgentSocket, name: str, **fields: Any) -> None:
        """Say a message of the corpus, with these fields in place of its own."""
        message = msgspec.json.decode((self.CORPUS / f"{name}.json").read_bytes()) | fields
        await agent.connection.send(msgspec.json.encode(message), text=True)

    async def conversation(self, door: Gatehouse, agent: AgentSocket, **more: Any) -> None:
        """From attach to acknowledgement in the messages of the corpus, with ``more`` in each."""
        await self.says(agent, "attach", **more)
        await agent.next(wire.Attached)
        id = await door.create("acme/hello")
        dispatch = await agent.next(wire.Dispatch)
        which = {"prediction": dispatch.prediction, "attempt": dispatch.attempt, **more}
        await self.says(agent, "accepted", **which)
        await self.says(agent, "progress", **which)
        await self.says(agent, "finished-succeeded", secret=dispatch.secret, files=[], output="said", **which)
        assert (await agent.next(wire.Ack)).prediction == id
        assert (await door.ended(id)).output == b'"said"'

    async def test_an_agent_of_version_1(self, door: Gatehouse) -> None:
        async with door.connected(await door.token()) as agent:
            await self.says(agent, "hello")
            assert (await agent.next(wire.Welcome)).protocol == 1
            await self.conversation(door, agent)
            (worker,) = await door.workers("acme/hello")
            assert (worker.name, worker.state) == ("gpu-box-1", "ok")

    async def test_an_agent_of_version_2_hears_nothing_of_parts(self, door: Gatehouse) -> None:
        async with door.connected(await door.token()) as agent:
            await self.says(agent, "hello-gpus", protocol=2)
            welcome = await agent.next(wire.Welcome)
            assert (welcome.protocol, welcome.part_bytes) == (2, 0)
            await self.conversation(door, agent)

    async def test_an_agent_of_version_5_with_messages_and_fields_that_we_do_not_know(
        self, door: Gatehouse
    ) -> None:
        async with door.connected(await door.token()) as agent:
            await self.says(
                agent,
                "hello-gpus",
                protocol=5,
                mood="new",
                gpus=[{"kind": "NVIDIA A100-SXM4-80GB", "memory_bytes": 85899345920, "watts": 400}],
            )
            welcome = await agent.next(wire.Welcome)
            assert (welcome.protocol, welcome.part_bytes) == (4, WireLimits().part_bytes)
            await agent.connection.send('{"type": "mood", "channel": 0, "of": {"the": "day"}}', text=True)
            await self.conversation(door, agent, colour={"of": [1, None]})
            assert await door.store.models.gpus("default", "acme/hello") == [
                ("NVIDIA A100-SXM4-80GB", 85899345920)
            ]

    async def test_an_agent_that_no_longer_speaks_our_version(self, door: Gatehouse) -> None:
        async with door.connected(await door.token()) as agent:
            await self.says(agent, "hello", protocol=9, oldest=5)
            assert await agent.closed() == 4426

    async def test_trainings_are_of_the_model_and_have_a_queue_of_their_own(self, door: Gatehouse) -> None:
        async with door.connected(await door.token()) as agent:
            await self.says(agent, "hello-gpus", protocol=4)
            await agent.next(wire.Welcome)
            await self.says(agent, "attach-trainings")
            await agent.next(wire.Attached)
            assert len(await door.workers("acme/hello@train")) == 1
            assert not await door.workers("acme/hello")
            model = await door.store.models.get("acme", "acme/hello")
            assert model is not None
            assert model.latest_version is not None
            assert await door.store.models.get("acme", "acme/hello@train") is None
            assert len(await door.store.models.gpus("default", "acme/hello")) > 0

    async def test_a_model_that_loads_is_there_without_being_registered(self, door: Gatehouse) -> None:
        async with door.connected(await door.token()) as agent:
            await self.says(agent, "hello-gpus")
            await agent.next(wire.Welcome)
            await self.says(agent, "attach-loading")
            await agent.next(wire.Attached)
            assert await door.store.models.get("acme", "acme/hello") is None
            (worker,) = await door.workers("acme/hello")
            assert (worker.attached, worker.free) == (True, 0)
            await self.says(agent, "detach")
            await self.conversation(door, agent, channel=1)
            assert await door.store.models.get("acme", "acme/hello") is not None

    async def test_a_model_of_another_account_is_refused_while_it_loads_too(self, door: Gatehouse) -> None:
        async with door.connected(await door.token()) as agent:
            await self.says(agent, "hello")
            await agent.next(wire.Welcome)
            await self.says(agent, "attach")
            await agent.next(wire.Attached)
        token = await door.token("stranger", account="other")
        async with door.connected(token) as stranger:
            await self.says(stranger, "hello-gpus", incarnation="another")
            await stranger.next(wire.Welcome)
            await self.says(stranger, "attach-loading")
            assert (await stranger.next(wire.AttachRefused)).code == "not_allowed"


class TestManyAtOnce:
    async def test_a_hundred_agents_come_back_at_once_and_all_are_served(self, door: Gatehouse) -> None:
        token = await door.token()
        attached = asyncio.Semaphore(0)

        async def agent(number: int, leave: asyncio.Event) -> None:
            async with door.connected(token) as one:
                await one.greet(f"agent-{number}")
                await one.attach()
                attached.release()
                await leave.wait()

        for _ in range(2):
            leave = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for number in range(100):
                    group.create_task(agent(number, leave))
                for _ in range(100):
                    await attached.acquire()
                assert sum(worker.attached for worker in await door.workers("acme/m")) == 100
                leave.set()

    async def test_more_than_may_connect_at_once_are_asked_to_come_later(self, tmp_path: Path) -> None:
        limits = WireLimits(handshakes=2, hello_s=5.0)
        async with gatehouse(tmp_path, ServerLimits(), limits) as door:
            token = await door.token()
            async with door.connected(token) as first, door.connected(token) as second:
                with pytest.raises(InvalidStatus) as refused:
                    async with door.connected(token):
                        pass
                response = refused.value.response
                assert (response.status_code, int(response.headers["retry-after"]) >= 1) == (503, True)
                for number, agent in enumerate((first, second)):
                    await agent.greet(f"agent-{number}")
                    await agent.attach()
                async with door.connected(token) as third:
                    await third.greet("agent-3")

    async def test_agents_of_a_server_that_leaves_are_told_to_come_back_at_different_times(
        self, door: Gatehouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "RETURNS_PER_S", 1)
        token = await door.token()
        async with AsyncExitStack() as stack:
            agents = []
            for number in range(8):
                agents.append(await stack.enter_async_context(door.connected(token)))
                await agents[-1].greet(f"agent-{number}")
            stopping = asyncio.create_task(door.gateway.stop())
            waits = sorted([(await agent.next(wire.Closing)).retry_s for agent in agents])
            await stopping
        assert waits[0] >= module.CLOSING_RETRY_S
        assert waits[-1] <= module.CLOSING_RETRY_S + 8
        assert len(set(waits)) == 8


class TestCoordinatorGone:
    async def test_a_failed_commit_keeps_the_socket_and_work_goes_on(
        self, door: Gatehouse, agent: AgentSocket, caplog: pytest.LogCaptureFixture
    ) -> None:
        await agent.attach(granted=2)
        running = await door.create()
        dispatch = await agent.take()
        door.storages.fail(CommitFailed("disk full"), after=0)
        with caplog.at_level(logging.CRITICAL), pytest.raises(Unavailable):
            await door.create()
        assert (await agent.next(wire.Reattach)).channel == 0
        held = wire.Held(prediction=running, attempt=1, secret=dispatch.secret, state="running")
        attached = await agent.attach(granted=1, held=(held,))
        assert [verdict.verdict for verdict in attached.verdicts] == ["keep"]
        await agent.finish(dispatch)
        assert (await agent.next(wire.Ack)).prediction == running
        next_one = await door.create()
        assert (await agent.take()).prediction == next_one
        assert len((await door.ended(running)).attempts) == 1

    async def test_a_commit_that_fails_while_attaching(
        self, door: Gatehouse, agent: AgentSocket, caplog: pytest.LogCaptureFixture
    ) -> None:
        id = await door.create()
        await until(lambda: not door.storages.running, "it is on disk")
        door.storages.fail(CommitFailed("disk full"))
        with caplog.at_level(logging.CRITICAL):
            await agent.ask_attach()
            first = await agent.next(wire.Attached)
        assert first.verdicts == ()
        assert (await agent.take()).prediction == id

    async def test_a_coordinator_that_cannot_come_to_life_is_tried_again(
        self, door: Gatehouse, agent: AgentSocket, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            door.storages.fail_load(CommitFailed("disk full"))
        with caplog.at_level(logging.CRITICAL):
            await agent.attach()
        id = await door.create()
        assert (await agent.take()).prediction == id

    async def test_an_instance_that_goes_just_after_the_attach(
        self, door: Gatehouse, agent: AgentSocket
    ) -> None:
        """The gateway cannot know which instance was attached to: it has the agent attach again."""
        id = await door.create()
        number = await door.store.objects.number("default", "acme/m")
        door.storages.hold()
        await agent.ask_attach()
        await until(lambda: door.storages.running, "the attach is being committed")
        door.gateway.lost(number)
        await breathe()
        door.storages.let_go()
        await agent.next(wire.Attached)
        dispatch = await agent.next(wire.Dispatch)
        await agent.next(wire.Reattach)
        await agent.attach(
            granted=0,
            held=(wire.Held(prediction=id, attempt=1, secret=dispatch.secret, state="running"),),
        )
        await agent.finish(dispatch)
        assert (await agent.next(wire.Ack)).prediction == id


class TestEndOfTheSocket:
    async def test_a_revoked_token_closes_it(self, door: Gatehouse, agent: AgentSocket) -> None:
        await agent.attach()
        await door.store.tokens.revoke("worker", "acme")
        assert await agent.closed() == 4401

    async def test_an_agent_that_goes_is_detached(self, door: Gatehouse) -> None:
        token = await door.token()
        async with door.connected(token) as agent:
            await agent.greet()
            await agent.attach()
            id = await door.create()
            await agent.take()
        async with door.connected(token) as other:
            await other.greet("agent-2")
            await other.attach()
            dispatch = await other.take()
            assert (dispatch.prediction, dispatch.attempt) == (id, 2)

    async def test_an_agent_that_is_cut_off_is_detached(self, door: Gatehouse) -> None:
        token = await door.token()
        async with door.connected(token) as agent, door.connected(token) as other:
            await agent.greet()
            await agent.attach()
            id = await door.create()
            await agent.take()
            agent.connection.transport.abort()
            await other.greet("agent-2")
            await other.attach()
            dispatch = await other.take()
            assert (dispatch.prediction, dispatch.attempt) == (id, 2)

    async def test_another_process_with_the_same_identity(self, door: Gatehouse, agent: AgentSocket) -> None:
        await agent.attach()
        async with door.connected(await door.token("twin")) as twin:
            await twin.greet(incarnation="i2")
            await twin.attach()
            assert "identity" in (await agent.next(wire.Closing)).reason
            assert await agent.closed() == 4409

    async def test_the_server_stops(self, door: Gatehouse, agent: AgentSocket) -> None:
        await agent.attach()
        stopping = asyncio.ensure_future(door.gateway.stop())
        closing = await agent.next(wire.Closing)
        assert closing.retry_s > 0
        assert await agent.closed() == 1001
        await stopping
        await door.gateway.stop()

    @pytest.mark.parametrize(
        "frame", ["no json", "[]", '{"type":"hello"}', '{"type":"accepted","channel":0}']
    )
    async def test_what_breaks_the_protocol_closes_it(
        self, door: Gatehouse, agent: AgentSocket, frame: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.CRITICAL):
            await agent.connection.send(frame)
            assert await agent.closed() == 4400

    async def test_work_before_hello_closes_it(
        self, door: Gatehouse, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.CRITICAL):
            async with door.connected(await door.token()) as agent:
                await agent.ask_attach()
                assert await agent.closed() == 4400


class TestSilence:
    @pytest.fixture
    def wire_limits(self) -> WireLimits:
        return WireLimits(beat_s=0.1, silence_s=0.3, hello_s=0.3)

    async def test_a_silent_agent_is_detached(
        self, door: Gatehouse, agent: AgentSocket, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.CRITICAL):
            await agent.attach()
            id = await door.create()
            await agent.take()
            assert await agent.closed() == 4408
            async with door.connected(await door.token("other")) as other:
                await other.greet("agent-2")
                await other.attach()
                dispatch = await other.take()
                assert (dispatch.prediction, dispatch.attempt) == (id, 2)

    async def test_beats_keep_it(self, door: Gatehouse, agent: AgentSocket) -> None:
        await agent.attach()
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.8
        heard = 0
        while loop.time() < end:
            await agent.say(wire.Beat())
            message = wire.decode_from_server(await asyncio.wait_for(agent.connection.recv(), 5))
            heard += isinstance(message, wire.Beat)
        assert heard >= 3
        id = await door.create()
        assert (await agent.take()).prediction == id

    async def test_who_never_says_hello(self, door: Gatehouse, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.CRITICAL):
            async with door.connected(await door.token()) as agent:
                assert await agent.closed() == 4408
