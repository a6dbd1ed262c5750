"""Several users of one GPU box, and an operator who says what each may have."""

import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Trace
from tests.support.commands import Agent, Calls, Server, run, until

MODEL = "test/waiter"


@pytest.fixture
def server(serve: Callable[..., Server], work: Callable[..., Agent]) -> Server:
    server = serve()
    work(server).ready()
    return server


@pytest.fixture
def calls(server: Server) -> Calls:
    return server.calls()


def order(server: Server, *words: str) -> dict[str, Any]:
    done = run(*words, "--data", str(server.data), "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def submit(calls: Calls, input: dict[str, Any], cancel_after: str = "", **fields: str) -> dict[str, Any]:
    answer = calls.http.post(
        "/v1/predictions",
        json={"model": MODEL, "input": input, **fields},
        headers={"Cancel-After": cancel_after} if cancel_after else {},
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_user_with_one_starts_next_beside_a_user_with_many(calls: Calls, trace: Trace) -> None:
    first = submit(calls, trace.input("first"), end_user="many")
    calls.reaches(first["id"], "processing")
    many = [submit(calls, trace.input(f"many-{n}"), end_user="many") for n in range(30)]
    one = submit(calls, trace.input("one"), end_user="one")
    trace.go("first")
    calls.reaches(one["id"], "processing")
    assert all(calls.get(waits["id"])["status"] == "starting" for waits in many)
    assert calls.get(many[0]["id"])["queue"]["position"] <= 2
    for made in many:
        calls.http.post(f"/v1/predictions/{made['id']}/cancel")
    trace.go("one")
    assert calls.ended(one["id"])["output"] == "done one"


def test_a_token_runs_no_more_than_it_may(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    server = serve()
    work(server, options=("--slots", "2")).ready()
    made = order(server, "token", "create", "small", "--max-running", "1", "--share", "0.5")
    assert (made["max_running"], made["share"]) == (1, 0.5)
    calls = server.calls()
    calls.http.headers["authorization"] = f"Bearer {made['token']}"
    first, second = (calls.create(MODEL, trace.input(name)) for name in ("first", "second"))
    calls.reaches(first["id"], "processing")
    why = calls.http.get(f"/v1/predictions/{second['id']}/why").json()
    assert why["reason"] == "token_cap"
    assert "as many predictions at once as it may" in why["why"]
    trace.go("first")
    calls.reaches(second["id"], "processing")
    trace.go("second")
    calls.ended(second["id"])


def test_a_model_is_set_and_shown(server: Server, calls: Calls, trace: Trace) -> None:
    shown = order(server, "model", "set", MODEL, "--run-s", "1s", "--retries", "0", "--priority", "batch")
    assert shown["settings"] == {"run_s": 1.0, "retries": 0, "priority": "batch"}
    assert order(server, "model", "show", MODEL) == shown
    text = run("model", "show", MODEL, "--data", str(server.data)).stdout
    assert "run-s: 1s\nretries: 0\npriority: batch\n" in text
    listed = run("model", "list", "--data", str(server.data)).stdout
    assert MODEL in listed
    assert "run-s=1s retries=0 priority=batch" in listed
    wrong = run("model", "set", "test/unknown", "--run-s", "1s", "--data", str(server.data))
    assert (wrong.returncode, "there is no model test/unknown" in wrong.stderr) == (10, True), wrong.stderr
    nothing = run("model", "set", MODEL, "--data", str(server.data))
    assert "nothing to change" in nothing.stderr
    reset = order(server, "model", "set", MODEL, "--reset", "run-s,priority,retries")
    assert reset["settings"] == {}


def test_an_account_has_a_share(server: Server) -> None:
    assert order(server, "account", "set", "default", "--share", "2.5")["share"] == 2.5
    assert "2.5" in run("account", "list", "--data", str(server.data)).stdout
    wrong = run("account", "set", "default", "--share", "0", "--data", str(server.data))
    assert wrong.returncode == 2
    assert "is no share" in wrong.stderr
    forgotten = run("account", "set", "default", "--data", str(server.data))
    assert (forgotten.returncode, "nothing to change" in forgotten.stderr) == (2, True)
    assert "2.5" in run("account", "list", "--data", str(server.data)).stdout
    capped = order(server, "account", "set", "default", "--storage-at-most", "5GiB")
    assert (capped["share"], capped["storage_at_most_bytes"], capped["uploads_bytes"]) == (2.5, 5 << 30, 0)
    assert "5.0 GiB" in run("account", "list", "--data", str(server.data)).stdout
    free = order(server, "account", "set", "default", "--storage-at-most", "0")
    assert free["storage_at_most_bytes"] is None
    unknown = run("account", "set", "nobody", "--share", "2", "--data", str(server.data))
    assert "there is no account nobody" in unknown.stderr


def test_limits_of_waiting_and_of_it_all_say_which_was_over(calls: Calls, trace: Trace) -> None:
    runs = submit(calls, trace.input("runs"), cancel_after="6s")
    waits = submit(calls, trace.input("waits"), cancel_after="5s")
    calls.reaches(runs["id"], "processing")
    never, late = calls.ended(waits["id"]), calls.ended(runs["id"])
    assert (never["status"], never["error_code"]) == ("canceled", "deadline_before_start")
    assert "limit of 5 s for waiting and running together" in never["error"]
    assert trace.runs("waits") == []
    assert (late["status"], late["error_code"]) == ("canceled", "total_timeout")
    assert "limit of 6 s for waiting and running together" in late["error"]


@pytest.mark.parametrize("wish", ["", ", cancel-on-disconnect"])
def test_a_client_that_hangs_up_has_it_canceled_if_it_asked_for_that(
    server: Server, calls: Calls, trace: Trace, wish: str
) -> None:
    where = urlsplit(str(calls.http.base_url))
    body = json.dumps({"input": trace.input("cut")}).encode()
    with socket.create_connection((where.hostname or "", where.port or 0)) as connection:
        head = [
            f"POST /v1/models/{MODEL}/predictions HTTP/1.1",
            f"Host: {where.netloc}",
            f"Authorization: {calls.http.headers['authorization']}",
            f"Prefer: wait{wish}",
            f"Content-Length: {len(body)}",
        ]
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
        until(lambda: trace.runs("cut"), "it runs")
    (made,) = calls.http.get("/v1/predictions").json()["results"]
    if wish:
        assert calls.ended(made["id"])["status"] == "canceled"
    else:
        trace.go("cut")
        assert calls.ended(made["id"])["status"] == "succeeded"
