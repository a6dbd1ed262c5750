"""The installed commands as real processes, for tests that use Cogflare as a person would."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.support.threads import start_deaf

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[2]
COGFLARE = os.environ.get("COGFLARE_BINARY") or str(Path(sys.executable).with_name("cogflare"))
"""The command under test: the one of this environment, or the single file."""
DEADLINE_S = 30.0


def until(condition: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Ask again until the condition gives something true; fail with what was waited for."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline_s:g} s still not: {what}")
        time.sleep(0.01)


class Command:
    """A running ``cogflare`` command, or another program; its output is read into ``lines`` as it comes."""

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        program: str = COGFLARE,
        cwd: Path | None = None,
    ) -> None:
        self.lines: list[str] = []
        env = {k: v for k, v in os.environ.items() if not k.startswith("COGFLARE_")}
        self.process = subprocess.Popen(
            [program, *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**env, **(environment or {})},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        start_deaf(self._reader)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def line(self, pattern: str, deadline_s: float = DEADLINE_S) -> re.Match[str]:
        """The first line that matches, waited for. Fails when the command ends without it."""

        def look() -> re.Match[str] | None:
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            if self.process.poll() is not None and not self._reader.is_alive():
                raise AssertionError(f"it ended with {self.process.returncode}:\n" + "\n".join(self.lines))
            return None

        try:
            return until(look, f"a line like {pattern!r}", deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(self.lines)) from None

    def kill(self) -> None:
        """kill -9, of this process alone."""
        self.process.kill()
        self.process.wait()

    def terminate(self, deadline_s: float = DEADLINE_S) -> int:
        """SIGTERM, and wait for the end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline_s)

    def close(self) -> None:
        """End it, whatever it does, with everything that it started."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()


def run(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("COGFLARE_")}
    return subprocess.run(
        [COGFLARE, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**env, **(environment or {})},
        check=False,
    )


class Server:
    """``cogflare serve`` on a data directory; may be killed and started again on the same port."""

    def __init__(
        self,
        data: Path,
        *options: str,
        public_url: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self.options = options
        self.port = 0
        self.url = ""
        self._public_url = public_url
        self._environment = environment
        self.command: Command | None = None
        self.tokens: dict[tuple[str, str], str] = {}
        self._clients: list[httpx.Client] = []

    def start(self) -> "Server":
        if self.command is not None:
            self.command.close()  # of a start before this one
        options = ["--data", str(self.data), "--port", str(self.port), *self.options]
        if "--replicate-url" not in options:
            options += ["--replicate-url", ""]  # no test asks the real one
        if self._public_url:
            options += ["--public-url", self._public_url]
        self.command = Command("serve", *options, environment=self._environment)
        found = self.command.line(r"(https?://[\w.]+:(\d+))")
        self.url, self.port = found[1], int(found[2])
        until(self._ready, "the server is ready")
        return self

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.command is not None
        self.command.kill()

    def stop(self) -> int:
        assert self.command is not None
        return self.command.terminate()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        if self.command is not None:
            self.command.close()

    def token(self, account: str = "default", *, worker: bool = False) -> str:
        """A token of this account, made once by the command."""
        kind = "worker" if worker else "client"
        if (account, kind) not in self.tokens:
            options = ["--worker", "default"] if worker else []
            # Tests ask more often than people.
            options += ["--creations-per-min", "0", "--requests-per-min", "0"]
            made = run(
                "token",
                "create",
                f"{kind}-{account}",
                "--account",
                account,
                "--json",
                "--data",
                str(self.data),
                *options,
            )
            assert made.returncode == 0, made.stdout + made.stderr
            self.tokens[account, kind] = json.loads(made.stdout)["token"]
        return self.tokens[account, kind]

    def calls_with_key(self, key: str) -> "Calls":
        """A client whose token has a key of Replicate's."""
        options = ("--json", "--data", str(self.data), "--replicate", key)
        made = run("token", "create", f"overflowing-{len(self._clients)}", *options)
        assert made.returncode == 0, made.stdout + made.stderr
        headers = {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}
        self._clients.append(httpx.Client(base_url=self.url, headers=headers, timeout=60))
        return Calls(self._clients[-1])

    def client(self, account: str = "default") -> httpx.Client:
        """HTTP with a token of this account; paths are relative to the server."""
        client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token(account)}"},
            timeout=60,
        )
        self._clients.append(client)
        return client

    def calls(self, account: str = "default") -> "Calls":
        return Calls(self.client(account))


class Agent:
    """``cogflare agent`` serving models, given as name=folder."""

    def __init__(
        self, server: Server, state: Path, *models: str, url: str | None = None, options: tuple[str, ...] = ()
    ) -> None:
        self._arguments: list[str] = ["--server", url or server.url, "--state", str(state), *options]
        for model in models:
            self._arguments += ["--model", model]
        self._environment = {"COGFLARE_TOKEN": server.token(worker=True)}
        self._models = models
        self.command = Command("agent", *self._arguments, environment=self._environment)

    def ready(self) -> "Agent":
        """Wait until it serves each of its models."""
        for model in self._models:
            self.command.line(rf"serving .*{re.escape(model.split('=')[0])}")
        return self

    def kill(self) -> None:
        """kill -9 of the agent and of its runners, as when the machine goes."""
        os.killpg(self.command.process.pid, signal.SIGKILL)
        self.command.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send to the agent and to its runners, as when the machine is frozen."""
        os.killpg(self.command.process.pid, number)

    def start_again(self) -> "Agent":
        self.command.close()
        self.command = Command("agent", *self._arguments, environment=self._environment)
        return self

    def close(self) -> None:
        self.command.close()


class Calls:
    """What a test does with predictions, over plain HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self.http = client

    def create(self, model: str, input: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        answer = self.http.post("/v1/predictions", json={"model": model, "input": input}, headers=headers)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def get(self, id: str) -> dict[str, Any]:
        answer = self.http.get(f"/v1/predictions/{id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ended(self, id: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """The prediction once it is terminal. The server may be away meanwhile."""

        def look() -> dict[str, Any] | None:
            try:
                found = self.get(id)
            except httpx.TransportError:
                return None
            return found if found["status"] in ("succeeded", "failed", "canceled") else None

        return until(look, f"prediction {id} has ended", deadline_s)

    def reaches(self, id: str, status: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.get(id)
            return found if found["status"] == status else None

        return until(look, f"prediction {id} is {status}")
