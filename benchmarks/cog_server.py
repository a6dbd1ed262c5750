"""Measures cog-server beside Cog's own server, 0.23.1: the same models, clients and machine, in turns.

Each round starts every server anew, ours and theirs one after the other; figures are medians of the rounds.
Times are of good answers only: the original refuses some of a single client's requests, and that is quick.
"""

import argparse
import base64
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cog_originals import ROOT, command, installed
from http_load import Load, many, one, request
from processes import COGFLARE, free_port, stop
from report import filesystem_of, machine, met, write_into

THEIRS = "0.23.1"
SERVERS = ("ours", THEIRS)
BEGIN, END = "<!-- figures: made by benchmarks/cog_server.py -->", "<!-- end of cog-server's figures -->"
MIB = 1 << 20
MODELS = {
    "echo": """\
from cog import BasePredictor

class Predictor(BasePredictor):
    def predict(self, text: str) -> str:
        return text
""",
    "tenms": """\
import asyncio
from cog import BasePredictor

class Predictor(BasePredictor):
    async def predict(self, text: str) -> str:
        await asyncio.sleep(0.01)
        return text
""",
    "yields": """\
from typing import Iterator
from cog import BasePredictor

class Predictor(BasePredictor):
    def predict(self, count: int) -> Iterator[int]:
        yield from range(count)
""",
    "copy": """\
import os, shutil, tempfile
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, file: Path) -> Path:
        target = os.path.join(tempfile.mkdtemp(), "copy.bin")
        shutil.copyfile(file, target)
        return Path(target)
""",
}
ECHO = request("/predictions", b'{"input":{"text":"hello"}}')
YIELD = request("/predictions", b'{"input":{"count":100}}')
COPY = request(
    "/predictions",
    b'{"input":{"file":"data:application/octet-stream;base64,' + base64.b64encode(os.urandom(MIB)) + b'"}}',
)


class Figure:
    """One line of the table: what each server's rounds gave."""

    def __init__(self, name: str, unit: str, *, more_is_better: bool = False) -> None:
        self.name = name
        self.unit = unit
        self.more_is_better = more_is_better
        self.found: dict[str, list[float]] = {server: [] for server in SERVERS}

    def median(self, server: str) -> float:
        return statistics.median(self.found[server])

    @property
    def better(self) -> bool:
        ours, theirs = (self.median(server) for server in SERVERS)
        return ours > theirs if self.more_is_better else ours < theirs

    def row(self) -> str:
        ours, theirs = (self.median(server) for server in SERVERS)
        ratio = ours / theirs if self.more_is_better else theirs / ours
        cells = [self.name, f"{_shown(ours)} {self.unit}", f"{_shown(theirs)} {self.unit}", f"{ratio:.2f}"]
        return f"| {' | '.join(cells)} | {met(self.better)} |"


