"""An operator's day on one server with one agent: is all well, what is it doing, what has this one said."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caddy import caddy, needs_caddy
from tests.support.commands import REPOSITORY, Agent, Server, run, until

PREDICT = """
import os, pathlib, time

def predict(folder: str) -> str:
    began = pathlib.Path(folder, "began")
    if not began.exists():
        began.touch()
        print("the first breaks", flush=True)
        while not pathlib.Path(folder, "break").exists():
            time.sleep(0.01)
        os.abort()
    print("the second works", flush=True)
    while not pathlib.Path(folder, "go").exists():
        time.sleep(0.01)
    print("done", flush=True)
    return "ok"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("operating")
    server = Server(folder / "data").start()
    model = folder / "fragile"
    model.mkdir()
    (model / "predict.py").write_text(PREDICT)
    (model / "cog.yaml").write_text("predict: predict.py:predict\n")
    agent = Agent(server, folder / "state", f"me/fragile={model}", options=("--name", "gpu-1"))
    try:
        agent.ready()
        yield server
    finally:
        agent.close()
        server.close()


def test_the_doctor_finds_a_running_server_well(server: Server) -> None:
    worker, here = server.token(worker=True), ("doctor", str(server.data), "--json")
    done = run(*here, "--token", worker)
    found = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0, done.stdout
    for name in (
        "schema",
        "one server",
        "storage",
        "reachability",
        "leads here",
        "clock",
        "websocket",
        "token",
    ):
        assert found[name]["state"] == "ok", found[name]
    assert found["reachability"]["detail"].startswith(server.url), "the running server has said its URL"
    assert found["websocket"]["detail"] == "an agent's connection was opened and closed"


@needs_caddy
def test_agents_and_clients_come_through_the_proxy_of_compose(server: Server, tmp_path: Path) -> None:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        port, files = one.getsockname()[1], other.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    upstream = server.url.removeprefix("http://")
    environment = {
        "COGFLARE_SITE": url,
        "FILES_SITE": f"http://127.0.0.1:{files}",
        "COGFLARE_UPSTREAM": upstream,
        "FILES_UPSTREAM": upstream,
    }
    with caddy(REPOSITORY / "infra" / "compose" / "Caddyfile", environment, port, tmp_path):
        done = run(
            "doctor", str(server.data), "--json", "--server", url, "--token", server.token(worker=True)
        )
    found = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0, done.stdout
    assert found["leads here"]["state"] == "ok"
    assert found["websocket"]["detail"] == "an agent's connection was opened and closed"


def test_status_and_logs_of_a_prediction_that_breaks_once(server: Server, tmp_path: Path) -> None:
    calls = server.calls()
    here = ("--data", str(server.data))
    from_afar = ("--server", server.url, "--token", server.token())
    id = calls.create("me/fragile", {"folder": str(tmp_path)})["id"]
    until(lambda: run("logs", id, *here).stdout == "the first breaks\n", "its first words")
    waiting = calls.create("me/fragile", {"folder": str(tmp_path)})["id"]

    shown = run("status", "--once", *here, environment={"COLUMNS": "80"}).stdout
    assert "1 waiting, 1 running, 1 worker, 0 webhooks to send" in shown
    queue = next(line.split() for line in shown.splitlines() if line.startswith("me/fragile"))
    assert queue[:3] == ["me/fragile", "default", "1"]
    assert queue[-1] == "all_busy"
    assert "gpu-1   me/fragile  ok" in shown
    assert max(map(len, shown.splitlines())) <= 80

    (tmp_path / "break").touch()
    until(lambda: "the second works\n" in run("logs", id, *from_afar).stdout, "its second attempt")
    (tmp_path / "go").touch()
    calls.ended(waiting)
    ended = calls.ended(id)
    assert (ended["status"], [each["outcome"] for each in ended["attempts"]]) == (
        "succeeded",
        ["crashed", "finished"],
    )
    assert ended["attempts"][0]["logs"] == "the first breaks\n"
    for where in (here, from_afar):
        done = run("logs", id, "--follow", *where)
        assert done.returncode == 0
        assert done.stdout == "the first breaks\nthe second works\ndone\n"
        assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
            "== attempt 1, gpu-1",
            "== attempt 2, gpu-1",
        ]
    found = json.loads(run("logs", id, "--json", *here).stdout)
    assert found["attempts"][0]["logs"] == "the first breaks\n"
    assert found["logs"] == "the second works\ndone\n"


def test_logs_of_what_is_not_there(server: Server) -> None:
    for where in (("--data", str(server.data)), ("--server", server.url, "--token", server.token())):
        done = run("logs", "nothing", *where)
        assert (done.returncode, done.stdout) == (10, "")
        assert "no prediction nothing" in done.stderr
