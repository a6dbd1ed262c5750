"""A creation that is sent again, by its key or by an id of the client's own, is the same prediction."""

import asyncio
from typing import Any

import httpx
import pytest

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.protocol import messages as wire
from coordinator.store.aliases import Alias
from tests.support.edge import MODEL, VERSION, TestServer

PATHS = (f"/v1/models/{MODEL}/predictions", "/v1/predictions", "/v1/deployments/default/mine/predictions")
KEY = {"idempotency-key": "order 7"}


def body_for(path: str, text: str = "x", **more: Any) -> dict[str, Any]:
    named = {"version": VERSION} if path in ("/v1/predictions", "put") else {}
    return {**named, "input": {"text": text, "n": 2}, **more}


async def post(server: TestServer, path: str = PATHS[0], text: str = "x", **headers: str) -> httpx.Response:
    return await server.http.post(path, json=body_for(path, text), headers={**KEY, **headers})


async def put(server: TestServer, own: str, text: str = "x", **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    return await server.http.put(
        f"/v1/predictions/{own}", json=body_for("put", text, **more), headers=headers
    )


async def nothing_more_runs(server: TestServer) -> None:
    """The next one that is dispatched is one that is created now."""
    server.agent.offer()
    made = await server.create()
    assert (await server.agent.start()).prediction == made["id"]


async def alias(server: TestServer, kind: Any, name: str) -> Alias:
    found = await server.services.store.aliases.get("default", kind, name, 0)
    assert found is not None
    return found


def refuse_creates(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No creation reaches a coordinator."""
    call = server.services.coordinators.namespace.call

    async def watched(number: int, what: Any, deadline_s: float) -> Any:
        if isinstance(what, calls.Create):
            raise Unavailable("the coordinator was restarted")
        return await call(number, what, deadline_s)

    monkeypatch.setattr(server.services.coordinators.namespace, "call", watched)


@pytest.fixture
async def deployment(server: TestServer) -> None:
    made = await server.http.post(
        "/v1/deployments",
        json={
            "name": "mine",
            "model": MODEL,
            "version": VERSION,
            "hardware": "cpu",
            "min_instances": 0,
            "max_instances": 1,
        },
    )
    assert made.status_code == 200, made.text


class TestKey:
    @pytest.mark.parametrize("path", PATHS)
    async def test_the_same_request_again_creates_nothing(
        self, server: TestServer, deployment: None, path: str
    ) -> None:
        first, second = [await post(server, path) for _ in range(2)]
        assert (first.status_code, second.status_code) == (201, 201)
        assert second.json() == first.json()
        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"
        assert second.headers["location"] == first.headers["location"]
        assert (await server.agent.start()).prediction == first.json()["id"]
        await nothing_more_runs(server)

    @pytest.mark.parametrize("path", [PATHS[0], f"{PATHS[0]}/", PATHS[0].removeprefix("/v1")])
    async def test_it_may_be_written_otherwise(self, server: TestServer, path: str) -> None:
        first = (await post(server)).json()
        text = '{ "input": {"n": 2, "text": "\\u0078"}, "stream" : null }'
        again = await server.http.post(path, content=text, headers={"x-idempotency-key": " order 7 "})
        assert again.json()["id"] == first["id"]

    async def test_another_body_or_path_is_refused(self, server: TestServer, deployment: None) -> None:
        await post(server)
        others = [await post(server, text="y"), await post(server, PATHS[1]), await post(server, PATHS[2])]
        for other in others:
            assert (other.status_code, other.json()["code"]) == (422, "key_reused")
            assert "This Idempotency-Key was used before" in other.json()["detail"]
            assert other.headers["x-should-retry"] == "false"

    async def test_each_account_has_its_own(self, server: TestServer) -> None:
        await server.services.store.models.set_visibility("default", MODEL, "public")
        first = (await post(server)).json()
        other = await server.secret("other", account="other")
        second = await post(server, text="y", authorization=f"Bearer {other}")
        assert second.status_code == 201, second.text
        assert second.json()["id"] != first["id"]
        sister = await server.secret("sister")
        assert (await post(server, authorization=f"Bearer {sister}")).json()["id"] == first["id"]

    @pytest.mark.parametrize("key", ["", " ", "x" * 256, "ü", "a\tb"])
    async def test_what_is_no_key_is_refused(self, server: TestServer, key: str) -> None:
        answer = await post(server, **{"idempotency-key": key.encode("latin-1")})  # type: ignore[arg-type]
        assert answer.status_code == 422
        assert answer.json()["invalid_fields"][0]["field"] == "Idempotency-Key"

    async def test_many_at_once_are_one(self, server: TestServer) -> None:
        answers = await asyncio.gather(*(post(server) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {201}
        (id,) = {answer.json()["id"] for answer in answers}
        assert (await server.agent.start()).prediction == id
        await nothing_more_runs(server)

    async def test_many_at_once_with_different_bodies_are_one_and_refusals(self, server: TestServer) -> None:
        answers = await asyncio.gather(*(post(server, text=f"{n}") for n in range(5)))
        assert sorted(answer.status_code for answer in answers) == [201, 422, 422, 422, 422]

    async def test_what_was_refused_has_used_no_key(self, server: TestServer) -> None:
        wrong = await server.http.post(PATHS[0], json={"input": {"text": "x", "n": 9}}, headers=KEY)
        assert wrong.status_code == 422
        assert (await post(server)).status_code == 201

    async def test_one_that_has_ended_comes_back_as_it_is(self, server: TestServer) -> None:
        made = (await post(server)).json()
        server.agent.finish(await server.agent.start(), ["done"])
        await server.ended(made["id"])
        await server.indexed(made["id"])
        server.services.projector._recent.clear()
        again = (await post(server)).json()
        assert (again["id"], again["status"], again["output"]) == (made["id"], "succeeded", ["done"])
        await nothing_more_runs(server)

    async def test_a_repeat_may_wait_for_the_end(self, server: TestServer) -> None:
        made = (await post(server)).json()
        asking = asyncio.ensure_future(post(server, prefer="wait=10"))
        server.agent.finish(await server.agent.start(), ["done"])
        again = await asking
        assert (again.json()["id"], again.json()["output"]) == (made["id"], ["done"])
        assert again.headers["preference-applied"] == "wait=10"

    async def test_it_is_remembered_for_its_time(self, server: TestServer) -> None:
        made = (await post(server)).json()
        known = await alias(server, "key", "order 7")
        assert known.ids == (made["id"],)
        assert known.expires_at == known.created_at + 86_400_000_000


class TestCrashes:
    async def test_a_repeat_completes_what_was_only_reserved(
        self, server: TestServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            refuse_creates(server, patch)
            assert (await post(server)).status_code == 503
        (id,) = (await alias(server, "key", "order 7")).ids
        assert (await server.http.get(f"/v1/predictions/{id}")).status_code == 404
        assert (await post(server, text="y")).status_code == 422
        made = await post(server)
        assert (made.status_code, made.json()["id"]) == (201, id)
        assert (await server.agent.start()).prediction == id
        assert (await post(server)).json()["id"] == id

    async def test_who_looks_while_another_creates_runs_and_ends_it_begins_nothing(
        self, server: TestServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the look and the creation of one request lies the whole life of another's prediction."""
        subscriptions = server.services.subscriptions
        ended = subscriptions.ended
        looking, go_on = asyncio.Event(), asyncio.Event()

        async def slow(prediction: str, account: str) -> Any:
            found = await ended(prediction, account)
            if not looking.is_set():
                looking.set()
                await go_on.wait()
            return found

        monkeypatch.setattr(subscriptions, "ended", slow)
        late = asyncio.ensure_future(post(server))
        await looking.wait()
        made = (await post(server)).json()
        server.agent.finish(await server.agent.start(), ["done"])
        await server.indexed(made["id"])
        go_on.set()
        answer = (await late).json()
        assert (answer["id"], answer["output"]) == (made["id"], ["done"])
        await nothing_more_runs(server)

    async def test_a_name_that_means_another_model_by_now_is_refused(self, server: TestServer) -> None:
        elsewhere = await server.services.store.objects.number("default", "acme/other")
        with_key = await post(server)
        known = await alias(server, "key", "order 7")
        stale = Alias(
            account="default",
            kind="key",
            name="stale",
            digest=known.digest,
            ids=(server.services.ids.make(elsewhere),),
            created_at=server.services.clock.now(),
        )
        await server.services.store.aliases.reserve(stale)
        assert with_key.status_code == 201
        answer = await post(server, **{"idempotency-key": "stale"})
        assert (answer.status_code, answer.json()["code"]) == (422, "key_reused")


class TestOwnId:
    async def test_it_is_the_predictions_id_everywhere(self, server: TestServer) -> None:
        made = await put(server, "order-7")
        assert made.status_code == 201
        shown = made.json()
        assert shown["id"] == "order-7"
        assert shown["urls"]["get"].endswith("/v1/predictions/order-7")
        assert made.headers["location"] == shown["urls"]["get"]
        get = (await server.http.get("/v1/predictions/order-7")).json()
        assert (get["id"], get["input"]) == ("order-7", {"text": "x", "n": 2})
        assert (await server.http.get("/v1/predictions/order-7/why")).json()["id"] == "order-7"
        assert (await server.http.get("/v1/predictions/order-7/webhooks")).json()["id"] == "order-7"
        (row,) = (await server.http.get("/v1/predictions")).json()["results"]
        assert row["id"] == "order-7"
        (ours,) = (await alias(server, "id", "order-7")).ids
        assert (await server.http.get(f"/v1/predictions/{ours}")).json()["id"] == "order-7"
        assert (await alias(server, "id", "order-7")).expires_at is None

    async def test_again_while_it_runs_and_when_it_has_ended(self, server: TestServer) -> None:
        assert (await put(server, "order-7")).status_code == 201
        dispatch = await server.agent.start()
        running = await put(server, "order-7")
        assert (running.status_code, running.json()["status"]) == (202, "processing")
        server.agent.finish(dispatch, ["done"])
        await server.ended("order-7")
        ended = await put(server, "order-7", id="order-7")
        assert (ended.status_code, ended.json()["output"]) == (200, ["done"])
        assert ended.headers["idempotent-replayed"] == "true"
        await nothing_more_runs(server)

    async def test_it_can_be_waited_for(self, server: TestServer) -> None:
        asking = asyncio.ensure_future(put(server, "order-7", headers={"prefer": "wait"}))
        server.agent.finish(await server.agent.start(), ["done"])
        made = await asking
        assert (made.status_code, made.json()["status"]) == (201, "succeeded")

    async def test_it_can_be_canceled(self, server: TestServer) -> None:
        await server.create()
        await put(server, "order-7")
        canceled = (await server.http.post("/v1/predictions/order-7/cancel")).json()
        assert (canceled["id"], canceled["status"]) == ("order-7", "canceled")

    async def test_another_request_under_it_is_refused(self, server: TestServer) -> None:
        await put(server, "order-7")
        other = await put(server, "order-7", text="y")
        assert (other.status_code, other.json()["code"]) == (422, "key_reused")
        assert other.json()["detail"].startswith("The id order-7 was used before")

    async def test_it_is_the_accounts_alone(self, server: TestServer) -> None:
        await put(server, "order-7")
        stranger = {"authorization": f"Bearer {await server.secret('stranger', account='other')}"}
        for answer in (
            await server.http.get("/v1/predictions/order-7", headers=stranger),
            await server.http.post("/v1/predictions/order-7/cancel", headers=stranger),
        ):
            assert answer.status_code == 404

    @pytest.mark.parametrize("id", [".", "..", "a/b", "a b", "x" * 129, "-a", "a-", "ü"])
    async def test_what_is_no_id_is_refused(self, server: TestServer, id: str) -> None:
        path = httpx.URL(f"https://x/v1/predictions/{id.replace('/', '%2F').replace('.', '%2E')}").raw_path
        answer = await server.http.put(path.decode(), json=body_for("put"))
        assert answer.status_code in (404, 422), answer.text
        rows = (await server.http.get("/v1/predictions")).json()["results"]
        assert rows == []

    async def test_nothing_that_looks_like_ours_is_the_clients(self, server: TestServer) -> None:
        ours = server.services.ids.make(server.agent.number)
        forged = ours[:-1] + ("0" if ours[-1] != "0" else "1")
        for id in (ours, forged):
            answer = await put(server, id)
            assert answer.status_code == 422
            assert "use another form" in answer.json()["detail"]

    async def test_the_body_may_only_repeat_it(self, server: TestServer) -> None:
        assert (await put(server, "order-7", id="order-8")).status_code == 422
        assert (await put(server, "order-7", id=7)).status_code == 422
        answer = await server.http.post("/v1/predictions", json=body_for("put", id="order-7"))
        assert answer.status_code == 422
        assert "PUT" in answer.json()["detail"]

    async def test_webhooks_say_it_too(self, server: TestServer) -> None:
        made = await put(server, "order-7", webhook="https://hooks.example.org/x")
        assert made.status_code == 201
        found = await server.services.models.stub(server.agent.number).get(
            calls.Get(id=(await alias(server, "id", "order-7")).ids[0], account="default")
        )
        assert isinstance(found, calls.Found)
        render = server.services.webhooks.sender._renders["replicate"]
        assert b'"id":"order-7"' in await render(found.document)

    async def test_agents_hear_the_servers_own(self, server: TestServer) -> None:
        await put(server, "order-7")
        dispatch: wire.Dispatch = await server.agent.start()
        assert dispatch.prediction == (await alias(server, "id", "order-7")).ids[0]
