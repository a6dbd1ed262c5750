"""Scripted workers of 2022 as real processes, on the library that they had (``build/legacy``)."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.support.commands import DEADLINE_S, REPOSITORY, Calls, Server, run
from tests.support.threads import start_deaf

LIBRARY = REPOSITORY / "build" / "legacy"
SCRIPT = Path(__file__).with_name("legacy_worker.py")
MODEL = "acme/hello"
WORKER_STRING = "worker-string-of-2022"
CLIENT_TOKEN = "client-token-of-2022"


class LegacyWorker:
    """One worker: one process, one ``session_id``. Verbs wait until what they do is done."""

    def __init__(self, server: Server, *, model: str = MODEL, token: str = WORKER_STRING) -> None:
        assert (LIBRARY / "websockets").is_dir(), "run `make install`"
        self.session = str(uuid.uuid4())
        self._base = server.url.replace("http", "ws", 1)
        self._path = f"/v1/models/{model}/websocket/{token}"
        self._events: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(LIBRARY)},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        start_deaf(self._reader)
        assert self.next("version") == ["10.3"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(json.loads(line))

    def do(self, *order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def next(self, kind: str, deadline_s: float = DEADLINE_S) -> list[Any]:
        """What the next event says, which must be of this kind."""
        try:
            found, *rest = self._events.get(timeout=deadline_s)
        except queue.Empty:
            raise AssertionError(f"after {deadline_s:g} s no {kind}") from None
        assert found == kind, (found, rest)
        return rest

    def nothing_came(self) -> bool:
        return self._events.empty()

    # --- its connection -----------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"{self._base}{self._path}?session_id={self.session}"

    def dial(self) -> None:
        self.do("connect", self.url)

    def connect(self) -> "LegacyWorker":
        self.dial()
        assert self.next("open") == [""]  # no compression, though it was offered
        return self

    def refused(self) -> int:
        """Dial, and be refused before the upgrade; gives the status."""
        self.dial()
        return int(self.next("refused")[0])

    def ping(self) -> None:
        self.do("ping")
        self.next("pong")

    def hang_up(self) -> float:
        """Close in order; gives the seconds that it took."""
        self.do("hang_up")
        events = sorted([self._events.get(timeout=DEADLINE_S) for _ in range(2)])
        assert [event[0] for event in events] == ["closed", "hung up"], events
        return float(events[1][1])

    def cut(self) -> None:
        self.do("cut")
        self.next("closed")

    # --- its jobs -----------------------------------------------------------------------------------------

    def job(self, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """The next job: whole, as the worker needs it."""
        (frame,) = self.next("frame", deadline_s)
        job = json.loads(frame)
        assert isinstance(job["id"], str)
        assert isinstance(job["input"], dict)
        assert len(frame.encode()) < 1024 * 1024
        return dict(job)

    def send(self, frame: Any) -> None:
        self.do("send", frame if isinstance(frame, str) else json.dumps(frame))

    def processing(self, job: dict[str, Any], output: Any = None, logs: Any = (), **more: Any) -> None:
        self.send(state("processing", job["id"], output, logs, **more))

    def succeeded(self, job: dict[str, Any], output: Any = None, logs: Any = (), **more: Any) -> None:
        more = {"metrics": {"predict_time": 0.4}, **more}
        self.send(state("succeeded", job["id"], output, logs, **more))

    def failed(
        self, job: dict[str, Any], error: str, output: Any = None, logs: Any = (), **more: Any
    ) -> None:
        self.send(state("failed", job["id"], output, logs, error=error, **more))

    def run(self, output: Any = "done") -> dict[str, Any]:
        """Take the next job and do it."""
        job = self.job()
        self.processing(job)
        self.succeeded(job, output)
        return job

    def stop(self) -> None:
        """SIGSTOP: deaf and dumb, as in a job."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Neither SIGTERM nor SIGINT stopped it."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def state(status: str, id: str, output: Any, logs: Any, **more: Any) -> dict[str, Any]:
    """An update as the worker sends it: the whole state, times without a zone."""
    times = {"started_at": "2022-07-10T01:02:03.000004"}
    return {
        "status": status,
        "output": output,
        "logs": list(logs),
        "id": id,
        "x-experimental-timestamps": times,
        **more,
    }


def import_tokens(server: Server) -> None:
    """The tokens of 2022: a client, and the worker string that it names."""
    file = server.data.with_name("KV.json")
    record = {"allow": True, "replicate": "r8_a_key", "worker": WORKER_STRING}
    file.write_text(json.dumps({CLIENT_TOKEN: record}))
    done = run("token", "import", str(file), "--data", str(server.data))
    assert done.returncode == 0, done.stderr


def calls_of(server: Server) -> Calls:
    """Calls of a client of today in the pool of the workers of 2022."""
    if ("pool", "client") not in server.tokens:
        data = ("--data", str(server.data))
        limits = ("--creations-per-min", "0", "--requests-per-min", "0")
        made = run("token", "create", "of-today", "--pool", pool_of(server), "--json", *limits, *data)
        assert made.returncode == 0, made.stderr
        server.tokens["pool", "client"] = json.loads(made.stdout)["token"]
    headers = {"Authorization": f"Token {server.tokens['pool', 'client']}"}
    http = httpx.Client(base_url=server.url, headers=headers, timeout=30)
    server._clients.append(http)
    return Calls(http)


def pool_of(server: Server) -> str:
    """The pool that was made for the worker string; tests may revoke it, but it stays the same."""
    known = server.tokens.get(("pool", "name"))
    if known is not None:
        return known
    tokens = json.loads(run("token", "list", "--json", "--data", str(server.data)).stdout)
    name = server.tokens["pool", "name"] = str(
        next(token["pools"][0] for token in tokens if token["scopes"] == ["worker"])
    )
    return name
