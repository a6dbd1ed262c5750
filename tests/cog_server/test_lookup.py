"""What no original has: looking predictions up, waiting for a while, a queue, ids that are awkward."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.cog_server.targets import Target
from tests.support.commands import until

ASYNC = {"Prefer": "respond-async"}
Start = Callable[..., Target]


@pytest.fixture
def waiter(shared: Callable[[str], Target]) -> Target:
    return shared("waiter")


def test_get_while_it_runs_and_afterwards(waiter: Target, signals: Any) -> None:
    waiter.predict(signals.input("a"), headers=ASYNC, id="one")
    until(lambda: "a begins" in waiter.get("one")["logs"], "its log is live")
    running = waiter.get("one")
    assert running["status"] == "processing"
    assert running["started_at"]
    assert running["completed_at"] is None
    signals.make("a.go")
    ended = waiter.ended("one")
    assert (ended["status"], ended["output"]) == ("succeeded", "a")
    assert ended["started_at"] == running["started_at"]
    assert waiter.http.get("/predictions/two").status_code == 404


def test_only_so_many_are_kept(start: Start) -> None:
    target = start("echo", "--kept", "2").ready()
    for id in ("a", "b", "c"):
        target.succeeded({}, id=id)
    assert target.http.get("/predictions/a").status_code == 404
    assert target.get("b")["id"] == "b"


def test_only_so_long(start: Start) -> None:
    target = start("echo", "--kept-s", "0").ready()
    target.succeeded({}, id="a")
    assert target.http.get("/predictions/a").status_code == 404


def test_only_so_much(start: Start) -> None:
    target = start("echo", "--kept-bytes", "16KiB").ready()
    target.succeeded({"text": "x" * 5000}, id="a")
    assert target.get("a")["id"] == "a"
    target.succeeded({"text": "x" * 5000}, id="b")
    assert target.http.get("/predictions/a").status_code == 404
    assert target.get("b")["id"] == "b"


def test_wait_answers_when_its_time_is_up(waiter: Target, signals: Any) -> None:
    answer = waiter.predict(signals.input("a"), headers={"Prefer": "wait=0"}, id="one")
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=0"
    assert answer.json()["status"] == "processing"
    signals.make("a.go")
    assert waiter.ended("one")["status"] == "succeeded"


@pytest.mark.parametrize(
    "prefer", ["respond-async, wait=25", "wait=25", "handling=lenient, Respond-Async;x=1,wait=25"]
)
def test_wait_answers_when_it_has_ended_before(waiter: Target, signals: Any, prefer: str) -> None:
    signals.make("a.go")
    answer = waiter.predict(signals.input("a"), headers={"Prefer": prefer})
    assert answer.status_code == 200
    assert answer.json()["output"] == "a"


@pytest.mark.parametrize(
    "prefer", ["respond-async, handling=lenient", "RESPOND-ASYNC", "wait=x, respond-async"]
)
def test_preferences_are_read_one_by_one(waiter: Target, signals: Any, prefer: str) -> None:
    answer = waiter.predict(signals.input("a"), headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    signals.make("a.go")


def test_preferences_that_nobody_knows_change_nothing(waiter: Target, signals: Any) -> None:
    signals.make("a.go")
    answer = waiter.predict(signals.input("a"), headers={"Prefer": "return=minimal, not-respond-async"})
    assert answer.status_code == 200


def test_the_queue_runs_in_order(start: Start, signals: Any) -> None:
    target = start("waiter", "--queue-size", "2").ready()
    for name in ("a", "b", "c"):
        assert target.predict(signals.input(name), headers=ASYNC, id=name).status_code == 202
    refused = target.predict(signals.input("d"), headers=ASYNC)
    assert refused.status_code == 409
    assert "--queue-size" in refused.json()["detail"]
    assert [target.get(name).get("position") for name in ("a", "b", "c")] == [None, 1, 2]
    waiting = target.get("c")
    assert (waiting["status"], waiting["started_at"]) == ("starting", None)
    assert target.health()["concurrency"] == {"max": 1, "current": 1}
    signals.make("a.go")
    until(lambda: signals.there("b.begun"), "b runs")
    assert not signals.there("c.begun")
    assert target.get("c")["position"] == 1
    assert target.http.post("/predictions/c/cancel").status_code == 200
    assert target.get("c")["status"] == "canceled"
    signals.make("b.go")
    assert target.ended("b")["output"] == "b"
    assert not signals.there("c.begun")


def test_a_repeated_put_does_not_run_again(shared: Callable[[str], Target]) -> None:
    target = shared("echo")
    body = {"input": {"text": "a"}}
    first = target.http.put("/predictions/p", json=body).json()
    again = target.http.put("/predictions/p", json=body)
    assert again.status_code == 200
    assert again.json() == first
    other = target.http.put("/predictions/p", json={"input": {"text": "b"}})
    assert other.json()["output"] == "b"
    assert target.get("p")["output"] == "b"


def test_a_put_that_failed_runs_again(shared: Callable[[str], Target]) -> None:
    target = shared("echo")
    body = {"input": {"fail": True}}
    first = target.http.put("/predictions/p", json=body).json()
    again = target.http.put("/predictions/p", json=body).json()
    assert first["status"] == again["status"] == "failed"
    assert first["started_at"] != again["started_at"]


def test_a_post_under_an_id_that_runs(start: Start, signals: Any) -> None:
    target = start("async_waiter").ready()
    assert target.predict(signals.input("a"), headers=ASYNC, id="one").status_code == 202
    again = target.predict(signals.input("a"), headers=ASYNC, id="one")
    assert again.status_code == 409
    assert "id" in again.json()["detail"]


@pytest.mark.parametrize("id", ["../../etc", "a/b", "ä ö", "%2e", "a" * 256])
def test_awkward_ids(shared: Callable[[str], Target], id: str) -> None:
    target = shared("echo")
    path = f"/predictions/{quote(id, safe='')}"
    assert target.http.put(path, json={}).json()["id"] == id
    assert target.http.get(path).json()["id"] == id
    assert target.http.post(f"{path}/cancel").status_code == 404


def test_an_id_that_is_too_long(shared: Callable[[str], Target]) -> None:
    answer = shared("echo").predict({}, id="a" * 257)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "id"]


def test_a_body_that_is_too_large(start: Start) -> None:
    target = start("echo", "--body-bytes", "1KiB").ready()
    answer = target.predict({"text": "x" * 2000})
    assert answer.status_code == 413
    assert "--body-bytes" in answer.json()["detail"]

    def chunks() -> Any:
        yield b'{"input": {"text": "'
        yield b"x" * 2000

    answer = target.http.post("/predictions", content=chunks())
    assert answer.status_code == 413
    assert target.succeeded({})["output"] == "hello"


def test_a_slot_is_awaited_for_a_moment(start: Start, signals: Any) -> None:
    target = start("waiter", "--refuse-after-s", "20").ready()
    assert target.predict(signals.input("a"), headers=ASYNC, id="a").status_code == 202
    from threading import Thread

    answers: list[Any] = []
    thread = Thread(target=lambda: answers.append(target.predict(signals.input("b"), headers=ASYNC)))
    thread.start()
    signals.make("a.go")
    thread.join()
    assert answers[0].status_code == 202
    until(lambda: signals.there("b.begun"), "b runs")


def test_a_prediction_that_runs_too_long(start: Start, signals: Any) -> None:
    target = start("waiter", "--run-s", "0.3").ready()
    found = target.predict(signals.input("a")).json()
    assert found["status"] == "failed"
    assert "--run-s" in found["error"]
    assert "a begins\n" in found["logs"]
    signals.make("b.go")
    assert target.succeeded(signals.input("b"))["output"] == "b"


def test_an_input_that_only_the_model_itself_can_refuse(start: Start, tmp_path: Any) -> None:
    (tmp_path / "predict.py").write_text(
        "from typing import Dict\n"
        "from cog import BasePredictor\n"
        "class Predictor(BasePredictor):\n"
        "    def predict(self, sizes: Dict[str, int], other: str = '') -> int:\n"
        "        return sum(sizes.values())\n"
    )
    target = start(str(tmp_path)).ready()
    assert target.succeeded({"sizes": {"a": 1}})["output"] == 1
    answer = target.predict({"sizes": {"a": "x"}, "other": "y"})
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert [each["loc"] for each in detail] == [["body", "input", "sizes"]]
    assert "integer" in detail[0]["msg"]
