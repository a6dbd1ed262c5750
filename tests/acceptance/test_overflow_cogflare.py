"""Another Cogflare as the provider: two servers, and the only worker is the other one's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Trace
from tests.support.commands import Agent, Calls, Server, until


@pytest.fixture
def other(serve: Callable[..., Server], tmp_path: Path) -> Server:
    return serve(data=tmp_path / "other")


@pytest.fixture
def server(serve: Callable[..., Server], other: Server) -> Server:
    return serve("--replicate-url", other.url, "--overflow-settle-s", "0", "--overflow-poll-s", "0.2")


@pytest.fixture
def calls(server: Server, other: Server) -> Calls:
    return server.calls_with_key(other.token())


def test_its_models_are_shown_and_run(
    calls: Calls, server: Server, other: Server, work: Callable[..., Agent], trace: Trace
) -> None:
    work(other).ready()
    shown, theirs = (one.http.get("/v1/models/test/waiter").json() for one in (calls, other.calls()))
    assert shown["latest_version"] == theirs["latest_version"]
    made = calls.create("test/waiter", trace.input("a"))
    until(lambda: trace.runs("a"), "it runs there")
    assert calls.reaches(made["id"], "processing")["version"] == theirs["latest_version"]["id"]
    assert server.command is not None
    server.command.line("no webhooks from replicate")  # it sends none to this machine's addresses
    trace.go("a")
    done = calls.ended(made["id"])
    assert (done["output"], done["metrics"]["runner"]) == ("done a", "replicate")
    assert "running a" in done["logs"]


def test_a_cancel_gets_there(calls: Calls, other: Server, work: Callable[..., Agent], trace: Trace) -> None:
    work(other).ready()
    id = calls.create("test/waiter", trace.input("a"))["id"]
    until(lambda: trace.runs("a"), "it runs there")
    assert calls.http.post(f"/v1/predictions/{id}/cancel").status_code == 200
    assert calls.ended(id)["status"] == "canceled"
    theirs = other.calls()
    (found,) = theirs.http.get("/v1/predictions").json()["results"]
    assert theirs.ended(found["id"])["status"] == "canceled"
