"""What cannot be done, and how it is said."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.cog_server.targets import Target

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def required(shared: Callable[[str], Target]) -> Target:
    return shared("required")


def problems(answer: httpx.Response) -> list[tuple[list[Any], str]]:
    assert answer.status_code == 422, answer.text
    return [(each["loc"], each["msg"]) for each in answer.json()["detail"]]


def test_a_missing_input(required: Target) -> None:
    found = problems(required.predict({}))
    assert [loc for loc, _ in found] == [["body", "input", "text"]]
    assert "required" in found[0][1].lower()


def test_an_input_of_the_wrong_type(required: Target) -> None:
    assert [loc for loc, _ in problems(required.predict({"text": {"a": 1}}))] == [["body", "input", "text"]]


def test_an_input_that_is_no_choice(required: Target) -> None:
    assert [loc for loc, _ in problems(required.predict({"text": "a", "size": 3}))] == [
        ["body", "input", "size"]
    ]


@pytest.mark.parametrize("number", [-1, 11])
def test_an_input_out_of_bounds(shared: Callable[[str], Target], number: int) -> None:
    found = problems(shared("echo").predict({"number": number}))
    assert [loc for loc, _ in found] == [["body", "input", "number"]]


def test_every_wrong_input_is_named(required: Target) -> None:
    assert len(problems(required.predict({"size": 3}))) == 2


def test_an_input_that_is_no_object(required: Target) -> None:
    answer = required.http.post("/predictions", json={"input": [1]})
    assert [loc for loc, _ in problems(answer)] == [["body", "input"]]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", 5),
        ("webhook", "not a url"),
        ("webhook_events_filter", ["begun"]),
        ("created_at", "yesterday"),
        ("context", {"a": 1}),
        ("output_file_prefix", "ftp://example.com/"),
    ],
)
def test_a_wrong_envelope(required: Target, key: str, value: Any) -> None:
    found = problems(required.http.post("/predictions", json={"input": {"text": "a"}, key: value}))
    assert found[0][0][:2] == ["body", key]


@pytest.mark.parametrize("body", [b"{", b"not json", b'{"input": {"text": NaN}}', b"\xff\xfe"])
def test_a_body_that_is_no_json(required: Target, body: bytes) -> None:
    answer = required.http.post("/predictions", content=body, headers=JSON)
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


def test_a_body_of_another_type(required: Target) -> None:
    answer = required.http.post("/predictions", content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code in (415, 422)
    assert answer.json()["detail"]


def test_a_body_without_a_type(required: Target) -> None:
    answer = required.http.post("/predictions", content=b'{"input": {"text": "a"}}')
    assert "content-type" not in answer.request.headers
    assert answer.status_code == 200
    assert answer.json()["output"] == "a"


def test_unknown_paths_and_methods(required: Target) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/predictions/a/b/c", 404),
        ("GET", "/predictions", 405),
        ("DELETE", "/health-check", 405),
    ):
        answer = required.http.request(method, path)
        assert answer.status_code == status
        assert answer.json()["detail"]


def test_the_refusal_of_a_secret_does_not_repeat_it(shared: Callable[[str], Target]) -> None:
    answer = shared("secret").predict({"key": ["very-secret-key"]})
    assert answer.status_code == 422
    assert "very-secret-key" not in answer.text


def test_busy(start: Callable[..., Target], signals: Any) -> None:
    from threading import Thread

    from tests.support.commands import until

    target = start("waiter").ready()
    first: list[httpx.Response] = []
    thread = Thread(target=lambda: first.append(target.predict(signals.input("a"))))
    thread.start()
    until(lambda: signals.there("a.begun"), "a begins")
    answer = httpx.post(f"{target.url}/predictions", json={"input": signals.input("b")}, timeout=10)
    assert answer.status_code == 409
    assert answer.json()["detail"]
    assert target.health()["status"] == "BUSY"
    signals.make("a.go")
    thread.join()
    assert first[0].json()["output"] == "a"
    assert not signals.there("b.begun")
    signals.make("b.go")
    assert target.succeeded(signals.input("b"))["output"] == "b"
