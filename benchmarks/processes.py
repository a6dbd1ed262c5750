"""The processes of a run: each with a log, waited for with a deadline, always ended by pid."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent
COGFLARE = str(Path(sys.executable).with_name("cogflare"))
START_S = 30.0
STOP_S = 20.0


class ProcessFailed(RuntimeError):
    """A process did not start, or ended before its time; the text holds the end of its log."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def child(
    name: str, command: Sequence[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for the length of the block; its stdout can be read, its stderr is in ``log``."""
    with log.open("ab") as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield process
        if process.poll() not in (None, 0):
            raise _failed(name, process, log)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> bytes:
    """End a process and give back the rest of its stdout. Safe to repeat."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        output, _ = process.communicate(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    except ValueError:  # read to its end before
        return b""
    return output


@contextmanager
def simple_server(script: str, log: Path) -> Iterator[str]:
    """``echo.py`` or ``trivial.py`` on a free port; gives its URL."""
    port = free_port()
    with child(script, [sys.executable, str(HERE / script), "--port", str(port)], log) as process:
        _until(lambda: _connects(port), script, process, log)
        yield f"http://127.0.0.1:{port}/v1/predictions"


class Cogflare:
    """A running ``cogflare serve`` and the fake agent behind it."""

    def __init__(self, url: str, data: Path, server: subprocess.Popen[bytes], token: str) -> None:
        self.url = url
        self.data = data
        self.server = server
        self.token = token

    @property
    def predictions_url(self) -> str:
        return f"{self.url}/v1/predictions"


@contextmanager
def cogflare(folder: Path, *, models: int, commit_delay_s: float) -> Iterator[Cogflare]:
    """Server on a fresh data directory, token, and fake agent with ``models`` models, all ready."""
    folder.mkdir(parents=True)
    port, data, log = free_port(), folder / "data", folder / "server.log"
    url = f"http://127.0.0.1:{port}"
    environment = {"COGFLARE_BENCH_COMMIT_DELAY_S": str(commit_delay_s)} if commit_delay_s else {}
    command = [COGFLARE, "serve", "--port", str(port), "--data", str(data), "--log-level", "warning"]
    with child("cogflare serve", command, log, environment) as server:
        _until(lambda: ready(url), "cogflare serve", server, log)
        token = create_token(data, "bench")
        agent_log = folder / "agent.log"
        command = [sys.executable, str(HERE / "fake_agent.py"), "--server", url, "--models", str(models)]
        worker = {"COGFLARE_TOKEN": create_token(data, "bench-agent", "--worker", "default")}
        with child("fake agent", command, agent_log, worker) as agent:
            assert agent.stdout is not None
            if not select.select([agent.stdout], [], [], START_S)[0] or agent.stdout.readline() != b"ready\n":
                raise _failed("fake agent", agent, agent_log)
            yield Cogflare(url, data, server, token)
            if agent.poll() is not None:
                raise _failed("fake agent", agent, agent_log)


def create_token(data: Path, name: str, *options: str) -> str:
    command = [COGFLARE, "token", "create", name, "--data", str(data), "--json", *options]
    # Counted like everybody's, up to more than can be asked.
    command += [f"--{kind}-per-min={1 << 30}" for kind in ("creations", "requests")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=START_S)
    if run.returncode:
        raise ProcessFailed(f"cogflare token create: {run.stderr.strip()}")
    token: str = json.loads(run.stdout)["token"]
    return token


def _until(holds: Callable[[], bool], name: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        if process.poll() is not None or time.monotonic() > deadline:
            raise _failed(name, process, log)
        time.sleep(0.05)


def _connects(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def ready(url: str) -> bool:
    """Whether the server at this URL takes requests."""
    with (
        suppress(urllib.error.URLError, OSError),
        urllib.request.urlopen(f"{url}/readyz", timeout=1) as answer,
    ):
        return bool(answer.status == 200)
    return False


def _failed(name: str, process: subprocess.Popen[bytes], log: Path) -> ProcessFailed:
    code = process.poll()
    state = "is not ready" if code is None else f"ended with {code}"
    return ProcessFailed(f"{name} {state}; the end of {log}:\n{log.read_text(errors='replace')[-2000:]}")
