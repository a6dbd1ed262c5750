"""Overflow to Replicate as operators and clients see it: real commands, and a loopback Replicate."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Trace
from tests.support import replicate as loopback
from tests.support.commands import Agent, Calls, Server, run, until
from tests.support.replicate import KEY, VERSION, Refusal, Replicate, Silence

MODEL = "test/waiter"
QUICK = ("--overflow-settle-s", "0", "--overflow-poll-s", "0.5", "--overflow-answer-s", "1")


@pytest.fixture
def there() -> Iterator[Replicate]:
    with loopback.replicate() as found:
        found.models = {MODEL: VERSION}
        yield found


@pytest.fixture
def start(serve: Callable[..., Server], work: Callable[..., Agent], there: Replicate) -> Callable[..., Any]:
    """A server with options, its worker, and a client whose token has a key."""

    def start(*options: str) -> tuple[Server, Agent, Calls]:
        server = serve("--replicate-url", there.url, *QUICK, *options)
        return server, work(server).ready(), server.calls_with_key(KEY)

    return start


def reason(calls: Calls, id: str) -> str | None:
    found: str | None = calls.http.get(f"/v1/predictions/{id}/why").json()["reason"]
    return found


def model_set(server: Server, *options: str) -> None:
    made = run("model", "set", MODEL, "--data", str(server.data), *options)
    assert made.returncode == 0, made.stdout + made.stderr


def test_saturated_as_in_2022(start: Callable[..., Any], there: Replicate, trace: Trace) -> None:
    """One worker: one runs, two wait, the others of eight go to Replicate."""
    _, _, calls = start()
    ids = [calls.create(MODEL, trace.input(f"p{n}"))["id"] for n in range(8)]
    until(lambda: len(there.begun) == 5, "five go there")
    until(lambda: trace.runs("p0"), "the first one runs here")
    for n in range(8):
        trace.go(f"p{n}")
    for record in there.begun:
        there.becomes(record["id"], "succeeded", f"there {record['input']['name']}")
    outputs = [calls.ended(id)["output"] for id in ids]
    assert sum(output.startswith("there") for output in outputs) == 5
    assert sum(output.startswith("done") for output in outputs) == 3


@pytest.mark.parametrize(
    "trouble",
    [
        Refusal(402, "Insufficient credit"),
        Refusal(429, "Request was throttled.", {"Retry-After": "600"}),
        Refusal(500, "Something went wrong"),
        Silence(),
    ],
    ids=["402", "429", "500", "hang"],
)
def test_what_replicate_does_not_take_waits_for_a_worker(
    start: Callable[..., Any], there: Replicate, trace: Trace, trouble: Refusal | Silence
) -> None:
    server, agent, calls = start()
    agent.kill()
    there.script = [trouble]
    there.down = 500  # whether it has begun cannot be asked either
    id = calls.create(MODEL, trace.input("a", wait=False))["id"]
    until(lambda: reason(calls, id) == "overflow_paused", "it is said why it waits", 40)
    shown = json.loads(run("worker", "list", "--json", "--data", str(server.data)).stdout)
    assert any(worker["state"] == "paused" and worker["reason"] for worker in shown), shown
    agent.start_again()
    if isinstance(trouble, Silence):
        trouble.over.set()
    assert calls.ended(id)["output"] == "done a"
    assert there.creations == 1


def test_the_breaker_opens_and_closes(start: Callable[..., Any], there: Replicate, trace: Trace) -> None:
    _, agent, calls = start()
    agent.kill()
    there.script = [Refusal(429, "Request was throttled.", {"Retry-After": "2"})]
    ids = [calls.create(MODEL, trace.input("p0"))["id"]]
    until(lambda: reason(calls, ids[0]) == "overflow_paused", "it is open")
    ids += [calls.create(MODEL, trace.input(f"p{n}"))["id"] for n in (1, 2)]
    assert there.creations == 1
    until(lambda: len(there.begun) == 3, "it is closed again")
    assert there.creations == 4
    for record in there.begun:
        there.becomes(record["id"], "succeeded", "there")
    assert [calls.ended(id)["output"] for id in ids] == ["there"] * 3


def test_a_daily_cap(start: Callable[..., Any], there: Replicate, trace: Trace) -> None:
    server, agent, calls = start("--overflow-per-day", "1")
    agent.kill()
    first = calls.create(MODEL, trace.input("first"))["id"]
    there.becomes(there.one()["id"], "succeeded", "there")
    assert calls.ended(first)["output"] == "there"
    second = calls.create(MODEL, trace.input("second", wait=False))["id"]
    until(lambda: reason(calls, second) == "overflow_cap", "it is over")
    server.stop()
    server.start()  # which does not make it forget
    agent.start_again()
    assert calls.ended(second)["output"] == "done second"
    assert there.creations == 1


def test_policies_of_a_model(start: Callable[..., Any], there: Replicate, trace: Trace) -> None:
    server, _, calls = start()
    there.models["acme/big"] = "d" * 64
    model_set(server, "--overflow", "always", "--replicate-model", "acme/big")
    id = calls.create(MODEL, trace.input("a"))["id"]
    record = there.one()
    assert record["model"] == "acme/big"
    there.becomes(record["id"], "succeeded", "there")
    assert calls.ended(id)["output"] == "there"

    model_set(server, "--overflow", "never")
    until(lambda: _goes_here(calls, trace), "what is set holds")
    assert there.creations == 1 or trace.runs("here")


def _goes_here(calls: Calls, trace: Trace) -> bool:
    found = calls.create(MODEL, trace.input("here", wait=False))
    return bool(calls.ended(found["id"])["output"] == "done here")


def test_wait_over(start: Callable[..., Any], there: Replicate, trace: Trace) -> None:
    server, _, calls = start()
    model_set(server, "--overflow", "wait_over:1s")
    calls.create(MODEL, trace.input("busy"))
    until(lambda: trace.runs("busy"), "the worker is busy")
    id = calls.create(MODEL, trace.input("late"))["id"]
    assert there.one()["input"]["name"] == "late"
    there.becomes(there.one()["id"], "succeeded", "there")
    assert calls.ended(id)["output"] == "there"
    trace.go("busy")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--overflow", "sometimes"), "'sometimes' is none of never, no_workers, saturated, always"),
        (("--overflow", "wait_over:soon"), "soon"),
        (("--replicate-model", "nothing"), "neither OWNER/NAME nor OWNER/NAME:VERSION"),
        (("--replicate-price", "-1"), "--replicate-price"),
    ],
)
def test_what_is_mistyped(serve: Callable[..., Server], options: tuple[str, str], said: str) -> None:
    server = serve()
    made = run("model", "set", MODEL, "--data", str(server.data), *options)
    assert made.returncode == 2
    assert said in made.stderr