class Bench:
    """All measurements, one round after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.figures: dict[str, Figure] = {}
        self.refused: dict[str, tuple[int, int]] = dict.fromkeys(SERVERS, (0, 0))
        """Of the one client that waits for each answer: refusals, and requests."""
        self.crowd: dict[str, list[float]] = {server: [] for server in SERVERS}
        """Shares of good answers for 8 clients at once."""
        self.queued: list[Load] = []
        self.stuck = dict.fromkeys(SERVERS, 0)
        """How often one refused everything from some request on, and was started anew."""

    def round(self, seconds: float) -> None:
        for server in SERVERS:
            self._boot(server)
        for server in SERVERS:
            self._echo(server, seconds)
        for server in SERVERS:
            with self._running(server, "tenms", concurrency=32) as (port, _):
                many(port, ECHO, clients=32, seconds=0.5, good=_good)
                load = many(port, ECHO, clients=32, seconds=seconds, good=_good)
                self._note("async, 32 slots of 10 ms, 32 clients", "/s", server, load.per_s, more=True)
        for server in SERVERS:
            load = self._one(server, "yields", YIELD, 20, 200)
            self._note("100 yields, p50", "ms", server, load.quantile_s(0.5) * 1000)
        for server in SERVERS:
            load = self._one(server, "copy", COPY, 5, 50)
            self._note("1 MiB file in and out, p50", "ms", server, load.quantile_s(0.5) * 1000)
        with self._running("ours", "echo", "--queue-size", "64") as (port, _):
            self.queued.append(many(port, ECHO, clients=32, seconds=seconds, good=_good))

    def _one(self, server: str, model: str, sent: bytes, warm: int, rounds: int) -> Load:
        """One client. A server of Cog's that refuses everything from some request on is started anew."""
        for _ in range(3):
            with self._running(server, model) as (port, _):
                load = _warm(port, sent, warm, rounds)
            if load.good:
                return load
            self.stuck[server] += 1
            print(f"{model}, {server}: {load.statuses}, started anew", file=sys.stderr, flush=True)
        raise SystemExit(f"bench: answers {load.statuses}")

    def _boot(self, server: str) -> None:
        for _ in range(3):
            began = time.perf_counter()
            with self._running(server, "echo"):
                self._note("start to READY", "ms", server, (time.perf_counter() - began) * 1000)

    def _echo(self, server: str, seconds: float) -> None:
        with self._running(server, "echo") as (port, pid):
            load = _warm(port, ECHO, 300, 3000)
            if not load.good:
                raise SystemExit(f"bench: answers {load.statuses}")
            refused, asked = self.refused[server]
            self.refused[server] = refused + load.statuses.get(409, 0), asked + sum(load.statuses.values())
            self._note("one client, p50", "ms", server, load.quantile_s(0.5) * 1000)
            self._note("one client, p99", "ms", server, load.quantile_s(0.99) * 1000)
            load = one(port, ECHO, rounds=100, good=_good, gap_s=0.02)
            self._note("one client with 20 ms between, p50", "ms", server, load.quantile_s(0.5) * 1000)
            load = many(port, ECHO, clients=1, seconds=seconds, good=_good)
            self._note("good answers, 1 client", "/s", server, load.per_s, more=True)
            load = many(port, ECHO, clients=8, seconds=seconds, good=_good)
            self._note("good answers, 8 clients, no queue", "/s", server, load.per_s, more=True)
            self.crowd[server].append(load.good / sum(load.statuses.values()))
            self._note("memory of both processes afterwards", "MB", server, _memory_bytes(pid) / 1e6)

    def _note(self, name: str, unit: str, server: str, value: float, *, more: bool = False) -> None:
        figure = self.figures.setdefault(name, Figure(name, unit, more_is_better=more))
        figure.found[server].append(value)
        print(f"{name}, {server}: {_shown(value)} {unit}", file=sys.stderr, flush=True)

    @contextmanager
    def _running(
        self, server: str, model: str, *options: str, concurrency: int = 1
    ) -> Iterator[tuple[int, int]]:
        """A server that is READY: its port and its process."""
        port = free_port()
        folder = self._folder / model
        if server == "ours":
            words = [COGFLARE, "cog-server", str(folder), "--port", str(port), *options]
            environment = dict(os.environ)
        else:
            words, environment = command(server, port)
        if concurrency > 1:
            environment["COG_MAX_CONCURRENCY"] = str(concurrency)
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            _until_ready(port, process)
            yield port, process.pid
        finally:
            stop(process)

    def markdown(self) -> str:
        refused = {
            server: f"{refused:,} of {asked:,} ({refused / asked:.1%})"
            for server, (refused, asked) in self.refused.items()
        }
        crowd = {server: f"{statistics.median(shares):.0%}" for server, shares in self.crowd.items()}
        good = sum(load.good for load in self.queued)
        asked = sum(sum(load.statuses.values()) for load in self.queued)
        per_s = statistics.median(load.per_s for load in self.queued)
        return "\n".join(
            [
                f"| | cog-server | Cog {THEIRS} | times better | aim: better |",
                "|---|--:|--:|--:|---|",
                *(figure.row() for figure in self.figures.values()),
                "",
                f"One client that waits for each answer was refused {refused['ours']} times by cog-server,"
                f" and {refused[THEIRS]} times by Cog (aim 0: {met(not self.refused['ours'][0])}). Of 8"
                f" clients' answers without a queue {crowd['ours']} were good, and {crowd[THEIRS]} of Cog's."
                f" Started anew as all was refused: {self.stuck['ours']} and {self.stuck[THEIRS]} times."
                f" With `--queue-size 64`, {good:,} of {asked:,} answers to 32 clients were good"
                f" (aim all: {met(good == asked)}), {per_s:,.0f} a second.",
                "",
                *machine(
                    filesystem_of(self._folder),
                    "servers, models and clients",
                    ("cogflare", "uvicorn", "uvloop", "httptools", "msgspec"),
                ),
                f"- Cog {THEIRS} and coglet {THEIRS} from the package index, in an environment of their own",
                "- repeat with `make bench-cog-server`",
            ]
        )


def _warm(port: int, sent: bytes, warm: int, rounds: int) -> Load:
    one(port, sent, rounds=warm, good=_good)
    load = one(port, sent, rounds=rounds, good=_good)
    bad = {status for status in load.statuses if status not in (200, 409)}
    if bad:
        raise SystemExit(f"bench: answers {load.statuses}")
    return load


def _good(status: int, body: bytes) -> bool:
    return status == 200 and b'"status":"succeeded"' in body


def _until_ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    asked = request("/health-check", b"", "GET")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            if one(port, asked, rounds=1, good=lambda _, body: json.loads(body)["status"] == "READY").good:
                return
        time.sleep(0.001)
    raise SystemExit(f"bench: a server on port {port} did not become ready")


def _memory_bytes(pid: int) -> int:
    """Resident memory of a process and of all below it."""
    kib = 0
    for each in (pid, *_below(pid)):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                kib += int(line.split()[1])
    return kib * 1024


def _below(pid: int) -> Iterator[int]:
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            yield child
            yield from _below(child)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of everything (default 5)")
    parser.add_argument("--seconds", type=float, default=2, help="length of a throughput run (default 2)")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the figures between the marks of FILE"
    )
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    installed(THEIRS)
    build = ROOT / "build"
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=build))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for name, source in MODELS.items():
            (folder / name).mkdir()
            (folder / name / "predict.py").write_text(source)
        bench = Bench(folder)
        for _ in range(options.rounds):
            bench.round(options.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(bench.markdown())
    if options.write:
        write_into(options.write, bench.markdown(), BEGIN, END)
    return 0


if __name__ == "__main__":
    sys.exit(main())
