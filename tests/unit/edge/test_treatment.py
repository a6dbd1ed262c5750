"""How a creation is to be treated, which pool takes it, and what its client hears of its place."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coordinator import calls
from coordinator.prediction import Document
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from edge.times import rfc3339
from edge.wishes import cancel_after
from tests.support.edge import MODEL, VERSION, ScriptedAgent, TestServer, register, running
from tests.support.waiting import until

PATH = f"/v1/models/{MODEL}/predictions"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with running(tmp_path, ServerLimits()) as server:
        yield server


async def post(server: TestServer, headers: dict[str, str] | None = None, **body: Any) -> Any:
    return await server.http.post(PATH, json={"input": {"text": "x"}, **body}, headers=headers or {})


async def document(server: TestServer, made: dict[str, Any]) -> Document:
    (found,) = [d for d in await documents(server) if d.id == made["id"]]
    return found


async def documents(server: TestServer) -> list[Document]:
    await until(lambda: not server.services.projector.pending("default"), "all are in the index")
    rows = await server.services.store.index.list(
        "default", before=None, created_after=None, created_before=None, limit=99
    )
    return list(rows)


class TestWishes:
    async def test_class_and_end_user_of_the_body(self, server: TestServer) -> None:
        made = (await post(server, priority="batch", end_user="discord:7")).json()
        known = await document(server, made)
        assert (known.urgency, known.user) == (2, "discord:7")
        plain = await document(server, (await post(server)).json())
        assert (plain.urgency, plain.user) == (1, "")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"priority": "urgent"}, "priority"),
            ({"priority": 1}, "priority"),
            ({"end_user": 7}, "end_user"),
            ({"max_wait": 0.5}, "max_wait"),
            ({"max_wait": "soon"}, "max_wait"),
            ({"max_wait": True}, "max_wait"),
            ({"max_wait": "25h"}, "max_wait"),
            ({"metadata": []}, "metadata"),
            ({"metadata": "x"}, "metadata"),
            ({"metadata": {"x": "y" * 4096}}, "metadata"),
        ],
    )
    async def test_what_is_wrong_is_named(self, server: TestServer, body: dict[str, Any], field: str) -> None:
        answer = await post(server, **body)
        assert answer.status_code == 422
        assert [wrong["field"] for wrong in answer.json()["invalid_fields"]] == [field]
        assert await documents(server) == []

    @pytest.mark.parametrize(("given", "seconds"), [(30, 30), (1.5, 1.5), ("90", 90), ("5m", 300)])
    async def test_how_long_it_may_wait(self, server: TestServer, given: Any, seconds: float) -> None:
        known = await document(server, (await post(server, max_wait=given)).json())
        assert (known.queue_s, known.max_wait) == (seconds, True)
        assert known.queue_deadline_at == known.created_at + int(seconds * 1e6)

    async def test_metadata_is_shown_wherever_the_prediction_is(self, server: TestServer) -> None:
        metadata = {"order": 1138, "tags": ["a", "ü"], "deep": {"er": None}}
        made = (await post(server, metadata=metadata)).json()
        id = made["id"]
        server.agent.finish(await server.agent.start(), ["done"])
        shown = await server.ended(id)
        await server.indexed(id)
        (row,) = (await server.http.get("/v1/predictions")).json()["results"]
        later = (await server.http.get(f"/v1/predictions/{id}")).json()
        assert [one["metadata"] for one in (made, shown, row, later)] == [metadata] * 4
        plain = (await post(server)).json()
        assert "metadata" not in plain

    async def test_every_way_of_creating_takes_every_wish(self, server: TestServer) -> None:
        wishes = {"priority": "batch", "end_user": "u", "max_wait": 9, "metadata": {"a": 1}}
        deployment = {"name": "mine", "model": MODEL, "version": VERSION, "hardware": "cpu"}
        made = await server.http.post(
            "/v1/deployments", json={**deployment, "min_instances": 0, "max_instances": 1}
        )
        assert made.status_code == 200, made.text
        body = {"input": {"text": "x"}, **wishes}
        ways = [
            ("POST", PATH, body),
            ("POST", "/v1/predictions", {"version": VERSION, **body}),
            ("POST", "/v1/deployments/default/mine/predictions", body),
            ("PUT", "/v1/predictions/order-7", {"model": MODEL, **body}),
        ]
        for method, path, sent in ways:
            answer = await server.http.request(method, path, json=sent)
            assert answer.status_code == 201, answer.text
        for known in await documents(server):
            assert (known.urgency, known.user, known.queue_s) == (2, "u", 9.0)
            assert known.metadata == b'{"a":1}'
        assert len(await documents(server)) == len(ways)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("90", 90),
            ("30s", 30),
            ("5m", 300),
            ("1h30m45s", 5445),
            ("24h", 86_400),
            ("4", None),
            ("25h", None),
            ("", None),
            ("-5", None),
            ("5 m", None),
            ("1.5h", None),
            ("٣٠", None),
            ("1e3", None),
        ],
    )
    def test_cancel_after(self, text: str, seconds: float | None) -> None:
        assert cancel_after(text) == seconds

    async def test_its_time_counts_from_the_creation(self, server: TestServer) -> None:
        made = (await post(server, {"cancel-after": "1m"})).json()
        known = await document(server, made)
        assert known.total_deadline_at == known.created_at + 60_000_000
        assert made["deadline"] == rfc3339(known.total_deadline_at)
        assert (await server.http.get(f"/v1/predictions/{made['id']}")).json()["deadline"] == made["deadline"]
        assert "deadline" not in (await post(server, {})).json()
        answer = await post(server, {"cancel-after": "soon"})
        assert answer.status_code == 422
        assert "Cancel-After" in answer.json()["detail"]

    async def test_lifetime_in_the_body_is_the_same(self, server: TestServer) -> None:
        known = await document(server, (await post(server, {}, lifetime="5m")).json())
        assert known.total_deadline_at == known.created_at + 300_000_000
        both = await document(server, (await post(server, {"cancel-after": "1m"}, lifetime="5m")).json())
        assert both.total_deadline_at == both.created_at + 60_000_000
        answer = await post(server, {}, lifetime=[])
        assert answer.json()["invalid_fields"][0]["field"] == "lifetime"

    async def test_a_model_has_defaults_and_requests_their_own(self, server: TestServer) -> None:
        changes = {"queue_s": 7.0, "run_s": 8.0, "total_s": 9.0, "lease_s": 10.0, "retries": 1}
        await server.services.store.models.configure(MODEL, changes | {"priority": "batch"})
        known = await document(server, (await post(server)).json())
        assert (known.queue_s, known.run_s, known.lease_s) == (7.0, 8.0, 10.0)
        assert (known.retries, known.max_attempts) == (1, 2)
        assert known.total_deadline_at == known.created_at + 9_000_000
        assert known.urgency == 2
        own = (await post(server, {"cancel-after": "30s"}, priority="interactive")).json()
        known = await document(server, own)
        assert (known.total_deadline_at or 0) - known.created_at == 30_000_000
        assert known.urgency == 0

    async def test_shares_and_caps_come_with_the_token(self, server: TestServer) -> None:
        secret = await server.secret("small", share=0.5, max_running=2)
        await server.services.store.accounts.set_share("default", 3.0)
        known = await document(server, (await post(server, {"authorization": f"Bearer {secret}"})).json())
        assert (known.token_share, known.max_running, known.account_share) == (0.5, 2, 3.0)


class TestPools:
    @pytest.fixture
    async def second(self, server: TestServer) -> ScriptedAgent:
        """A second pool, whose agent is not attached yet."""
        await register(server.services.store, pool="second")
        return ScriptedAgent(
            server.services.models, await server.services.store.objects.number("second", MODEL)
        )

    async def pool(self, server: TestServer) -> str:
        secret = await server.secret("both", pools=("default", "second"))
        made = (await post(server, {"authorization": f"Bearer {secret}"})).json()
        await server.services.store.tokens.revoke("both")
        return (await document(server, made)).pool

    async def test_a_free_slot_goes_first(self, server: TestServer, second: ScriptedAgent) -> None:
        assert await self.pool(server) == "default"
        await second_attached(server, second)
        assert await self.pool(server) == "second", "the slot of the first one is taken"

    async def test_then_connected_workers_then_the_tokens_order(
        self, server: TestServer, second: ScriptedAgent
    ) -> None:
        await second_attached(server, second, slots=0)
        server.services.models.stub(server.agent.number).hand_over(_gone(server.agent))
        assert await self.pool(server) == "second"
        server.services.models.stub(second.number).hand_over(_gone(second))
        assert await self.pool(server) == "default"


def _gone(agent: ScriptedAgent) -> calls.DetachSession:
    return calls.DetachSession(address=agent.address)


async def second_attached(server: TestServer, agent: ScriptedAgent, slots: int = 1) -> None:
    """Its messages come in at the first agent's inbox: all sessions are the test's."""
    agent.address = calls.SocketAddress("test", "2")
    agent.inbox = server.agent.inbox
    await agent.attach(slots)


class TestHardware:
    async def test_what_no_worker_ever_had_is_refused_with_the_reason(self, server: TestServer) -> None:
        models = server.services.store.models
        await models.configure(MODEL, {"gpu": "a100", "gpu_memory": 40 * 2**30})
        answer = await post(server)
        assert answer.status_code == 422
        assert answer.json()["code"] == "no_such_hardware"
        assert "'a100' with 40 GiB" in answer.json()["detail"]
        assert await documents(server) == []

    async def test_what_one_had_waits_for_it(self, server: TestServer) -> None:
        models = server.services.store.models
        await models.seen("default", MODEL, [("NVIDIA A100-SXM4-80GB", 80 * 2**30)], now=1)
        await models.configure(MODEL, {"gpu": "a100", "gpu_memory": 40 * 2**30})
        made = (await post(server)).json()
        why = (await server.http.get(f"/v1/predictions/{made['id']}/why")).json()
        assert why["reason"] == "no_such_hardware"
        assert why["why"].startswith("Waits: no connected worker has the GPU that the model needs")


class TestPlace:
    async def test_one_that_waits_says_where_it_stands(self, server: TestServer) -> None:
        await server.run(["a"])
        server.agent.offer()
        runs, waits, last = [await server.create() for _ in range(3)]
        shown = (await server.http.get(f"/v1/predictions/{last['id']}")).json()
        assert shown["queue"]["reason"] == "all_busy"
        assert (shown["queue"]["position"], shown["queue"]["of"]) == (2, 2)
        assert 0 <= shown["queue"]["eta"]["p50"] <= shown["queue"]["eta"]["p90"]
        why = (await server.http.get(f"/v1/predictions/{waits['id']}/why")).json()
        assert why["queue"]["position"] == 1
        assert why["why"].startswith("Waits: all workers are busy; it is number 1 of 2")
        dispatch = await server.agent.start()
        assert dispatch.prediction == runs["id"]
        running_one = (await server.http.get(f"/v1/predictions/{runs['id']}")).json()
        assert "queue" not in running_one
        why = (await server.http.get(f"/v1/predictions/{runs['id']}/why")).json()
        assert (why["why"], why["queue"]) == ("Runs on box.", None)
        assert [attempt["worker"] for attempt in why["attempts"]] == ["box"]

    async def test_an_ended_one_says_what_happened(self, server: TestServer) -> None:
        made = await server.create()
        server.agent.finish(await server.agent.start(), status="failed", error="ValueError: no")
        await server.ended(made["id"])
        why = (await server.http.get(f"/v1/predictions/{made['id']}/why")).json()
        assert why["why"] == "It failed with an error of the model: ValueError: no."
        assert why["error_code"] == "model_error"
        await server.indexed(made["id"])
        assert (await server.http.get(f"/v1/predictions/{made['id']}/why")).json() == why

    async def test_it_is_the_accounts_alone(self, server: TestServer) -> None:
        made = await server.create()
        stranger = {"authorization": f"Bearer {await server.secret('stranger', account='other')}"}
        assert (
            await server.http.get(f"/v1/predictions/{made['id']}/why", headers=stranger)
        ).status_code == 404

    async def test_lists_say_nothing_of_it(self, server: TestServer) -> None:
        await server.create()
        await server.create()
        page = (await server.http.get("/v1/predictions")).json()
        assert all("queue" not in row for row in page["results"])


class TestHangingUp:
    """At the application: the connection's end is what the server tells it. See the scenarios for sockets."""

    async def test_who_asked_for_it_has_it_canceled(self, server: TestServer) -> None:
        leaver = await Leaver.begin(server, "wait, cancel-on-disconnect")
        await leaver.leave()
        cancel = await server.agent.next(wire.Cancel)
        assert cancel.prediction == leaver.dispatch.prediction

    async def test_a_model_may_have_it(self, server: TestServer) -> None:
        await server.services.store.models.configure(MODEL, {"cancel_on_disconnect": True})
        leaver = await Leaver.begin(server, "wait")
        await leaver.leave()
        await server.agent.next(wire.Cancel)

    @pytest.mark.parametrize("default", [False, True])
    async def test_who_does_not_want_it_has_it_run_on(self, server: TestServer, default: bool) -> None:
        await server.services.store.models.configure(MODEL, {"cancel_on_disconnect": default})
        leaver = await Leaver.begin(server, "wait, cancel-on-disconnect=false" if default else "wait")
        leaver.away.set()
        server.agent.finish(leaver.dispatch, ["a"])
        assert (await server.ended(leaver.dispatch.prediction))["status"] == "succeeded"
        await leaver.leave()

    async def test_the_answer_comes_as_ever_when_nobody_hangs_up(self, server: TestServer) -> None:
        asking = asyncio.ensure_future(post(server, {"prefer": "wait, cancel-on-disconnect"}))
        server.agent.finish(await server.agent.start(), ["a"])
        answer = await asking
        assert (answer.status_code, answer.json()["status"]) == (201, "succeeded")

    async def test_when_the_wait_is_over_nobody_waits_any_more(self, server: TestServer) -> None:
        made = (await post(server, {"prefer": "wait=1, cancel-on-disconnect"})).json()
        dispatch = await server.agent.start()
        server.agent.finish(dispatch, ["a"])
        assert (await server.ended(made["id"]))["status"] == "succeeded"


@dataclass
class Leaver:
    """A client that waits for its prediction, until it hangs up."""

    away: asyncio.Event
    serving: "asyncio.Future[None]"
    dispatch: wire.Dispatch

    @classmethod
    async def begin(cls, server: TestServer, prefer: str) -> "Leaver":
        headers = {"prefer": prefer, "authorization": f"Bearer {server.token}"}
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        away = asyncio.Event()
        body = iter([{"type": "http.request", "body": b'{"input": {"text": "x"}}', "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in body:
                return message
            await away.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            """Nobody reads it."""

        serving = asyncio.ensure_future(server.app(scope, receive, send))
        return cls(away, serving, await server.agent.start())

    async def leave(self) -> None:
        """Hang up; returns when the server has nothing more to do for the request."""
        self.away.set()
        async with asyncio.timeout(5):
            await self.serving
