"""``cogflare status``: what it shows of a real server, and what a terminal gets of it."""

import asyncio
import json
import os
import pty
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from coordinator import calls
from coordinator.protocol import messages as wire
from edge.commands.watching.frame import frame, in_words
from edge.commands.watching.screen import END_OF_LINE, HOME, composed
from tests.support.commands import COGFLARE, Server, until
from tests.support.edge import MODEL, TestServer

NOW = 1_800_000_000.0
QUEUE = {
    "pool": "default",
    "model": "acme/greeter",
    "paused": False,
    "waiting": 12,
    "oldest_s": 200.0,
    "running": 1,
    "free": 0,
    "reason": "all_busy",
    "webhooks": 3,
}
WORKER = {
    "worker": "gpu-1",
    "agent": "a1",
    "model": "acme/greeter",
    "state": "quarantined",
    "attached": True,
    "running": 1,
    "free": 0,
    "reason": "CUDA error:\nan illegal memory access was \x1b[31mencountered while the kernel was running",
}
FAILURE = {
    "id": "x" * 26,
    "model": "acme/greeter",
    "completed_at": "2027-01-15T07:00:00.000000Z",
    "error_code": "poison",
    "error": "it crashed two workers",
}
PICTURE = {
    "version": "1.2.3",
    "state": "ready",
    "url": "http://127.0.0.1:8000",
    "public_url": "https://cog.example.org",
    "data": "/var/lib/cogflare",
    "process": 7,
    "started_at": "2027-01-15T06:00:00.000000Z",
    "queues": [QUEUE],
    "workers": [WORKER, {**WORKER, "worker": "gpu-2", "agent": "a2", "state": "ok", "attached": False}],
    "failures": [FAILURE],
}


def test_everything_is_there_in_eighty_columns() -> None:
    lines = frame(PICTURE, 80, NOW)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines), "a worker's words move no cursor"
    assert lines[0] == "cogflare  1.2.3  ready  https://cog.example.org  up 2h00m"
    assert "12 waiting, 1 running, 1 worker, 3 webhooks to send" in text
    assert " 3m20s " in text
    assert "all_busy" in text
    assert "quarantined" in text
    assert "away" in text
    assert "x" * 26 in text
    assert " 1h00m " in text


@pytest.mark.parametrize("columns", [20, 40, 60, 200])
def test_no_line_is_longer_than_the_terminal(columns: int) -> None:
    assert max(map(len, frame(PICTURE, columns, NOW))) <= columns


