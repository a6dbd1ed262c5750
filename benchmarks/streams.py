"""Measures many readers of one prediction's stream: how long a delta takes from the agent to each and to the
last of them, what each costs in memory and processor time, and what readers cost that do not read.

Server and agent are real and speak the agent's websocket; agent and readers share a process, so that one
clock times a delta. The readers are bare sockets.
"""

import argparse
import asyncio
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import uvloop
from fake_agent import Counts, FakeAgent
from processes import COGFLARE, HERE, ProcessFailed, cpu_s, create_token, free_port
from report import write_into
from room import Server, serving, working

from coordinator.protocol.messages import Accepted, Attach, Dispatch, Event, Finished, Progress, ServerMessage

BODY = {"model": "bench/model-000", "input": {"prompt": "a light at the end of the pier"}}
SCHEMA = msgspec.Raw(
    b'{"openapi":"3.0.2","components":{"schemas":{"Input":{"type":"object","properties":{}},'
    b'"Output":{"type":"array","items":{"type":"string"},"x-cog-array-type":"iterator"}}}}'
)
SLOW_BYTES = 8 * 1024 * 1024
"""What is said to those that do not read."""
WITHIN_S = 30.0
SETTLE_S = 1.0
BEGIN, END = "<!-- streams' figures: made by make bench-streams -->", "<!-- end of streams' figures -->"
_DELTA = re.compile(rb"data: (\d+) ")


class Speaker(FakeAgent):
    """Takes one prediction and says of it what it is told to."""

    def __init__(self) -> None:
        super().__init__(range(1), 1, Counts())
        self.begun = asyncio.Event()
        self.sent: dict[int, float] = {}
        """When each delta left."""
        self._dispatch: Dispatch
        self._seq = 0

    def _attach(self, channel: int) -> Attach:
        return msgspec.structs.replace(super()._attach(channel), openapi_schema=SCHEMA)

    def _answer(self, message: ServerMessage) -> list[bytes]:
        if not isinstance(message, Dispatch):
            return super()._answer(message)
        self._dispatch = message
        self._seq = 0
        self.sent.clear()
        self.begun.set()
        accepted = Accepted(
            channel=message.channel, prediction=message.prediction, attempt=message.attempt, started_at=1
        )
        return [self._session.send(accepted)]

    async def say(self, text: str) -> int:
        """One delta; gives its number."""
        self._seq += 1
        one = self._dispatch
        data = msgspec.Raw(msgspec.json.encode(f"{self._seq} {text}"))
        event = Event(seq=self._seq, kind="output", data=data)
        progress = Progress(
            channel=one.channel, prediction=one.prediction, attempt=one.attempt, events=(event,)
        )
        self.sent[self._seq] = time.monotonic()
        await self.socket.send(self._session.send(progress), text=True)
        return self._seq

    async def finish(self) -> None:
        one = self._dispatch
        finished = Finished(
            channel=one.channel,
            prediction=one.prediction,
            attempt=one.attempt,
            secret=one.secret,
            status="canceled",
            started_at=1,
            completed_at=2,
        )
        self.begun.clear()
        await self.socket.send(self._session.send(finished), text=True)
        credit = self._session.offer(one.channel, 1)
        if credit is not None:
            await self.socket.send(self._session.send(credit), text=True)


class Crowd:
    """The readers: when each of them got each delta."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.greeted = 0
        self.ended = 0
        self.heard: dict[int, list[float]] = {}
        self.more = asyncio.Event()

    async def until(self, what: str, of: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while getattr(self, what) < of:
                self.more.clear()
                await self.more.wait()

    async def all_heard(self, number: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while len(self.heard.get(number, ())) < self.count:
                self.more.clear()
                await self.more.wait()


class Listener(asyncio.Protocol):
    """One reader on a bare socket. ``reads``: else it stops as soon as the stream has begun."""

    def __init__(self, crowd: Crowd, path: str, *, reads: bool) -> None:
        self._crowd = crowd
        self._path = path
        self._reads = reads
        self._greeted = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(f"GET {self._path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self._greeted and b": hi\n" in data:
            self._greeted = True
            self._crowd.greeted += 1
            if not self._reads:
                self._transport.pause_reading()
        for number in _DELTA.findall(data):
            self._crowd.heard.setdefault(int(number), []).append(now)
        self._crowd.more.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._crowd.ended += 1
        self._crowd.more.set()

    def leave(self) -> None:
        self._transport.abort()


@dataclass(frozen=True)
class Figures:
    """Times in ms from the agent's send: to any reader, and to the last one of each delta."""

    listeners: int
    deltas: int
    per_s: float
    p50_ms: float
    p99_ms: float
    last_p50_ms: float
    last_p99_ms: float
    cpu_us: float
    each_kb: float
    slow: int
    slow_kb: float
    rss_mb: float


def prepare(data: Path) -> tuple[str, str]:
    """A data directory; gives a client's token and an agent's."""
    subprocess.run([COGFLARE, "migrate", "--data", str(data)], check=True, capture_output=True)
    return create_token(data, "bench"), create_token(data, "agent", "--worker", "default")


