"""A creation sent again until it is answered is one prediction, at whatever instant the server dies."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.conftest import Trace
from tests.support.commands import Agent, Calls, Server, until


def again_until_answered(calls: Calls, method: str, path: str, name: str, trace: Trace) -> str:
    """The id of the prediction; every request after the first is a repeat of it."""
    body = {"model": "test/waiter", "input": trace.input(name, wait=False)}
    while True:
        try:
            answer = calls.http.request(method, path, json=body, headers={"idempotency-key": name})
        except httpx.TransportError:
            continue
        if answer.status_code != 503:
            assert answer.status_code in (200, 201, 202), answer.text
            return str(answer.json()["id"])


def test_kill_9_again_and_again_repeats_nothing(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    server = serve()
    work(server).ready()
    calls = server.calls()
    accepted: dict[str, str] = {}
    stop = threading.Event()

    def create(number: int) -> None:
        for count in itertools.count():
            name = f"{number}-{count}"
            if number % 2:
                made = again_until_answered(calls, "POST", "/v1/predictions", name, trace)
            else:
                made = again_until_answered(calls, "PUT", f"/v1/predictions/{name}", name, trace)
            accepted[name] = made
            if stop.is_set():
                return

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(create, number) for number in range(4)]
        for _ in range(3):
            enough = len(accepted) + 20
            until(lambda enough=enough: len(accepted) >= enough, "more are accepted")
            server.kill()
            server.start()
        stop.set()
        for client in clients:
            client.result(30)
    for name, id in accepted.items():
        assert calls.ended(id)["output"] == f"done {name}"
        method, path = ("PUT", f"/v1/predictions/{name}") if id == name else ("POST", "/v1/predictions")
        assert again_until_answered(calls, method, path, name, trace) == id
    assert {name: len(trace.runs(name)) for name in accepted} == dict.fromkeys(accepted, 1)
