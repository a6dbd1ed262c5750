"""Promise 1: 201 means fsynced; after it comes exactly one terminal state, whatever is killed."""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.conftest import Trace
from tests.support.commands import Agent, Server, until

ROUNDS = int(os.environ.get("COGFLARE_FAULT_ROUNDS", "5"))
"""Kills under load; `make soak` has 200."""


def test_kill_9_of_the_server_with_queued_and_running_predictions_loses_and_repeats_nothing(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    server = serve()
    work(server).ready()
    calls = server.calls()
    names = [f"p{n}" for n in range(5)]
    ids = {name: calls.create("test/waiter", trace.input(name))["id"] for name in names}
    until(lambda: trace.runs("p0"), "the first one runs")

    server.kill()
    trace.go("p0")  # the agent finishes while nobody listens, and keeps the result
    server.start()
    assert calls.ended(ids["p0"])["output"] == "done p0"

    until(lambda: trace.runs("p1"), "the second one runs")
    server.kill()
    server.start()
    for name in names:
        trace.go(name)
    for name in names:
        assert calls.ended(ids[name])["output"] == f"done {name}"
    assert [len(trace.runs(name)) for name in names] == [1] * len(names)
    listed = calls.http.get("/v1/predictions").json()["results"]
    assert sorted(one["id"] for one in listed) == sorted(ids.values())


def test_sigterm_drains_and_a_restart_loses_nothing(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """Promise 7: a restart of the server fails no prediction and drops no busy worker's result."""
    server = serve()
    work(server).ready()
    calls = server.calls()
    running = calls.create("test/waiter", trace.input("running"))["id"]
    queued = calls.create("test/waiter", trace.input("queued", wait=False))["id"]
    until(lambda: trace.runs("running"), "it runs")
    assert server.stop() == 0
    trace.go("running")
    server.start()
    assert calls.ended(running)["status"] == "succeeded"
    assert calls.ended(queued)["status"] == "succeeded"
    assert len(trace.runs("running")) == 1


def test_kill_9_under_load_again_and_again(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """Promise 1, at whatever instant the server dies: what was answered 201 is run once and answered."""
    server = serve()
    work(server).ready()
    calls = server.calls()
    accepted: dict[str, str] = {}
    stop = threading.Event()

    def create(number: int) -> None:
        for count in itertools.count():
            name = f"{number}-{count}"
            try:
                accepted[name] = calls.create("test/waiter", trace.input(name, wait=False))["id"]
            except httpx.TransportError:
                if stop.is_set():
                    return  # it may have been accepted: nobody was told
            if stop.is_set():
                return

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(create, number) for number in range(4)]
        for _ in range(ROUNDS):
            enough = len(accepted) + 25
            until(lambda enough=enough: len(accepted) >= enough, "more are accepted")
            server.kill()
            server.start()
        stop.set()
        for client in clients:
            client.result(30)
    for name, id in accepted.items():
        assert calls.ended(id)["output"] == f"done {name}"
    assert {name: len(trace.runs(name)) for name in accepted} == dict.fromkeys(accepted, 1)
    # Each counts once for its account, whether its coordinator was killed before the index told it or after.
    rows = all_listed(calls.http)
    until(lambda: totals(calls.http) == (len(rows), len(rows)), "all are counted, and none twice")


def all_listed(http: httpx.Client) -> list[str]:
    ids: list[str] = []
    following: str | None = "/v1/predictions"
    while following:
        page = http.get(following).json()
        ids += [each["id"] for each in page["results"]]
        following = page["next"]
    return ids


def totals(http: httpx.Client) -> tuple[int, int]:
    """Created, and succeeded."""
    total = http.get("/v1/usage").json()["total"]
    return total["created"], total["succeeded"]
