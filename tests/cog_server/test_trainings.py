"""Trainings, in a process of their own."""

import base64
from collections.abc import Callable
from typing import Any

from tests.cog_server.targets import Target
from tests.support.commands import until
from tests.support.receiver import Receiver

Shared = Callable[[str], Target]


def train(target: Target, **input: Any) -> Any:
    return target.http.post("/trainings", json={"input": input})


def test_discovery_and_document(shared: Shared) -> None:
    target = shared("trained")
    found = target.http.get("/").json()
    assert found["trainings_url"] == "/trainings"
    assert found["trainings_idempotent_url"] == "/trainings/{training_id}"
    assert found["trainings_cancel_url"] == "/trainings/{training_id}/cancel"
    document = target.http.get("/openapi.json").json()
    assert "/trainings" in document["paths"]
    assert document["components"]["schemas"]["TrainingInput"]["properties"]["steps"]["minimum"] == 1


def test_a_training(shared: Shared) -> None:
    target = shared("trained")
    answer = train(target, steps=3)
    assert answer.status_code == 200
    found = answer.json()
    assert found["status"] == "succeeded", found
    weights = found["output"]["weights"]
    assert base64.b64decode(weights.partition(",")[2]) == b"www"
    assert "training 3 steps\n" in found["logs"]
    assert isinstance(target.succeeded({})["output"], int)


def test_wrong_inputs_and_failures(shared: Shared) -> None:
    target = shared("trained")
    answer = train(target, steps=0)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", "steps"]
    found = train(target, fail=True).json()
    assert (found["status"], found["error"]) == ("failed", "diverged")


def test_put_get_and_webhook(shared: Shared, hooks: Receiver) -> None:
    target = shared("trained")
    body = {"input": {"steps": 2}, "webhook": hooks.url, "webhook_events_filter": ["completed"]}
    answer = target.http.put("/trainings/t", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    received = hooks.wait_for(lambda all: bool(all), "the webhook")
    assert received[0].json["status"] == "succeeded"
    assert target.http.get("/trainings/t").json() == received[0].json
    assert target.http.get("/predictions/t").status_code == 404


def test_cancel_while_its_process_starts_or_later(shared: Shared) -> None:
    target = shared("trained")
    for number in range(3):
        id = f"c{number}"
        body = {"input": {"steps": 2}}
        assert (
            target.http.put(f"/trainings/{id}", json=body, headers={"Prefer": "respond-async"}).status_code
            == 202
        )
        assert target.http.post(f"/trainings/{id}/cancel").status_code == 200
        until(lambda id=id: target.http.get(f"/trainings/{id}").json()["completed_at"], "it has ended")
        assert target.http.get(f"/trainings/{id}").json()["status"] == "canceled"
    assert train(target, steps=1).json()["status"] == "succeeded"


def test_a_model_that_cannot_be_trained(shared: Shared) -> None:
    target = shared("echo")
    assert train(target).status_code == 404
    assert "trainings_url" not in target.http.get("/").json()
