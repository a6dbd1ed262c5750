"""A client whose connection is cut before its answer sends the creation again: it is the same prediction."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from tests.conftest import Trace
from tests.support.commands import REPOSITORY, Agent, Server, until
from tests.support.proxy import Proxy

BETA = REPOSITORY / "build" / "replicate-beta"
"""Replicate's client 2.0.0b4, which marks what it repeats."""
RUN = """
import json, sys
import replicate
name, folder = sys.argv[1:]
made = replicate.models.predictions.create(
    model_owner="test", model_name="waiter",
    input={"name": name, "folder": folder, "wait": True}, prefer="wait",
)
print(made.id, made.output)
"""


@pytest.fixture
def server(serve: Callable[..., Server], work: Callable[..., Agent]) -> Server:
    server = serve()
    work(server, options=("--slots", "2")).ready()
    return server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def cut(proxy: Proxy) -> None:
    proxy.cut()
    proxy.mend()


def test_the_official_client_repeats_by_itself_and_nothing_runs_twice(
    server: Server, proxy: Proxy, trace: Trace
) -> None:
    env = {
        **os.environ,
        "PYTHONPATH": str(BETA),
        "REPLICATE_BASE_URL": f"{proxy.url}/v1",
        "REPLICATE_API_TOKEN": server.token(),
    }
    client = subprocess.Popen(
        [sys.executable, "-c", RUN, "p", str(trace.folder)], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        for _ in range(2):  # it tries three times
            until(lambda: trace.runs("p"), "it runs")
            until(lambda: proxy.connected, "the client is connected")
            cut(proxy)
        until(lambda: proxy.connected, "the client is back")
        trace.go("p")
        told, _ = client.communicate(timeout=30)
    finally:
        client.kill()
        client.wait()
    (made,) = server.client().get("/v1/predictions").json()["results"]
    assert told.split(maxsplit=1) == [made["id"], "done p\n"]
    assert len(trace.runs("p")) == 1


def test_a_client_that_marks_nothing_is_known_by_its_dead_connection(
    server: Server, proxy: Proxy, trace: Trace
) -> None:
    body = {"model": "test/waiter", "input": trace.input("p")}
    headers = {"authorization": f"Bearer {server.token()}", "prefer": "wait"}
    answers: list[httpx.Response] = []

    def insist() -> None:
        while not answers:
            with suppress(httpx.TransportError):
                answers.append(
                    httpx.post(f"{proxy.url}/v1/predictions", json=body, headers=headers, timeout=60)
                )

    client = threading.Thread(target=insist)
    client.start()
    for _ in range(3):
        until(lambda: trace.runs("p"), "it runs")
        until(lambda: proxy.connected, "the client is connected")
        cut(proxy)
    trace.go("p")
    client.join(30)
    assert answers[0].json()["output"] == "done p"
    assert answers[0].headers["idempotent-replayed"] == "true"
    assert len(server.client().get("/v1/predictions").json()["results"]) == 1
    assert len(trace.runs("p")) == 1


def test_who_waits_on_a_living_connection_is_somebody_else(server: Server, trace: Trace) -> None:
    body = {"model": "test/waiter", "input": trace.input("p")}
    headers = {"prefer": "wait"}
    answers: list[httpx.Response] = []
    client = server.client()

    def ask() -> None:
        answers.append(client.post("/v1/predictions", json=body, headers=headers))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: len(trace.runs("p")) == 2, "both run")
    trace.go("p")
    for thread in threads:
        thread.join(30)
    assert len({answer.json()["id"] for answer in answers}) == 2
