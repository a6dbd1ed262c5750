"""A server and an agent of the first release are exchanged for ours in the middle of their work.

``releases/`` has the release itself, built from its commit (4b27bfa). Its server made the data directory,
with the first migration and the first tables of a coordinator; its agent speaks the first wire protocol.
"""

import json
import os
import signal
import subprocess
import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import WAITER, Trace
from tests.support.commands import DEADLINE_S, Agent, Command, Server, until

WHEEL = Path(__file__).parent / "releases" / "cogflare-0.1.0-py3-none-any.whl"
MODULE = ("-P", "-m", "edge.cli")


class Release:
    """The commands of 0.1.0 on one data directory, with the libraries of now."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.data, self.state = folder / "data", folder / "agent"
        self._stack = stack
        self._environment = {"PYTHONPATH": str(folder / "site")}
        with zipfile.ZipFile(WHEEL) as archive:
            archive.extractall(folder / "site")
        self.server = self._start("serve", "--data", str(self.data), "--port", "0")
        self.url = self.server.line(r"(http://[\w.]+:\d+)")[1]
        self.client_token = self._token("client")
        self.worker_token = self._token("worker", "--worker", "default")
        self.agent = self._start(
            *("agent", "--server", self.url, "--state", str(self.state), "--model", WAITER),
            COGFLARE_TOKEN=self.worker_token,
        )
        self.agent.line(r"serving .*test/waiter")

    def _start(self, *words: str, **environment: str) -> Command:
        command = Command(
            *MODULE, *words, program=sys.executable, environment=self._environment | environment
        )
        self._stack.callback(command.close)
        return command

    def _token(self, name: str, *options: str) -> str:
        made = subprocess.run(
            [sys.executable, *MODULE, "token", "create", name, "--json", "--data", str(self.data), *options],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        return str(json.loads(made.stdout)["token"])

    def server_of_now(self) -> Server:
        """Not started yet: on the same data, port and tokens."""
        server = Server(self.data)
        server.url, server.port = self.url, int(self.url.rpartition(":")[2])
        server.tokens = {("default", "client"): self.client_token, ("default", "worker"): self.worker_token}
        self._stack.callback(server.close)
        return server


@pytest.fixture
def release(tmp_path: Path, stack: ExitStack) -> Release:
    return Release(tmp_path, stack)


def test_server_and_agent_are_exchanged_in_the_middle_of_their_work(
    release: Release, stack: ExitStack, trace: Trace
) -> None:
    """Promise 7: what has ended, what runs and what waits survives the changes of schema and protocol."""
    server = release.server_of_now()
    calls = server.calls()
    over = calls.ended(calls.create("test/waiter", trace.input("over", wait=False))["id"])
    running = calls.create("test/waiter", trace.input("running"))["id"]
    until(lambda: trace.runs("running"), "it runs")
    first, second = (calls.create("test/waiter", trace.input(name))["id"] for name in ("first", "second"))
    release.server.kill()

    server.start()
    assert calls.get(over["id"])["output"] == over["output"] == "done over"
    assert [calls.get(id)["status"] for id in (first, second)] == ["starting", "starting"]
    trace.go("running")
    assert calls.ended(running)["output"] == "done running"
    assert len(trace.runs("running")) == 1  # that of before
    until(lambda: trace.runs("first"), "the agent of before has the next one")

    # Its result waits on the agent's disk for a server; then the agent is exchanged, too.
    server.kill()
    trace.go("first")
    release.agent.line(f"{first}: succeeded")
    os.killpg(release.agent.process.pid, signal.SIGKILL)
    server.start()
    agent = Agent(server, release.state, WAITER)
    stack.callback(agent.close)
    assert calls.ended(first)["output"] == "done first"
    assert len(trace.runs("first")) == 1
    trace.go("second")
    assert calls.ended(second)["output"] == "done second"