async def begin(server: Server, speaker: Speaker) -> str:
    """Create a prediction that the speaker has; gives the path of its stream."""
    async with server.client() as client:
        answer = await client.post("/v1/predictions", json=BODY)
    if answer.status_code != 201:
        raise ProcessFailed(f"the creation was answered {answer.status_code}: {answer.text}")
    async with asyncio.timeout(WITHIN_S):
        await speaker.begun.wait()
    return str(answer.json()["urls"]["stream"]).removeprefix(server.url)


async def gather(server: Server, path: str, count: int, *, reads: bool) -> tuple[Crowd, list[Listener]]:
    crowd = Crowd(count)
    port = int(server.url.rpartition(":")[2])
    loop = asyncio.get_running_loop()
    listeners = []
    for _ in range(count):
        _, listener = await loop.create_connection(
            lambda: Listener(crowd, path, reads=reads), "127.0.0.1", port
        )
        listeners.append(listener)
    await crowd.until("greeted", count)
    await asyncio.sleep(SETTLE_S)
    return crowd, listeners


async def measure(folder: Path, listeners: int, deltas: int, per_s: float, slow: int) -> Figures:
    data = folder / "data"
    tokens = await asyncio.to_thread(prepare, data)
    speaker = Speaker()
    async with serving(data, free_port(), *tokens) as server, working(server, speaker):
        path = await begin(server, speaker)
        await gather(server, path, 1, reads=True)  # what is there once, however many read
        before = server.memory_mb("VmRSS")
        crowd, readers = await gather(server, path, listeners, reads=True)
        each_kb = (server.memory_mb("VmRSS") - before) * 1024 / listeners
        used = cpu_s(server.pid)
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in range(deltas):
            await asyncio.sleep(max(0.0, start + number / per_s - loop.time()))
            await speaker.say("words of a story, as they come")
        await crowd.all_heard(deltas)
        used = cpu_s(server.pid) - used
        times = sorted((at - speaker.sent[n]) * 1000 for n, all in crowd.heard.items() for at in all)
        if len(times) != deltas * listeners:
            raise ProcessFailed(f"{len(times)} deltas were heard instead of {deltas * listeners}")
        last = sorted((max(all) - speaker.sent[n]) * 1000 for n, all in crowd.heard.items())
        for reader in readers:
            reader.leave()
        await speaker.finish()

        path = await begin(server, speaker)
        witness, _ = await gather(server, path, 1, reads=True)
        before = server.memory_mb("VmRSS")
        _, deaf = await gather(server, path, slow, reads=False)
        chunk = "x" * 32 * 1024
        for _ in range(SLOW_BYTES // len(chunk)):
            number = await speaker.say(chunk)
            await witness.all_heard(number)
        await asyncio.sleep(SETTLE_S)
        slow_kb = (server.memory_mb("VmRSS") - before) * 1024 / slow
        rss_mb = server.memory_mb("VmRSS")
        for reader in deaf:
            reader.leave()
        with suppress(Exception):
            await speaker.finish()
    return Figures(
        listeners,
        deltas,
        per_s,
        _at(times, 0.5),
        _at(times, 0.99),
        _at(last, 0.5),
        _at(last, 0.99),
        used * 1e6 / len(times),
        each_kb,
        slow,
        slow_kb,
        rss_mb,
    )


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def markdown(found: Figures) -> str:
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    load = os.getloadavg()[0]
    deaf = f"each of {found.slow} that do not read, while {SLOW_BYTES >> 20} MiB are said"
    return "\n".join(
        [
            f"| {found.listeners} readers, {found.deltas} deltas, {found.per_s:g} a second | |",
            "|---|--:|",
            f"| agent to reader, p50 | {found.p50_ms:.1f} ms |",
            f"| agent to reader, p99 | {found.p99_ms:.1f} ms |",
            f"| agent to the last reader, p50 | {found.last_p50_ms:.1f} ms |",
            f"| agent to the last reader, p99 | {found.last_p99_ms:.1f} ms |",
            f"| CPU of the server, each delta to each reader | {found.cpu_us:.0f} µs |",
            f"| memory of the server, each reader | {found.each_kb:.0f} KB |",
            f"| {deaf} | {found.slow_kb:.0f} KB |",
            f"| the server in all, with those | {found.rss_mb:.0f} MB |",
            "",
            f"- {now}; {os.cpu_count()} cores for server, agent and readers, load {load:.1f}; "
            f"Python {platform.python_version()}",
            "- repeat with `make bench-streams`",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the figures between the marks of FILE"
    )
    parser.add_argument("--listeners", type=int, default=500)
    parser.add_argument("--deltas", type=int, default=100)
    parser.add_argument("--per-s", type=float, default=10.0)
    parser.add_argument("--slow", type=int, default=100)
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    build = HERE.parent / "build"
    build.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="streams-", dir=build))
    try:
        found = uvloop.run(measure(folder, given.listeners, given.deltas, given.per_s, given.slow))
    except (ProcessFailed, TimeoutError) as error:
        print(f"bench-streams: {error!r}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    page = markdown(found)
    print(page)
    if given.write:
        write_into(given.write, page, BEGIN, END)
    return 0


if __name__ == "__main__":
    sys.exit(main())