def test_an_idle_server_says_so() -> None:
    idle = {"state": "ready", "url": "http://far", "queues": [], "workers": [], "failures": []}
    lines = frame(idle, 80, NOW)
    assert lines[0] == "cogflare  ready  http://far"
    assert "no model is in use" in lines
    assert "no worker is connected" in lines
    paused = frame({**idle, "queues": [{**QUEUE, "paused": True, "oldest_s": None}]}, 80, NOW)
    assert any(line.endswith("paused") for line in paused)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0s"), (59.9, "59s"), (60, "1m00s"), (200, "3m20s"), (7500, "2h05m"), (352_800, "4d02h")],
)
def test_times_at_a_glance(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_frame_goes_over_the_one_before_and_fits() -> None:
    text = composed([str(number) for number in range(30)], 10, 80, "last")
    assert text.startswith(HOME)
    assert "\x1b[2J" not in text
    assert text.count("\r\n") == 9
    assert "… 22 more lines" in text
    assert f"7{END_OF_LINE}" in text
    assert f"8{END_OF_LINE}" not in text


async def test_why_the_oldest_waits_and_which_webhooks_are_due(server: TestServer) -> None:
    stub = server.services.models.stub(server.agent.number)
    empty = await stub.queue()
    assert (empty.waiting, empty.reason, empty.webhooks) == (0, None, 0)
    await server.create()
    dispatch = await server.agent.start()
    await server.create()
    found = await stub.queue()
    assert (found.waiting, found.running, found.reason) == (1, 1, "all_busy")
    answer = (await server.http.get("/v1/admin/queues")).json()["results"]
    assert [(each["model"], each["reason"], each["webhooks"]) for each in answer] == [(MODEL, "all_busy", 0)]
    detach = calls.DetachSession(address=server.agent.address)
    assert stub.hand_over(detach)
    assert (await stub.queue()).reason == "no_workers"
    assert isinstance(dispatch, wire.Dispatch)


async def test_webhooks_that_are_to_be_sent_are_counted(server: TestServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/hook"
    body = {"input": {"text": "hi"}, "webhook": url}
    made = await server.http.post(f"/v1/models/{MODEL}/predictions", json=body)
    assert made.status_code == 201, made.text
    server.agent.finish(await server.agent.start(), "ok")
    stub = server.services.models.stub(server.agent.number)
    async with asyncio.timeout(5):
        while True:
            if (await stub.queue()).webhooks == 1:
                return
            await asyncio.sleep(0.005)


# --- the command, on a real server --------------------------------------------------------------------------


class Terminal:
    """A command at a terminal of 80 columns and 24 rows."""

    def __init__(self, *arguments: str, term: str = "xterm") -> None:
        self.text = ""
        self.end, child = pty.openpty()
        environ = {k: v for k, v in os.environ.items() if not k.startswith("COGFLARE_")}
        self.process = subprocess.Popen(
            [COGFLARE, *arguments],
            stdin=child,
            stdout=child,
            stderr=child,
            env={**environ, "TERM": term, "COLUMNS": "80", "LINES": "24"},
            start_new_session=True,
        )
        os.close(child)

    def read(self) -> str:
        """All that has come so far."""
        while select.select([self.end], [], [], 0)[0]:
            try:
                more = os.read(self.end, 65536)
            except OSError:  # its other end is closed
                break
            if not more:
                break
            self.text += more.decode()
        return self.text

    def type(self, text: str) -> None:
        os.write(self.end, text.encode())

    def left(self) -> int:
        until(lambda: self.read() is not None and self.process.poll() is not None, "it has left")
        self.read()
        os.close(self.end)
        return self.process.returncode


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> "Server":
    server = Server(tmp_path_factory.mktemp("status") / "data")
    try:
        yield server.start()  # type: ignore[misc]
    finally:
        server.close()


def test_a_terminal_is_drawn_over_until_q(serving: Server) -> None:
    screen = Terminal("status", "--data", str(serving.data), "--every-s", "200ms")
    until(lambda: screen.read().count(HOME) >= 3, "three frames")
    assert screen.text.startswith("\x1b[?1049h\x1b[?25l")
    assert "no worker is connected" in screen.text
    assert "q leaves" in screen.text
    screen.type("q")
    assert screen.left() == 0
    assert screen.text.endswith("\x1b[?25h\x1b[?1049l")


def test_sigterm_puts_the_terminal_back(serving: Server) -> None:
    screen = Terminal("status", "--data", str(serving.data))
    until(lambda: "q leaves" in screen.read(), "a frame")
    screen.process.send_signal(signal.SIGTERM)
    assert screen.left() == 0
    assert screen.text.endswith("\x1b[?25h\x1b[?1049l")


def test_a_dumb_terminal_and_no_terminal_get_it_once(serving: Server) -> None:
    screen = Terminal("status", "--data", str(serving.data), term="dumb")
    assert screen.left() == 0
    assert "\x1b" not in screen.text
    token = (serving.data / "admin-token").read_text().strip()
    for where in (("--data", str(serving.data)), ("--server", serving.url, "--token", token)):
        done = subprocess.run(
            [COGFLARE, "status", *where], capture_output=True, text=True, check=False, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "ready" in done.stdout
        assert "0 waiting, 0 running, 0 workers, 0 webhooks to send" in done.stdout
        done = subprocess.run(
            [COGFLARE, "status", "--json", *where], capture_output=True, text=True, check=False, timeout=30
        )
        found = json.loads(done.stdout)
        assert (found["state"], found["queues"], found["workers"], found["failures"]) == ("ready", [], [], [])


def test_a_server_that_goes_away_while_it_is_watched(tmp_path: Path) -> None:
    server = Server(tmp_path / "data").start()
    screen = Terminal("status", "--data", str(server.data), "--every-s", "200ms")
    until(lambda: "q leaves" in screen.read(), "a frame")
    server.close()
    until(lambda: "! no server runs" in screen.read(), "the reason")
    server.start()
    seen = len(screen.read())
    until(lambda: "q leaves" in screen.read()[seen:], "it is back")
    server.close()
    screen.type("q")
    assert screen.left() == 0
