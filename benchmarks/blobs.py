"""Measures one large output: from the model's hands to ``succeeded``, with files on disk and in SeaweedFS.

The model has the file ready before it is asked: what is timed is hashing it, storing it, and checking it.
Beside it, in the same run, plain ``curl -T`` brings the file to the same disk, fsynced as ours is, and to the
same bucket.
"""

import argparse
import asyncio
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import httpx
from processes import COGFLARE, HERE, ProcessFailed, child, create_token, free_port, ready
from report import write_into

from coordinator.blobs.place import S3Place, place_of
from coordinator.blobs.s3 import S3Blobs
from tests.support.seaweed import SeaweedFS

MIB = 1024 * 1024
BYTES = 1024 * MIB
ROUNDS = 3
MODEL = "bench/large"
DEADLINE_S = 300.0
BEGIN, END = "<!-- blobs' figures: made by make bench-blobs -->", "<!-- end of blobs' figures -->"
PREDICTOR = """\
import os, pathlib, tempfile
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, source: str) -> Path:
        target = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path(source).parent)) / "large.bin"
        os.link(source, target)
        return Path(target)
"""


@dataclass(frozen=True)
class Figures:
    """Of one storage. Rates in MB/s; memory in MB over what each process had before."""

    where: str
    ours: float
    curl: float
    agent_mb: float
    server_mb: float


# --- processes --------------------------------------------------------------------------------------------


@contextmanager
def system(
    folder: Path, storage: str, environment: dict[str, str]
) -> Iterator[tuple[httpx.Client, int, int]]:
    """A server, and an agent that serves the model; gives a client and both pids."""
    folder.mkdir()
    (folder / "model").mkdir()
    (folder / "model" / "predict.py").write_text(PREDICTOR)
    (folder / "model" / "cog.yaml").write_text("predict: predict.py:Predictor\n")
    port, data = free_port(), folder / "data"
    url = f"http://127.0.0.1:{port}"
    serve = [COGFLARE, "serve", "--port", str(port), "--data", str(data), "--log-level", "warning"]
    if storage:
        serve += ["--storage", storage]
    agent = [COGFLARE, "agent", "--server", url, "--model", f"{MODEL}={folder / 'model'}"]
    agent += ["--state", str(folder / "state")]
    with ExitStack() as stack:
        server = stack.enter_context(child("serve", serve, folder / "server.log", environment))
        _until(lambda: ready(url), "the server", folder / "server.log")
        token = create_token(data, "bench")
        worker = {"COGFLARE_TOKEN": create_token(data, "bench-agent", "--worker", "default")}
        worked = stack.enter_context(child("agent", agent, folder / "agent.log", worker))
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        stack.enter_context(client)
        _until(
            lambda: client.get(f"/v1/models/{MODEL}").status_code == 200, "the agent", folder / "agent.log"
        )
        yield client, worked.pid, server.pid


def _until(holds: object, what: str, log: Path) -> None:
    assert callable(holds)
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            raise ProcessFailed(f"{what} is not ready:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def predict_s(client: httpx.Client, source: Path) -> float:
    """Time from asking for the file to its being stored and checked."""
    began = time.perf_counter()
    made = client.post("/v1/predictions", json={"model": MODEL, "input": {"source": str(source)}}).json()
    while time.perf_counter() - began < DEADLINE_S:
        now = client.get(f"/v1/predictions/{made['id']}").json()
        if now["status"] == "succeeded":
            return time.perf_counter() - began
        if now["status"] in ("failed", "canceled"):
            raise ProcessFailed(f"the prediction ended as {now['status']}: {now['error']}")
        time.sleep(0.02)
    raise ProcessFailed(f"the prediction did not end within {DEADLINE_S:g} s")


def curl_s(source: Path, url: str, headers: dict[str, str]) -> float:
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    began = time.perf_counter()
    subprocess.run(["curl", "-sSf", "-T", str(source), *options, url], check=True, stdout=subprocess.DEVNULL)
    if url.startswith("file://"):
        subprocess.run(["sync", url.removeprefix("file://")], check=True)
    return time.perf_counter() - began


# --- memory -----------------------------------------------------------------------------------------------


def idle_mb(pid: int) -> float:
    """What a process has now; from here on its peak counts."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _memory_mb(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    return _memory_mb(pid, "VmHWM")


def _memory_mb(pid: int, what: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


# --- measuring --------------------------------------------------------------------------------------------


def measure(folder: Path, where: str, source: Path, rounds: int, store: SeaweedFS | None) -> Figures:
    storage = "" if store is None else store.url("bench")
    environment = {} if store is None else store.environment
    size_mb = source.stat().st_size / 1e6
    with source.open("rb") as file:
        sha256 = file_digest(file, "sha256").hexdigest()
    target, headers = "", dict[str, str]()
    ours, curl = [], []
    with system(folder / where, storage, environment) as (client, agent, server):
        small = folder / "small"
        small.write_bytes(b"x")
        predict_s(client, small)  # what is loaded by the first one is not the large one's
        before = idle_mb(agent), idle_mb(server)
        for number in range(rounds):
            if store is None:
                target = f"file://{folder}/copy-{number}"
            else:
                target, headers = asyncio.run(signed(store, sha256, source.stat().st_size, number))
            curl.append(size_mb / curl_s(source, target, headers))
            ours.append(size_mb / predict_s(client, source))
        after = peak_mb(agent), peak_mb(server)
    return Figures(where, max(ours), max(curl), after[0] - before[0], after[1] - before[1])


async def signed(store: SeaweedFS, sha256: str, length: int, number: int) -> tuple[str, dict[str, str]]:
    """Where plain curl may put the file, in the same bucket."""
    os.environ.update(store.environment)
    place = place_of(store.url("curl"))
    assert isinstance(place, S3Place)
    blobs = await S3Blobs.open(place)
    try:
        direct = await blobs.put_url(
            f"{number}/large.bin",
            length=length,
            sha256=sha256,
            content_type="application/octet-stream",
            ttl_s=600,
        )
    finally:
        await blobs.close()
    assert direct is not None
    return direct.url, direct.headers


def page(figures: list[Figures], size: int, rounds: int) -> str:
    lines = [
        f"| one output of {size // MIB} MiB | agent to `succeeded`, MB/s | `curl -T`, MB/s | ratio "
        "| agent, MB over idle | server, MB over idle |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.where} | {each.ours:.0f} | {each.curl:.0f} | {each.ours / each.curl:.2f} "
        f"| {each.agent_mb:.0f} | {each.server_mb:.0f} |"
        for each in figures
    ]
    return "\n".join(
        [
            *lines,
            "",
            f"- {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; the best of {rounds}; {os.cpu_count()} "
            f"cores for model, agent, server, store and client; Python {platform.python_version()}",
            "- repeat with `make bench-blobs`",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=BYTES // MIB, help="size of the output (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="outputs of each storage (%(default)s)")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the figures between the marks of FILE"
    )
    options = parser.parse_args()
    build = HERE.parent / "build"
    build.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="blobs-", dir=build))
    try:
        source = folder / "large.bin"
        with source.open("wb") as file:
            for _ in range(options.mib):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())
        figures = [measure(folder, "disk", source, options.rounds, None)]
        with SeaweedFS(folder / "seaweed") as store:
            figures.append(measure(folder, "SeaweedFS", source, options.rounds, store))
    except ProcessFailed as error:
        print(f"bench-blobs: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = page(figures, options.mib * MIB, options.rounds)
    print(text)
    if options.write:
        write_into(options.write, text, BEGIN, END)
    return 0


if __name__ == "__main__":
    sys.exit(main())
