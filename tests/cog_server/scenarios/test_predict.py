"""One prediction, from request to answer."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.cog_server.targets import Target

Shared = Callable[[str], Target]


@pytest.fixture
def echo(shared: Shared) -> Target:
    return shared("echo")


def test_output(echo: Target) -> None:
    answer = echo.predict({"text": "ab", "number": 2})
    assert answer.status_code == 200
    assert answer.json()["status"] == "succeeded"
    assert answer.json()["output"] == "abab"


def test_defaults(echo: Target) -> None:
    assert echo.succeeded({})["output"] == "hello"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"input": null}'])
def test_no_input_is_an_empty_input(echo: Target, body: bytes) -> None:
    answer = echo.http.post("/predictions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"] == "hello"


def test_a_falsy_output_stays_what_it_is(echo: Target) -> None:
    assert echo.succeeded({"empty": True})["output"] == ""


def test_an_id_of_the_clients_own(echo: Target) -> None:
    assert echo.succeeded({}, id="my-own-id")["id"] == "my-own-id"


def test_an_id_is_made(echo: Target) -> None:
    first, second = echo.succeeded({})["id"], echo.succeeded({})["id"]
    assert first
    assert first != second


def test_unknown_inputs_are_ignored(echo: Target) -> None:
    assert echo.succeeded({"text": "a", "colour": "red"})["output"] == "a"


def test_an_exception_of_the_model_is_a_failed_prediction(echo: Target) -> None:
    answer = echo.predict({"fail": True})
    assert answer.status_code == 200
    found = answer.json()
    assert found["status"] == "failed"
    assert found["error"] == "it failed"
    assert found.get("output") is None


def test_logs(echo: Target) -> None:
    logs = echo.succeeded({"text": "a"})["logs"]
    assert "saying a\n" in logs
    assert "to stderr\n" in logs


def test_logs_of_a_failure_hold_its_traceback(echo: Target) -> None:
    logs = echo.predict({"text": "a", "fail": True}).json()["logs"]
    assert "saying a\n" in logs
    assert "Traceback" in logs
    assert "ValueError: it failed" in logs


def test_metrics(echo: Target) -> None:
    assert 0 < echo.succeeded({})["metrics"]["predict_time"] < 10
    assert 0 < echo.predict({"fail": True}).json()["metrics"]["predict_time"] < 10


def test_times(echo: Target) -> None:
    found = echo.succeeded({})
    created, started, completed = (
        datetime.fromisoformat(found[key]) for key in ("created_at", "started_at", "completed_at")
    )
    assert created <= started <= completed


def test_a_creation_time_of_the_clients_own(echo: Target) -> None:
    found = echo.succeeded({}, created_at="2024-01-02T03:04:05.678+00:00")
    assert datetime.fromisoformat(found["created_at"]) == datetime.fromisoformat(
        "2024-01-02T03:04:05.678+00:00"
    )


def test_the_input_is_repeated(echo: Target) -> None:
    assert echo.succeeded({"text": "a"})["input"]["text"] == "a"


def test_every_key_of_the_answer(echo: Target) -> None:
    keys = {"id", "status", "input", "output", "error", "logs", "metrics"}
    keys |= {"created_at", "started_at", "completed_at", "version"}
    for fail in (False, True):
        assert keys <= echo.predict({"fail": fail}).json().keys()


def test_a_large_text(echo: Target) -> None:
    text = "x" * 1_000_000
    assert echo.succeeded({"text": text, "number": 2})["output"] == text * 2


def test_context_and_metrics_of_ones_own(shared: Shared) -> None:
    found = shared("context").succeeded({}, id="the-id", context={"token": "t"})
    assert found["output"] == {"id": "the-id", "token": "t"}
    assert found["metrics"]["tokens"] == 5


def test_secrets_are_masked_in_what_comes_back(shared: Shared) -> None:
    key = "very-secret-key"
    for fail in (False, True):
        found: dict[str, Any] = shared("secret").predict({"key": key, "fail": fail}).json()
        assert found["input"]["key"] == "**********"
        assert key not in str(found)


def test_one_client_after_the_other_is_never_refused(echo: Target) -> None:
    assert {echo.predict({}).status_code for _ in range(300)} == {200}
