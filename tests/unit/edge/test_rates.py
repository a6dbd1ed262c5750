"""Buckets that hold a minute's worth, and what tokens get of them."""

from typing import Any

import pytest
import replicate

from coordinator.protocol.limits import ServerLimits
from edge.auth import Principal
from edge.errors import Problem
from edge.rates import Buckets
from edge.throttle import Throttle
from tests.support.edge import MODEL, TestServer
from tests.unit.edge.test_replicate_client import client_of


class Time:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_bucket_holds_a_minutes_worth_and_fills_evenly() -> None:
    time = Time()
    buckets = Buckets(time)
    first = buckets.take("a", 600)
    assert (first.limit, first.remaining, first.reset_s, first.retry_after_s) == (600, 599, 1, 0)
    for left in range(598, -1, -1):
        assert buckets.take("a", 600).remaining == left
    refused = buckets.take("a", 600)
    assert (refused.remaining, refused.reset_s) == (0, 60)
    assert refused.retry_after_s == pytest.approx(0.1)
    time.now_s += 0.1
    assert buckets.take("a", 600).retry_after_s == 0
    assert buckets.take("a", 600).retry_after_s > 0
    time.now_s += 60
    assert buckets.take("a", 600).remaining == 599


def test_what_is_refused_costs_nothing_and_keys_do_not_meet() -> None:
    buckets = Buckets(Time())
    buckets.take("a", 1)
    waits = {buckets.take("a", 1).retry_after_s for _ in range(100)}
    assert waits == {60.0}
    assert buckets.wait_s("a", 1) == 60.0
    assert buckets.wait_s("b", 1) == 0.0
    assert buckets.take("b", 1).retry_after_s == 0


def test_several_at_once_are_taken_all_or_none() -> None:
    buckets = Buckets(Time())
    assert buckets.take("a", 10, 7).remaining == 3
    assert buckets.take("a", 10, 4).retry_after_s == pytest.approx(6.0)
    assert buckets.take("a", 10, 3).remaining == 0
    assert buckets.take("b", 10, 1000).remaining == 0


def test_full_buckets_are_thrown_away() -> None:
    time = Time()
    buckets = Buckets(time)
    for number in range(1024):
        buckets.take(str(number), 60)
    time.now_s += 0.5
    buckets.take("busy", 1)
    assert len(buckets) == 1025
    time.now_s += 1
    for number in range(10_000):
        buckets.take(f"later {number}", 600)
        time.now_s += 0.001
    assert len(buckets) < 1200
    assert buckets.wait_s("busy", 1) > 0


def principal(**more: Any) -> Principal:
    given = {"token": "t", "account": "a", "scopes": frozenset({"submit"}), "pools": (), "models": ()}
    return Principal(**(given | {"name": "n"} | more))


def test_whose_limit_holds() -> None:
    throttle = Throttle(ServerLimits(creations_per_min=5, requests_per_min=0), Time())
    standing = throttle.charge(principal(), creates=True)
    assert standing is not None
    assert standing.limit == 5
    assert throttle.charge(principal(), creates=False) is None
    assert throttle.charge(principal(scopes=frozenset({"admin"})), creates=True) is None
    own = throttle.charge(
        principal(token="u", scopes=frozenset({"admin"}), requests_per_min=7), creates=False
    )
    assert own is not None
    assert own.limit == 7
    assert throttle.charge(principal(creations_per_min=0), creates=True) is None
    with pytest.raises(Problem) as refused:
        throttle.charge(principal(), creates=True, count=5)
    assert refused.value.code == "throttled"


async def test_creations_and_polling_have_a_bucket_each(server: TestServer) -> None:
    headers = {"authorization": f"Bearer {await server.secret('n', creations_per_min=1, requests_per_min=2)}"}
    made = await server.http.post(
        f"/v1/models/{MODEL}/predictions", json={"input": {"text": "x"}}, headers=headers
    )
    assert made.status_code == 201
    assert made.headers["ratelimit-limit"] == "1"
    assert (made.headers["ratelimit-remaining"], made.headers["ratelimit-reset"]) == ("0", "60")

    refused = await server.http.post("/v1/predictions", content=b"no JSON", headers=headers)
    assert refused.status_code == 429
    body = refused.json()
    assert body["detail"].startswith("Request was throttled. Your rate limit resets in ~60s.")
    assert "creations_per_min" in body["detail"]
    assert (body["status"], body["retry_after"], refused.headers["retry-after"]) == (429, 60, "60")
    assert refused.headers["ratelimit-remaining"] == "0"
    assert "x-should-retry" not in refused.headers

    id = made.json()["id"]
    polled = await server.http.get(f"/v1/predictions/{id}", headers=headers)
    assert (polled.status_code, polled.headers["ratelimit-remaining"]) == (200, "1")
    canceled = await server.http.post(f"/v1/predictions/{id}/cancel", headers=headers)
    assert (canceled.status_code, canceled.headers["ratelimit-remaining"]) == (200, "0")
    assert (await server.http.get(f"/v1/predictions/{id}", headers=headers)).status_code == 429


async def test_errors_say_it_too_and_what_needs_no_token_says_nothing(server: TestServer) -> None:
    headers = {"authorization": f"Bearer {await server.secret('n')}"}
    missing = await server.http.get("/v1/predictions/nothing", headers=headers)
    assert (missing.status_code, missing.headers["ratelimit-limit"]) == (404, "3000")
    assert missing.headers["ratelimit-remaining"] == "2999"
    assert "ratelimit-limit" not in (await server.http.get("/healthz", headers=headers)).headers
    assert "ratelimit-limit" not in (await server.http.get("/v1/account")).headers  # an admin's


async def test_replicates_client_waits_and_asks_again(server: TestServer) -> None:
    made = await server.create()
    secret = await server.secret("n", requests_per_min=60)
    for _ in range(60):
        await server.http.get("/v1/account", headers={"authorization": f"Bearer {secret}"})
    assert (await client_of(server, secret).predictions.async_get(made["id"])).id == made["id"]


async def test_replicates_client_gives_up_a_creation_at_once(server: TestServer) -> None:
    client = client_of(server, await server.secret("n", creations_per_min=1))
    await client.predictions.async_create(model=MODEL, input={"text": "x"})
    with pytest.raises(replicate.exceptions.ReplicateError) as caught:
        await client.predictions.async_create(model=MODEL, input={"text": "x"})
    assert caught.value.status == 429
    assert "Request was throttled" in str(caught.value)
