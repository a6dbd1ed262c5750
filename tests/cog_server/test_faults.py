"""Processes that are killed, and clients and readers that misbehave."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from tests.cog_server.scenarios.test_webhooks import hooked, until_terminal
from tests.cog_server.targets import MODELS, Target
from tests.cog_server.test_leaving import alive, descendants
from tests.support.commands import COGFLARE, until
from tests.support.receiver import Receiver

Start = Callable[..., Target]
ASYNC = {"Prefer": "respond-async"}


def test_a_killed_worker_fails_its_prediction_and_is_replaced(start: Start, hooks: Receiver) -> None:
    target = start("mortal").ready()
    first = target.succeeded({})["output"]
    answer = target.predict({"die": True}, **hooked(hooks, "completed"))
    assert answer.status_code == 200
    found = answer.json()
    assert found["status"] == "failed"
    assert "SIGKILL" in found["error"]
    assert found["logs"] == "last words\n"
    assert found["metrics"]["predict_time"] >= 0
    assert target.succeeded({})["output"] != first
    assert until_terminal(hooks) == [found]


def test_a_worker_that_is_killed_from_outside(start: Start) -> None:
    target = start("mortal").ready()
    pid = target.succeeded({})["output"]
    os.kill(pid, signal.SIGKILL)
    assert target.succeeded({})["output"] != pid
    target.reaches("READY")


def test_a_model_that_only_dies_is_defunct(start: Start, tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text(
        "import os, signal\n"
        "from cog import BasePredictor\n"
        "class Predictor(BasePredictor):\n"
        "    def setup(self):\n"
        "        if os.path.exists('sick'):\n"
        "            os._exit(3)\n"
        "    def predict(self) -> int:\n"
        "        return os.getpid()\n"
    )
    target = start(str(tmp_path)).ready()
    pid = target.succeeded({})["output"]
    (tmp_path / "sick").touch()
    os.kill(pid, signal.SIGKILL)
    target.reaches("DEFUNCT")
    answer = target.predict({})
    assert answer.status_code == 503
    assert "defunct" in answer.json()["detail"]


def test_a_killed_server_takes_its_model_with_it(start: Start, signals: Any) -> None:
    target = start("waiter").ready()
    target.predict(signals.input("a"), headers=ASYNC)
    until(lambda: signals.there("a.begun"), "a runs")
    processes = descendants(target.process.pid)
    assert processes
    target.process.kill()
    target.process.wait()
    until(lambda: not alive(processes), "the model's process is gone")


def test_clients_that_go_away_leave_the_slot_free(start: Start, signals: Any) -> None:
    target = start("waiter", "--queue-size", "8").ready()
    connections = []
    for number in range(4):
        body = httpx.Request("POST", f"{target.url}/predictions", json={"input": signals.input(f"n{number}")})
        connection = socket.create_connection(("127.0.0.1", target.port))
        head = "".join(f"{name}: {value}\r\n" for name, value in body.headers.items())
        connection.sendall(f"POST /predictions HTTP/1.1\r\n{head}\r\n".encode() + body.read())
        connections.append(connection)
    until(lambda: signals.there("n0.begun"), "the first runs")
    for connection in connections:
        connection.close()
    target.reaches("READY")
    signals.make("z.go")
    assert target.succeeded(signals.input("z"))["output"] == "z"


def test_a_client_that_stops_in_the_middle_of_its_request(start: Start) -> None:
    target = start("echo").ready()
    with socket.create_connection(("127.0.0.1", target.port)) as connection:
        connection.sendall(
            b"POST /predictions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b'{"id": "half"'
        )
    with socket.create_connection(("127.0.0.1", target.port)) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        assert b"400" in connection.recv(1000)
    assert target.succeeded({})["output"] == "hello"
    assert target.http.get("/predictions/half").status_code == 404
    assert not [line for line in target.command.lines if "Traceback" in line]


def test_load_while_it_leaves(start: Start) -> None:
    """Every request is answered with its output, refused, or finds nobody: none is cut off."""
    target = start("echo", "--queue-size", "100").ready()
    seen: list[int | str] = []

    def ask() -> None:
        with httpx.Client(timeout=30) as client:
            while True:
                try:
                    answer = client.post(f"{target.url}/predictions", json={"input": {"text": "x"}})
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    # An idle connection may be closed while the next request is on its way.
                    seen.append(type(error).__name__)
                    return
                seen.append(answer.status_code)
                if answer.status_code == 200:
                    assert answer.json()["output"] == "x"

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: seen.count(200) > 100, "it is under load")
    target.process.send_signal(signal.SIGTERM)
    assert target.process.wait(20) == 0
    for thread in threads:
        thread.join()
    assert set(seen) <= {200, 503, "ReadError", "RemoteProtocolError", "WriteError"}


def test_output_that_nobody_reads_stops_nothing() -> None:
    """The model prints far more than a pipe holds, and the pipe is not read."""
    import subprocess

    process = subprocess.Popen(
        [COGFLARE, "cog-server", str(MODELS / "echo"), "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        port = int(line.rpartition(":")[2])
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            until(lambda: http.get("/health-check").json()["status"] == "READY", "it is ready")
            for _ in range(20):
                answer = http.post("/predictions", json={"input": {"text": "y" * 50_000}})
                assert answer.json()["status"] == "succeeded"
            process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def test_memory_does_not_grow_with_what_has_ended(start: Start) -> None:
    """What is kept fills up, and then stays: nothing waits for the garbage collector."""
    target = start("echo", "--kept", "100").ready()

    def memory_kb() -> int:
        text = Path(f"/proc/{target.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:"))

    for _ in range(300):
        target.succeeded({})
    before = memory_kb()
    for _ in range(1200):
        target.succeeded({})
    assert memory_kb() - before < 1500
