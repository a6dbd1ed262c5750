"""Measures what a long queue costs: dispatch latency and memory with 10, 10,000 and 1,000,000 queued;
recovery after kill -9 with 100,000 queued; what idle sessions of agents cost; and 5,000 models used in turn.

Server, client and agent are real and speak HTTP and the agent's websocket; client and agent share a process,
so that one clock times a prediction from its creation to its arrival at the worker. The queue is filled over
the coordinator's stub (``fill.py``) with predictions of a version that no agent has: they wait, others run.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop
from fake_agent import Counts, FakeAgent
from processes import COGFLARE, HERE, ProcessFailed, child, cpu_s, create_token, free_port, ready
from report import write_into
from websockets.exceptions import InvalidStatus

from coordinator.protocol.messages import Dispatch, ServerMessage

MODEL = "bench/model-000"
ABSENT = "f" * 64
"""A version that no agent has."""
DEPTHS = (10, 10_000, 1_000_000)
RECOVERED = 100_000
SESSIONS = 2_000
MODELS = 5_000
DIALLING = 20
"""Agents that dial at the same time: how many a server takes at once is not the question here."""
LATENCIES = 500
PARTS = ("depth", "recovery", "sessions", "objects")
IDLE_S = 20.0
WITHIN_S = 600.0
BEGIN, END = "<!-- room's figures: made by make bench-room -->", "<!-- end of room's figures -->"
BODY = {"model": MODEL, "input": {"prompt": "a light at the end of the pier"}}


class Worker(FakeAgent):
    """Notes when each prediction arrives."""

    def __init__(self, slots: int, models: range = range(1)) -> None:
        super().__init__(models, slots, Counts())
        self.arrived: dict[str, float] = {}
        self.more = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once what arrived makes it so. Raises TimeoutError."""
        async with asyncio.timeout(WITHIN_S):
            while not holds():
                self.more.clear()
                await self.more.wait()

    def _answer(self, message: ServerMessage) -> list[bytes]:
        if isinstance(message, Dispatch):
            self.arrived[message.prediction] = time.monotonic()
            self.more.set()
        return super()._answer(message)


@dataclass(frozen=True)
class Depth:
    """What so many queued predictions cost."""

    queued: int
    p50_ms: float
    p99_ms: float
    rss_mb: float
    peak_mb: float
    drained_per_s: float


@dataclass(frozen=True)
class Recovery:
    """From the start of the new process, seconds."""

    ready_s: float
    answer_s: float
    dispatch_s: float


@dataclass(frozen=True)
class Sessions:
    count: int
    each_kb: float
    cpu_percent: float
    rss_mb: float


@dataclass(frozen=True)
class Objects:
    """After each of so many models, all served by agents, was used once."""

    count: int
    each_kb: float
    rss_mb: float
    files: int
    threads: int


# --- parts of a run ----------------------------------------------------------------------------------------


def fill(data: Path, count: int, version: str) -> str:
    """Queue so many; gives the id of the last one."""
    command = [sys.executable, str(HERE / "fill.py"), "--data", str(data), "--model", MODEL]
    command += ["--count", str(count), "--version", version]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise ProcessFailed(f"fill.py: {run.stderr}")
    filled = json.loads(run.stdout)
    _say(f"{count:,} queued; the process that did it needed {filled['peak_mb']} MB")
    return str(filled["last"])


