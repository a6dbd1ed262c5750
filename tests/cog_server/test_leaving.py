"""How the server ends: after what it has accepted, or at once when there is nothing worth waiting for."""

import json
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.cog_server.scenarios.test_webhooks import hooked, until_terminal
from tests.cog_server.targets import Target
from tests.support.commands import until
from tests.support.receiver import Receiver, Reply

Start = Callable[..., Target]
ASYNC = {"Prefer": "respond-async"}


def descendants(pid: int) -> set[int]:
    """Every process below this one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in {pid, *found}} - found:
        found |= more
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that are there and are more than an entry that nobody has read yet."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
    return found


def test_sigterm_drains_while_health_answers(start: Start, hooks: Receiver, signals: Any) -> None:
    target = start("waiter", "--queue-size", "1").ready()
    answers: list[httpx.Response] = []
    body = {"input": signals.input("a")}
    thread = Thread(
        target=lambda: answers.append(httpx.post(f"{target.url}/predictions", json=body, timeout=30))
    )
    thread.start()
    until(lambda: signals.there("a.begun"), "a runs")
    assert target.predict(signals.input("b"), headers=ASYNC, **hooked(hooks)).status_code == 202
    target.process.send_signal(signal.SIGTERM)
    target.command.line("leaving: SIGTERM")
    refused = target.predict(signals.input("c"))
    assert refused.status_code == 503
    assert "shutting down" in refused.json()["detail"]
    assert target.health()["status"] == "BUSY"
    signals.make("a.go")
    signals.make("b.go")
    thread.join()
    assert answers[0].json()["output"] == "a"
    assert until_terminal(hooks)[-1]["output"] == "b"
    assert target.process.wait(20) == 0


def test_the_last_webhook_is_waited_for(start: Start, hooks: Receiver) -> None:
    hooks.answer = lambda request: Reply(500 if len(hooks.received) < 2 else 200)
    target = start("stream").ready()
    target.predict({"count": 1}, headers=ASYNC, **hooked(hooks, "completed"))
    target.process.terminate()
    assert target.process.wait(20) == 0
    assert [each.json["status"] for each in hooks.received] == ["succeeded"] * 3


def test_a_second_signal_cancels_what_runs(start: Start, hooks: Receiver, signals: Any) -> None:
    target = start("waiter", "--queue-size", "1").ready()
    for name in ("a", "b"):
        target.predict(signals.input(name), headers=ASYNC, id=name, **hooked(hooks, "completed"))
    until(lambda: signals.there("a.begun"), "a runs")
    target.process.terminate()
    target.command.line("leaving: SIGTERM")
    target.process.terminate()
    assert target.process.wait(20) == 0
    assert {each.json["id"]: each.json["status"] for each in hooks.received} == {
        "a": "canceled",
        "b": "canceled",
    }


def test_the_drain_has_an_end(start: Start, hooks: Receiver, signals: Any) -> None:
    target = start("waiter", "--drain-s", "0.2").ready()
    target.predict(signals.input("a"), headers=ASYNC, **hooked(hooks, "completed"))
    until(lambda: signals.there("a.begun"), "a runs")
    target.process.terminate()
    assert target.process.wait(20) == 0
    assert [each.json["status"] for each in hooks.received] == ["canceled"]


def test_sigterm_in_setup_ends_at_once(start: Start, tmp_path: Path) -> None:
    target = start("slow_setup", environment={"SETUP_GO": str(tmp_path / "never")})
    target.reaches("STARTING")
    until(lambda: target.health()["setup"]["logs"], "setup runs")
    processes = descendants(target.process.pid)
    assert processes
    target.process.terminate()
    assert target.process.wait(10) == 0
    until(lambda: not alive(processes), "the model's process is gone")


def test_nothing_of_it_stays(start: Start) -> None:
    target = start("echo").ready()
    processes = descendants(target.process.pid)
    target.process.terminate()
    assert target.process.wait(10) == 0
    assert not alive(processes)


def test_shutdown(start: Start) -> None:
    target = start("echo").ready()
    answer = target.http.post("/shutdown")
    assert (answer.status_code, answer.json()) == (200, {})
    assert target.process.wait(10) == 0


def test_shutdown_waits_for_what_runs(start: Start, hooks: Receiver, signals: Any) -> None:
    target = start("waiter").ready()
    target.predict(signals.input("a"), headers=ASYNC, **hooked(hooks, "completed"))
    target.http.post("/shutdown")
    target.command.line("leaving: POST /shutdown")
    signals.make("a.go")
    assert target.process.wait(20) == 0
    assert hooks.received[0].json["output"] == "a"


@pytest.mark.parametrize("setting", ["option", "variable"])
def test_await_explicit_shutdown(start: Start, setting: str) -> None:
    if setting == "option":
        target = start("echo", "--await-explicit-shutdown").ready()
    else:
        target = start("echo", environment={"COGFLARE_AWAIT_EXPLICIT_SHUTDOWN": "true"}).ready()
    target.process.terminate()
    target.command.line("SIGTERM is ignored")
    assert target.succeeded({})["output"] == "hello"
    target.http.post("/shutdown")
    assert target.process.wait(10) == 0


def test_a_failed_setup_is_told_by_the_exit_code(start: Start) -> None:
    target = start("broken")
    found = target.reaches("SETUP_FAILED")
    assert "no weights" in found["setup"]["logs"]
    detail = target.predict({}).json()["detail"]
    assert detail == "Setup has failed: RuntimeError: no weights"
    assert target.http.get("/openapi.json").status_code == 503
    target.process.terminate()
    assert target.process.wait(10) == 1


def test_an_idle_connection_does_not_delay_the_end(start: Start) -> None:
    target = start("echo").ready()
    target.succeeded({})  # leaves its connection open
    began = time.monotonic()
    target.process.terminate()
    assert target.process.wait(10) == 0
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("end", ["the drain's", "a second signal"])
def test_a_client_that_does_not_read_does_not_keep_it(start: Start, end: str) -> None:
    target = start("echo", *(["--drain-s", "0.5"] if end == "the drain's" else [])).ready()
    body = json.dumps({"id": "large", "input": {"text": "x" * 2_000_000, "number": 10}}).encode()
    head = f"POST /predictions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", target.port)) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: target.http.get("/predictions/large").json().get("completed_at"), "it has ended")
        target.process.terminate()
        target.command.line("leaving: SIGTERM")
        if end == "a second signal":
            target.process.terminate()
        assert target.process.wait(20) == 0
    assert not [line for line in target.command.lines if "Traceback" in line]
