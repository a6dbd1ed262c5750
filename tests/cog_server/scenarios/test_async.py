"""Predictions that nobody holds a request open for: asynchronous ones, repeated ones, canceled ones."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.cog_server.targets import Target
from tests.support.commands import until
from tests.support.receiver import Receiver

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def waiter(shared: Callable[[str], Target]) -> Target:
    return shared("waiter")


def terminal(hooks: Receiver) -> dict[str, Any]:
    received = hooks.wait_for(lambda all: bool(all), "a webhook")
    return received[-1].json


def last_only(hooks: Receiver, path: str = "/") -> dict[str, Any]:
    return {"webhook": hooks.url + path, "webhook_events_filter": ["completed"]}


def test_respond_async(waiter: Target, signals: Any, hooks: Receiver) -> None:
    answer = waiter.predict(signals.input("a"), headers=ASYNC, id="one", **last_only(hooks))
    assert answer.status_code == 202
    assert answer.json()["id"] == "one"
    assert answer.json()["status"] in ("starting", "processing")
    signals.make("a.go")
    found = terminal(hooks)
    assert (found["id"], found["status"], found["output"]) == ("one", "succeeded", "a")


def test_invalid_input_is_refused_at_once(waiter: Target) -> None:
    assert waiter.predict({"name": "a"}, headers=ASYNC).status_code == 422


def test_put_runs_under_the_id_of_the_path(waiter: Target, signals: Any) -> None:
    signals.make("a.go")
    answer = waiter.http.put("/predictions/some-id", json={"input": signals.input("a")})
    assert answer.status_code == 200
    assert answer.json()["id"] == "some-id"
    assert answer.json()["output"] == "a"


def test_put_with_another_id_in_the_body(waiter: Target, signals: Any) -> None:
    answer = waiter.http.put("/predictions/some-id", json={"id": "other", "input": signals.input("a")})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "id"]


def test_put_again_while_it_runs(waiter: Target, signals: Any, hooks: Receiver) -> None:
    body = {"input": signals.input("a"), **last_only(hooks)}
    assert waiter.http.put("/predictions/p", json=body, headers=ASYNC).status_code == 202
    for headers in (ASYNC, {}):
        again = waiter.http.put("/predictions/p", json=body, headers=headers)
        assert again.status_code == 202
        assert again.json()["id"] == "p"
    other = waiter.http.put("/predictions/q", json=body, headers=ASYNC)
    assert other.status_code == 409
    signals.make("a.go")
    assert terminal(hooks)["status"] == "succeeded"


def test_cancel(waiter: Target, signals: Any, hooks: Receiver) -> None:
    waiter.predict(signals.input("a"), headers=ASYNC, id="one", **last_only(hooks))
    until(lambda: signals.there("a.begun"), "it begins")
    for _ in range(2):
        answer = waiter.http.post("/predictions/one/cancel")
        assert answer.status_code in (200, 404)
    found = terminal(hooks)
    assert found["status"] == "canceled"
    assert "a begins\n" in found["logs"]
    assert signals.there("a.left"), "the model was not told"
    waiter.reaches("READY")


def test_cancel_ends_a_request_that_waits(waiter: Target, signals: Any) -> None:
    answers: list[httpx.Response] = []
    thread = Thread(target=lambda: answers.append(waiter.predict(signals.input("a"), id="one")))
    thread.start()
    until(lambda: signals.there("a.begun"), "it begins")
    assert httpx.post(f"{waiter.url}/predictions/one/cancel").status_code == 200
    thread.join()
    assert answers[0].status_code == 200
    assert answers[0].json()["status"] == "canceled"


def test_cancel_of_what_is_not_there(waiter: Target) -> None:
    assert waiter.http.post("/predictions/nothing/cancel").status_code == 404


def test_a_client_that_goes_away_takes_its_prediction_with_it(waiter: Target, signals: Any) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{waiter.url}/predictions", json={"input": signals.input("a")}, timeout=0.5)
    until(lambda: signals.there("a.left"), "the model is told")
    waiter.reaches("READY")


def test_a_client_that_goes_away_leaves_an_asynchronous_one_alone(
    waiter: Target, signals: Any, hooks: Receiver
) -> None:
    with httpx.Client() as client:
        body = {"input": signals.input("a"), **last_only(hooks)}
        assert client.post(f"{waiter.url}/predictions", json=body, headers=ASYNC).status_code == 202
    signals.make("a.go")
    assert terminal(hooks)["status"] == "succeeded"


def test_concurrent_predictions(start: Callable[..., Target], signals: Any, hooks: Receiver) -> None:
    target = start("async_waiter").ready()
    for name in ("a", "b"):
        answer = target.predict(signals.input(name), headers=ASYNC, id=name, **last_only(hooks))
        assert answer.status_code == 202
    until(lambda: signals.there("a.begun") and signals.there("b.begun"), "both run")
    assert target.predict(signals.input("c"), headers=ASYNC).status_code == 409
    assert target.health()["status"] == "BUSY"
    signals.make("b.go")
    received = hooks.wait_for(lambda all: len(all) == 1, "the end of b")
    assert received[0].json["output"] == "b"
    target.reaches("READY")
    target.http.post("/predictions/a/cancel")
    received = hooks.wait_for(lambda all: len(all) == 2, "the end of a")
    assert received[1].json["status"] == "canceled"