@dataclass(frozen=True)
class Server:
    url: str
    token: str
    worker_token: str
    process: "subprocess.Popen[bytes]"

    @property
    def pid(self) -> int:
        return self.process.pid

    def memory_mb(self, what: str) -> float:
        """``VmRSS`` now, or its highest ``VmHWM``."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024

    def client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)


@asynccontextmanager
async def serving(data: Path, port: int, token: str, worker_token: str) -> AsyncIterator[Server]:
    """``cogflare serve`` on the data directory, ready; ended, or killed by the block."""
    command = [COGFLARE, "serve", "--port", str(port), "--data", str(data), "--log-level", "warning"]
    command += ["--queue-length", "2000000"]  # the million that waits is the limit otherwise
    with suppress(ProcessFailed), child("cogflare serve", command, data.parent / "server.log") as process:
        server = Server(f"http://127.0.0.1:{port}", token, worker_token, process)
        async with asyncio.timeout(WITHIN_S):
            while not ready(server.url):  # noqa: ASYNC110 - another process knows nothing of our events
                await asyncio.sleep(0.005)
        yield server


@asynccontextmanager
async def working(server: Server, *agents: FakeAgent) -> AsyncIterator[None]:
    """These agents, attached."""
    tasks = []
    try:
        async with asyncio.timeout(WITHIN_S):
            for first in range(0, len(agents), DIALLING):
                some = agents[first : first + DIALLING]
                tasks += [asyncio.ensure_future(_connected(agent, server)) for agent in some]
                for agent in some:
                    await agent.ready.wait()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _connected(agent: FakeAgent, server: Server) -> None:
    """Dial until the server takes it."""
    while True:
        try:
            await agent.run(server.url, server.worker_token)
        except* (OSError, InvalidStatus):  # it is away, or too many dial at once
            await asyncio.sleep(random.uniform(0.01, 0.3))


# --- what is measured --------------------------------------------------------------------------------------


async def depth(folder: Path, queued: int) -> Depth:
    """With so many that wait for a worker that never comes, how long do others take to reach theirs?"""
    data = folder / str(queued)
    fill(data, queued, ABSENT)
    tokens = create_token(data, "bench"), create_token(data, "agent", "--worker", "default")
    worker = Worker(slots=128)
    async with serving(data, free_port(), *tokens) as server, working(server, worker):
        async with server.client() as client:
            await _latencies(client, worker, 100)
            took = sorted(await _latencies(client, worker, LATENCIES))
            rss = server.memory_mb("VmRSS")
            started = time.monotonic()
            count = len(worker.arrived)
            await _many(client, 2_000)
            await worker.until(lambda: len(worker.arrived) >= count + 2_000)
            drained_per_s = 2_000 / (time.monotonic() - started)
        peak = server.memory_mb("VmHWM")
    shutil.rmtree(data)
    result = Depth(queued, _at(took, 0.5), _at(took, 0.99), rss, peak, drained_per_s)
    _say(str(result))
    return result


async def _latencies(client: httpx.AsyncClient, worker: Worker, count: int) -> list[float]:
    """From before the POST to the arrival at the worker, milliseconds each, one after the other."""
    took = []
    for _ in range(count):
        begun = time.monotonic()
        made = await client.post("/v1/predictions", json=BODY)
        made.raise_for_status()
        id = made.json()["id"]
        await worker.until(lambda: id in worker.arrived)  # noqa: B023 - it is awaited at once
        took.append((worker.arrived[id] - begun) * 1000)
    return took


async def _many(client: httpx.AsyncClient, count: int) -> None:
    async def some(share: int) -> None:
        for _ in range(share):
            (await client.post("/v1/predictions", json=BODY)).raise_for_status()

    await asyncio.gather(*(some(count // 16) for _ in range(16)))


async def recovery(folder: Path) -> Recovery:
    """kill -9 with so many queued; how long until answers and work flow again?"""
    data = folder / "recovery"
    last = fill(data, RECOVERED, "")
    tokens = create_token(data, "bench"), create_token(data, "agent", "--worker", "default")
    port = free_port()
    async with serving(data, port, *tokens) as server, working(server, before := Worker(slots=4)):
        await before.until(lambda: len(before.arrived) > 500)
        server.process.kill()
        server.process.wait()
    worker = Worker(slots=4)
    begun = time.monotonic()
    dialling = asyncio.ensure_future(_connected(worker, server))
    try:
        async with serving(data, port, *tokens) as server:
            ready_s = time.monotonic() - begun
            async with server.client() as client:
                answer = await client.get(f"/v1/predictions/{last}")
                answer.raise_for_status()
                answer_s = time.monotonic() - begun
            await worker.until(lambda: bool(worker.arrived))
            dispatch_s = min(worker.arrived.values()) - begun
    finally:
        dialling.cancel()
        await asyncio.wait([dialling])
    shutil.rmtree(data)
    result = Recovery(ready_s, answer_s, dispatch_s)
    _say(str(result))
    return result


async def sessions(folder: Path) -> Sessions:
    """So many agents that have nothing to do."""
    data = folder / "sessions"
    fill(data, 10, ABSENT)
    tokens = create_token(data, "bench"), create_token(data, "agent", "--worker", "default")
    async with serving(data, free_port(), *tokens) as server, working(server, Worker(slots=1)):
        before = server.memory_mb("VmRSS")
        agents = [FakeAgent(range(1), 1, Counts()) for _ in range(SESSIONS)]
        async with working(server, *agents):
            await asyncio.sleep(2.0)
            rss, cpu = server.memory_mb("VmRSS"), cpu_s(server.pid)
            await asyncio.sleep(IDLE_S)
            cpu = cpu_s(server.pid) - cpu
    result = Sessions(SESSIONS, (rss - before) * 1024 / SESSIONS, cpu / IDLE_S * 100, rss)
    _say(str(result))
    return result


async def objects(folder: Path) -> Objects:
    """So many models, each with a coordinator of its own, used one after the other."""
    data = folder / "objects"
    fill(data, 10, ABSENT)
    tokens = create_token(data, "bench"), create_token(data, "agent", "--worker", "default")
    per_agent = 50
    agents = [FakeAgent(range(n, n + per_agent), 4, Counts()) for n in range(0, MODELS, per_agent)]
    async with serving(data, free_port(), *tokens) as server:
        before = server.memory_mb("VmRSS")
        async with working(server, *agents), server.client() as client:
            for number in range(MODELS):
                body = {"model": f"bench/model-{number:03}", "input": BODY["input"]}
                made = await client.post("/v1/predictions", json=body, headers={"Prefer": "wait"})
                made.raise_for_status()
            rss = server.memory_mb("VmRSS")
            process = Path(f"/proc/{server.pid}")
            files, threads = (len(list((process / part).iterdir())) for part in ("fd", "task"))
    result = Objects(MODELS, (rss - before) * 1024 / MODELS, rss, files - len(agents), threads)
    _say(str(result))
    return result


# --- the page ----------------------------------------------------------------------------------------------


def markdown(
    depths: Sequence[Depth], recovered: Recovery | None, idle: Sessions | None, many: Objects | None
) -> str:
    lines: list[str] = []
    if depths:
        base = depths[0]
        lines += [
            "| queued | create to worker, p50 ms | p99 ms | beside the first | server MB | at most | "
            "bytes each | others run, /s |",
            "|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for one in depths:
            each = f"{(one.rss_mb - base.rss_mb) * 1024 * 1024 / one.queued:,.0f}" if one is not base else ""
            lines.append(
                f"| {one.queued:,} | {one.p50_ms:.2f} | {one.p99_ms:.2f} | {one.p50_ms / base.p50_ms:.2f} | "
                f"{one.rss_mb:.0f} | {one.peak_mb:.0f} | {each} | {one.drained_per_s:,.0f} |"
            )
        lines.append("")
    if recovered is not None:
        lines += [
            f"After kill -9 with {RECOVERED:,} queued, from the start of the new process: ready after "
            f"**{recovered.ready_s:.2f} s**, a queued prediction is answered after "
            f"**{recovered.answer_s:.2f} s**, the first dispatch reaches a worker after "
            f"**{recovered.dispatch_s:.2f} s**.",
            "",
        ]
    if idle is not None:
        lines += [
            f"{idle.count:,} idle sessions of agents: **{idle.each_kb:.0f} KB** each, "
            f"{idle.cpu_percent:.1f} % of a core in all, server {idle.rss_mb:.0f} MB.",
            "",
        ]
    if many is not None:
        lines += [
            f"{many.count:,} models, all served and each used in turn: **{many.each_kb:.0f} KB** each, "
            f"server {many.rss_mb:.0f} MB, {many.files} open files besides the agents' sockets, "
            f"{many.threads} threads.",
            "",
        ]
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    lines += [
        f"- {now}; {os.cpu_count()} cores for server, agents and client; Python {platform.python_version()}",
        "- repeat with `make bench-room`",
    ]
    return "\n".join(lines)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def measure(folder: Path, parts: Sequence[str]) -> str:
    depths = [await depth(folder, queued) for queued in DEPTHS] if "depth" in parts else []
    recovered = await recovery(folder) if "recovery" in parts else None
    idle = await sessions(folder) if "sessions" in parts else None
    many = await objects(folder) if "objects" in parts else None
    return markdown(depths, recovered, idle, many)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the figures between the marks of FILE"
    )
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS, help="parts of it")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    build = HERE.parent / "build"
    build.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="room-", dir=build))
    try:
        page = uvloop.run(measure(folder, options.only))
    except (ProcessFailed, TimeoutError) as error:
        print(f"bench-room: {error!r}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(page)
    if options.write:
        write_into(options.write, page, BEGIN, END)
    return 0


if __name__ == "__main__":
    sys.exit(main())
