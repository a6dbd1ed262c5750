"""What a client sees of its predictions, and what it is told when it asks for the wrong thing."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.conftest import Trace
from tests.support.commands import Agent, Calls, Server, until


@pytest.fixture
def server(serve: Callable[..., Server], work: Callable[..., Agent]) -> Server:
    server = serve()
    work(server).ready()
    return server


@pytest.fixture
def calls(server: Server) -> Calls:
    return server.calls()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    body = answer.json()
    assert body["status"] == status
    assert body["detail"]
    return dict(body)


def test_a_waiting_create_answers_with_the_result(calls: Calls, trace: Trace) -> None:
    done = calls.create("test/waiter", trace.input("one", wait=False), Prefer="wait")
    assert done["status"] == "succeeded"
    assert done["output"] == "done one"
    assert "running one" in done["logs"]
    assert done["metrics"]["predict_time"] >= 0
    assert calls.get(done["id"]) == done


def test_a_wait_that_is_over_says_starting_whatever_runs(calls: Calls, trace: Trace) -> None:
    started = calls.create("test/waiter", trace.input("one"), Prefer="wait=1")
    assert started["status"] == "starting"
    assert started["output"] is None
    calls.reaches(started["id"], "processing")
    trace.go("one")
    assert calls.ended(started["id"])["output"] == "done one"


def test_lists_show_a_prediction_from_its_201_on_and_page(calls: Calls, trace: Trace) -> None:
    ids = [calls.create("test/waiter", trace.input(f"p{n}", wait=False))["id"] for n in range(3)]
    page = calls.http.get("/v1/predictions").json()
    assert {one["id"] for one in page["results"]} >= set(ids)
    for id in ids:
        calls.ended(id)
    listed = [one["id"] for one in calls.http.get("/v1/predictions").json()["results"]]
    assert listed == ids[::-1]


def test_a_queued_prediction_is_canceled_at_once(calls: Calls, trace: Trace) -> None:
    running = calls.create("test/waiter", trace.input("first"))
    calls.reaches(running["id"], "processing")
    queued = calls.create("test/waiter", trace.input("second"))
    answer = calls.http.post(f"/v1/predictions/{queued['id']}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] == "canceled"
    trace.go("first")
    assert calls.ended(running["id"])["status"] == "succeeded"
    assert trace.runs("second") == []


def test_a_running_prediction_is_canceled_and_its_slot_is_free_again(calls: Calls, trace: Trace) -> None:
    running = calls.create("test/waiter", trace.input("first"))
    until(lambda: trace.runs("first"), "it runs")
    for _ in range(2):  # idempotent, never 409
        assert calls.http.post(f"/v1/predictions/{running['id']}/cancel").status_code == 200
    assert calls.ended(running["id"])["status"] == "canceled"
    after = calls.create("test/waiter", trace.input("second", wait=False), Prefer="wait")
    assert after["status"] == "succeeded"
    again = calls.http.post(f"/v1/predictions/{after['id']}/cancel")
    assert again.json()["status"] == "succeeded"


def test_refusals_are_problem_documents(calls: Calls, trace: Trace) -> None:
    http = calls.http
    problem(httpx.get(f"{http.base_url}/v1/predictions"), 401)
    bad = httpx.get(f"{http.base_url}/v1/predictions", headers={"Authorization": "Bearer nope"})
    assert problem(bad, 401)["title"] == "Unauthenticated"
    problem(http.get("/v1/predictions/00000000000000000000000000"), 404)
    problem(http.get("/v1/nothing"), 404)
    wrong = http.post("/v1/predictions", json={"model": "test/waiter", "input": {"name": 3, "folder": []}})
    fields = [field["field"] for field in problem(wrong, 422)["invalid_fields"]]
    assert any("folder" in field for field in fields)
    missing = http.post("/v1/predictions", json={"model": "test/waiter", "input": {}})
    assert "folder" in problem(missing, 422)["detail"]
    unknown = http.post("/v1/predictions", json={"model": "test/nobody", "input": {}})
    assert unknown.status_code in (404, 422)
    problem(unknown, unknown.status_code)
    big = http.post(
        "/v1/predictions", content=b'{"model": "test/waiter", "input": {"name": "' + b"x" * 9_000_000
    )
    problem(big, 413)
    problem(http.post("/v1/predictions", content=b"{nonsense"), 400)


def test_another_account_sees_nothing(server: Server, calls: Calls, trace: Trace) -> None:
    mine = calls.create("test/waiter", trace.input("mine", wait=False), Prefer="wait")
    stranger = server.client("somebody-else")
    for method, path in [
        ("GET", f"/v1/predictions/{mine['id']}"),
        ("POST", f"/v1/predictions/{mine['id']}/cancel"),
        ("GET", "/v1/models/test/waiter"),
    ]:
        problem(stranger.request(method, path), 404)
    assert stranger.get("/v1/predictions").json()["results"] == []
    assert stranger.get("/v1/models").json()["results"] == []
