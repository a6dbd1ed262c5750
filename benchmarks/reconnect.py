"""What it takes until many agents that lost their server at once are all back: real server, real sockets.

Agents are scripted, all in one process beside the server's; each dials as the real one does, with its pauses
and what the server asks for. The server is killed and started again. ``python benchmarks/reconnect.py``
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import msgspec
import websockets
from websockets.asyncio.client import connect

from coordinator.protocol.agent_session import AgentSession
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.messages import PATH, SUBPROTOCOL, VERSION, Attach, Attached, Hello, Welcome
from gpu_agent.line import BRIEF_FAILURES, FIRST_RETRY_S, LAST_RETRY_S, MOST_FAILURES

COGFLARE = str(Path(sys.executable).parent / "cogflare")
LIMITS = WireLimits()


class Fleet:
    """Agents that keep a connection, and when each was attached last."""

    def __init__(self, count: int, url: str, token: str) -> None:
        self.attached: dict[int, float] = {}
        self.refused = 0
        self._count = count
        self._url = url.replace("http", "ws", 1) + PATH
        self._token = token
        self._news = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._agent(number))

    async def all_attached(self) -> None:
        while len(self.attached) < self._count:
            self._news.clear()
            await self._news.wait()

    async def all_away(self) -> None:
        while self.attached:
            self._news.clear()
            await self._news.wait()

    async def _agent(self, number: int) -> None:
        failures = 0
        while True:
            pause_s = 0.0
            try:
                async with connect(
                    self._url,
                    subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
                    additional_headers={"Authorization": f"Bearer {self._token}"},
                    compression=None,
                    ping_interval=None,
                    open_timeout=30,
                ) as socket:
                    await self._converse(number, socket)
            except websockets.InvalidStatus as refusal:
                self.refused += 1
                pause_s = float(refusal.response.headers.get("Retry-After", "0"))
            except (OSError, TimeoutError, websockets.WebSocketException, EOFError):
                pass
            failures = 1 if self.attached.pop(number, None) else failures + 1
            self._news.set()
            most = BRIEF_FAILURES if pause_s else MOST_FAILURES
            jitter_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(failures, most))
            await asyncio.sleep(pause_s + random.uniform(0, jitter_s))

    async def _converse(self, number: int, socket: websockets.ClientConnection) -> None:
        clock = asyncio.get_running_loop().time
        hello = Hello(protocol=VERSION, agent=f"agt_{number}", incarnation="i", name=f"box-{number}", slots=1)
        session = AgentSession(hello=hello, limits=LIMITS, now=clock())
        await socket.send(session.greet(), text=True)
        while True:
            try:
                async with asyncio.timeout_at(session.next_tick_at()):
                    frame = await socket.recv()
            except TimeoutError:
                for beat in session.tick(clock()):
                    await socket.send(beat, text=True)
                continue
            for message in session.receive(frame, clock()):
                if isinstance(message, Welcome):
                    await socket.send(session.send(_attach(number)), text=True)
                elif isinstance(message, Attached):
                    self.attached[number] = time.monotonic()
                    self._news.set()


def _attach(number: int) -> Attach:
    model = f"bench/model-{number % 20}"
    return Attach(
        channel=0,
        model=model,
        version=hashlib.sha256(model.encode()).hexdigest(),
        openapi_schema=msgspec.Raw(b'{"openapi":"3.0.2"}'),
        cog_version="0.1",
        concurrency=1,
        granted=1,
    )


def serve(data: Path, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [COGFLARE, "serve", "--data", str(data), "--port", str(port), "--log-level", "error"],
        stdout=subprocess.DEVNULL,
    )
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.02)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def worker_token(data: Path) -> str:
    made = subprocess.run(
        [COGFLARE, "token", "create", "bench", "--worker", "default", "--json", "--data", str(data)],
        capture_output=True,
        check=True,
    )
    return str(json.loads(made.stdout)["token"])


async def measure(count: int, port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        process = serve(data, port)
        fleet = Fleet(count, f"http://127.0.0.1:{port}", worker_token(data))
        running = asyncio.create_task(fleet.run())
        try:
            for what, number in (("first", None), ("SIGTERM", signal.SIGTERM), ("kill -9", signal.SIGKILL)):
                fleet.refused, began = 0, time.monotonic()
                if number is not None:
                    process.send_signal(number)
                    process.wait()
                    await fleet.all_away()
                    process = await asyncio.to_thread(serve, data, port)
                await fleet.all_attached()
                waits = sorted(at - began for at in fleet.attached.values())
                print(
                    f"{what}: {count} agents attached; half within {statistics.median(waits):.1f} s, "
                    f"all within {waits[-1]:.1f} s; {fleet.refused} asked to come later; "
                    f"server {_resident(process.pid) / 2**20:.0f} MiB"
                )
        finally:
            running.cancel()
            process.kill()
            process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--port", type=int, default=8231)
    options = parser.parse_args()
    asyncio.run(measure(options.agents, options.port))
