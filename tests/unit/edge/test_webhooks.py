"""Webhooks from a request to a receiver, on real sockets."""

import asyncio
import json
from typing import Any

import httpx
import pytest
import replicate
from standardwebhooks import Webhook

from coordinator.protocol.limits import ServerLimits
from coordinator.webhooks.signing import headers
from edge.webhook_secrets import OVERLAP_S
from tests.support.edge import BASE, MODEL, TestServer, running
from tests.support.http_server import Answer, Request, http_server
from tests.support.waiting import until, until_async


async def secret_of(server: TestServer) -> str:
    answer = await server.http.get("/v1/webhooks/default/secret")
    assert answer.status_code == 200
    return str(answer.json()["key"])


async def create(server: TestServer, url: str, **body: Any) -> dict[str, Any]:
    answer = await server.http.post(
        f"/v1/models/{MODEL}/predictions", json={"input": {"text": "hi"}, "webhook": url, **body}
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def run(server: TestServer, url: str, output: Any = "done", **body: Any) -> str:
    made = await create(server, url, **body)
    server.agent.finish(await server.agent.start(), output)
    server.agent.offer()
    await server.ended(made["id"])
    return str(made["id"])


async def deliveries(server: TestServer, id: str) -> dict[str, Any]:
    answer = await server.http.get(f"/v1/predictions/{id}/webhooks")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def tried(server: TestServer, id: str, state: str, count: int = 1) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await deliveries(server, id)
        return found if found["state"] == state and len(found["tries"]) >= count else None

    return await until_async(look, f"the webhook of {id} is {state} after {count} tries", 10)


async def redeliver(server: TestServer, id: str) -> dict[str, Any]:
    answer = await server.http.post(f"/v1/predictions/{id}/redeliver")
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def test_the_end_is_delivered_and_both_libraries_verify_it(server: TestServer) -> None:
    async with http_server(lambda request: Answer(200)) as receiver:
        id = await run(server, f"{receiver.url}/hook?key=a%20b", ["x"])
        await until(lambda: receiver.requests, "the webhook")
        (request,) = receiver.requests
        assert (request.method, request.path) == ("POST", "/hook?key=a%20b")
        assert request.headers["content-type"] == "application/json"
        secret = await secret_of(server)
        shown = Webhook(secret).verify(request.body, request.headers)
        assert shown == (await server.http.get(f"/v1/predictions/{id}")).json()
        assert shown["status"] == "succeeded"
        assert "webhook" not in shown
        client = replicate.Client(
            api_token=server.token, base_url=BASE, transport=httpx.ASGITransport(server.app), timeout=5
        )
        signing = await client.webhooks.default.async_secret()
        assert signing.key == secret
        client.webhooks.validate(
            headers=request.headers, body=request.body.decode(), secret=signing, tolerance=60
        )
        found = await tried(server, id, "delivered")
        assert found["webhook"] == f"{receiver.url}/hook?key=a%20b"
        assert [(one["status"], one["error"]) for one in found["tries"]] == [(200, None)]


def test_signatures_are_those_of_public_vectors() -> None:
    made = headers(
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    first, second = made["webhook-signature"].split(" ")
    assert first == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert second != first
    made = headers(
        ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",),
        "msg_test1",
        1700000000,
        b'{"id":"abc","status":"succeeded"}',
    )
    assert made["webhook-signature"] == "v1,HBYpla3h6kzxOo+KJeWG//+W6fAzUVITjopH91SgmpI="


async def test_all_events_in_order(server: TestServer) -> None:
    async with http_server(lambda request: Answer(200)) as receiver:
        made = await create(
            server, receiver.url, webhook_events_filter=["completed", "logs", "start", "output"]
        )
        assert made["webhook"] == receiver.url
        assert made["webhook_events_filter"] == ["start", "output", "logs", "completed"]
        dispatch = await server.agent.start()
        server.agent.progress(dispatch, (1, "output", "a"), (2, "logs", "said\n"))
        await until(lambda: len(receiver.requests) == 3, "start, output and logs")
        server.agent.finish(dispatch, ["a"], logs="said\n")
        await until(lambda: len(receiver.requests) == 4, "the end")
        shown = [json.loads(request.body) for request in receiver.requests]
        assert [one["status"] for one in shown] == ["processing"] * 3 + ["succeeded"]
        assert shown[0]["output"] is None
        assert (shown[1]["output"], shown[2]["logs"]) == (["a"], "said\n")
        verify = Webhook(await secret_of(server)).verify
        for request in receiver.requests:
            verify(request.body, request.headers)
        assert len({request.headers["webhook-id"] for request in receiver.requests}) == 4


async def test_without_a_filter_outputs_and_the_end_are_told(server: TestServer) -> None:
    async with http_server(lambda request: Answer(200)) as receiver:
        made = await create(server, receiver.url)
        assert made["webhook_events_filter"] == ["output", "completed"]


async def test_500_then_200(server: TestServer) -> None:
    def answer(request: Request) -> Answer:
        return Answer(500 if len(receiver.requests) == 1 else 200, body=b"our secret")

    async with http_server(answer) as receiver:
        id = await run(server, receiver.url)
        found = await tried(server, id, "delivered", 2)
        assert [(one["status"], one["error"]) for one in found["tries"]] == [
            (500, "the answer was 500"),
            (200, None),
        ]
        assert "our secret" not in json.dumps(found)
        first, second = receiver.requests
        assert first.body == second.body
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        Webhook(await secret_of(server)).verify(second.body, second.headers)


async def test_a_redirect_is_recorded_and_not_followed(server: TestServer) -> None:
    async with http_server(lambda request: Answer(200)) as other:
        redirect = Answer(302, {"Location": f"{other.url}/elsewhere"})
        async with http_server(lambda request: redirect) as receiver:
            id = await run(server, receiver.url)
            found = await tried(server, id, "pending")
            assert found["tries"][0]["status"] == 302
            assert found["tries"][0]["error"] == "the answer was 302: redirects are not followed"
            assert found["next_at"] is not None
            assert other.requests == []


async def test_a_receiver_that_cuts(server: TestServer) -> None:
    async with http_server(lambda request: Answer(cut=True)) as receiver:
        found = await tried(server, await run(server, receiver.url), "pending")
        assert found["tries"][0]["status"] is None
        assert "closed the connection" in found["tries"][0]["error"]


async def test_a_receiver_that_refuses(server: TestServer) -> None:
    async with http_server(lambda request: Answer(200)) as receiver:
        url = receiver.url
    found = await tried(server, await run(server, url), "pending")
    assert found["tries"][0]["error"].startswith("no connection")


async def test_a_slow_receiver_is_cut_off_and_delays_nobody(tmp_path: Any) -> None:
    never = asyncio.Event()

    async def stuck(request: Request) -> Answer:
        await never.wait()
        return Answer(200)

    async with (
        running(tmp_path, ServerLimits(webhook_s=1.0, webhook_connections=10), slots=4) as server,
        http_server(stuck) as slow,
        http_server(lambda request: Answer(200)) as quick,
    ):
        late = [await run(server, slow.url) for _ in range(40)]
        await until(lambda: len(slow.requests) == 8, "the slow one has its share")
        for _ in range(5):
            await tried(server, await run(server, quick.url), "delivered")
        found = await tried(server, late[0], "pending")
        assert found["tries"][0]["error"] == "no answer within 1 s"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"webhook": "ftp://example.test/"}, "webhook"),
        ({"webhook": "not a url"}, "webhook"),
        ({"webhook": "https:///x"}, "webhook"),
        ({"webhook": "https://example.test:22/"}, "webhook"),
        ({"webhook": "https://me:pw@example.test/"}, "webhook"),
        ({"webhook": "https://example.test/" + "x" * 3000}, "webhook"),
        ({"webhook": 5}, "webhook"),
        ({"webhook": ["https://example.test"]}, "webhook"),
        ({"webhook": "http://10.0.0.1/"}, "webhook"),
        ({"webhook": "http://169.254.169.254/latest"}, "webhook"),
        ({"webhook": "http://[::1]/"}, "webhook"),
        ({"webhook": "https://example.test", "webhook_events_filter": "start"}, "webhook_events_filter"),
        ({"webhook": "https://example.test", "webhook_events_filter": ["end"]}, "webhook_events_filter"),
        ({"webhook": "https://example.test", "webhook_events_filter": [1]}, "webhook_events_filter"),
    ],
)
async def test_what_is_refused_at_the_door(server: TestServer, body: dict[str, Any], field: str) -> None:
    answer = await server.http.post(f"/v1/models/{MODEL}/predictions", json={"input": {"text": "hi"}, **body})
    assert answer.status_code == 422, answer.text
    assert [one["field"] for one in answer.json()["invalid_fields"]] == [field]


async def test_redelivery(server: TestServer) -> None:
    async with http_server(lambda request: Answer(200)) as receiver:
        id = await run(server, receiver.url)
        await tried(server, id, "delivered")
        await redeliver(server, id)
        await until(lambda: len(receiver.requests) == 2, "it is sent again")
        first, second = receiver.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        Webhook(await secret_of(server)).verify(second.body, second.headers)


async def test_what_cannot_be_redelivered(server: TestServer) -> None:
    ended = await server.run("done")
    answer = await server.http.post(f"/v1/predictions/{ended['id']}/redeliver")
    assert (answer.status_code, answer.json()["code"]) == (422, "no_webhook")
    assert (await deliveries(server, ended["id"]))["state"] == "none"
    server.agent.offer()
    waiting = await create(server, "https://example.test/")
    answer = await server.http.post(f"/v1/predictions/{waiting['id']}/redeliver")
    assert (answer.status_code, answer.json()["code"]) == (422, "no_webhook")


async def test_another_account_sees_nothing(server: TestServer) -> None:
    async with http_server(lambda request: Answer(200)) as receiver:
        id = await run(server, receiver.url)
    other = {"authorization": f"Bearer {await server.secret('theirs', account='other')}"}
    assert (await server.http.get(f"/v1/predictions/{id}/webhooks", headers=other)).status_code == 404
    assert (await server.http.post(f"/v1/predictions/{id}/redeliver", headers=other)).status_code == 404
    theirs = (await server.http.get("/v1/webhooks/default/secret", headers=other)).json()["key"]
    assert theirs != await secret_of(server)


async def test_the_secret_is_made_once_and_needs_the_scope_read(server: TestServer) -> None:
    secret = await secret_of(server)
    assert secret == await secret_of(server)
    assert secret.startswith("whsec_")
    stored = await server.services.store.webhook_secrets.get("default")
    assert stored is not None
    assert secret.encode() not in stored.secret
    submits = {"authorization": f"Bearer {await server.secret('s', scopes=('submit',))}"}
    assert (await server.http.get("/v1/webhooks/default/secret", headers=submits)).status_code == 403


async def test_after_a_rotation_both_secrets_verify_for_a_day(server: TestServer) -> None:
    old = await secret_of(server)
    secrets = server.services.webhooks.secrets
    new, until_at = await secrets.rotate("default")
    assert new != old
    assert abs(until_at - server.services.clock.now() - OVERLAP_S * 1e6) < 60e6
    assert await secret_of(server) == new
    async with http_server(lambda request: Answer(200)) as receiver:
        await run(server, receiver.url)
        await until(lambda: receiver.requests, "the webhook")
        (request,) = receiver.requests
        for secret in (new, old):
            Webhook(secret).verify(request.body, request.headers)
    secrets._now = lambda: until_at
    assert await secrets.keys("default") == (new,)
