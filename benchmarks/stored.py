"""Measures the API beside 1,000,000 stored predictions: create, get, and each kind of list, and the memory.

The index is filled through its own code with ended predictions of one account; the server and an agent are
real. Each request is asked one after the other on one connection, so that its time is its own.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from processes import HERE, Cogflare, ProcessFailed, cogflare
from report import write_into

from coordinator.ids import Ids
from coordinator.prediction import Document, Status
from coordinator.store.database import Store
from edge.data_dir import DataDir

STORED = 1_000_000
BATCH = 1000
APART_US = 2_000_000
"""Between two predictions: a million of them are 23 days."""
ROUNDS = 500
FAILED = 0.05
MODEL, RARE = "bench/model-000", "bench/model-001"
RARE_EVERY = 100_000
ANSWER = "a light at the end of the pier, turning, " * 10
INPUT = {"prompt": "a light at the end of the pier"}
BEGIN, END = "<!-- stored's figures: made by make bench-stored -->", "<!-- end of stored's figures -->"

Ask = Callable[[httpx.Client], httpx.Response]


@dataclass(frozen=True)
class Times:
    """Of one kind of request, in ascending order."""

    what: str
    took_ms: Sequence[float]

    def at(self, share: float) -> float:
        return self.took_ms[min(len(self.took_ms) - 1, int(len(self.took_ms) * share))]


# --- the index ---------------------------------------------------------------------------------------------


async def fill(data: DataDir, count: int) -> list[str]:
    """Store so many ended predictions; gives some of their ids, from all of the time that they took."""
    ids = Ids(data.key("prediction ids"))
    store = await Store.open(data.database_url, clock=lambda: int(time.time() * 1e6))
    number = await store.objects.number("default", MODEL)
    begin, chance, sample = int(time.time() * 1e6) - count * APART_US, random.Random(1), []
    for first in range(0, count, BATCH):
        documents = [
            _document(ids.make(number), n, begin, chance) for n in range(first, min(first + BATCH, count))
        ]
        await store.index.upsert(documents)
        sample.append(chance.choice(documents).id)
    await store.close()
    return sample


def _document(id: str, n: int, begin: int, chance: random.Random) -> Document:
    at = begin + n * APART_US
    failed = chance.random() < FAILED
    return Document(
        id=id,
        account="default",
        token="tok_bench",
        pool="default",
        model=RARE if n % RARE_EVERY == RARE_EVERY // 2 else MODEL,
        version="a" * 64,
        created_at=at,
        started_at=at + 50_000,
        completed_at=at + 1_200_000,
        input=json.dumps({**INPUT, "seed": n}).encode(),
        status=Status.FAILED if failed else Status.SUCCEEDED,
        output=None if failed else json.dumps(ANSWER).encode(),
        error="the model said so" if failed else None,
        logs="step 1\nstep 2\nstep 3\n",
        metrics=b'{"predict_time":1.15}',
        sequence=3,
    )


# --- what is asked -----------------------------------------------------------------------------------------


def questions(sample: Sequence[str], begin: int, count: int) -> Iterator[tuple[str, Ask]]:
    """(what it is called, how it is asked)."""
    chance = random.Random(2)
    middle = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((begin + count * APART_US // 2) / 1e6))
    cursors = ["/v1/predictions"]

    def following(client: httpx.Client) -> httpx.Response:
        answer = client.get(cursors[-1])
        cursors.append(answer.json()["next"] or cursors[0])
        return answer

    def listing(**query: str) -> Ask:
        return lambda client: client.get("/v1/predictions", params=query)

    yield "create", lambda client: client.post("/v1/predictions", json={"model": MODEL, "input": INPUT})
    yield (
        "create with `Prefer: wait`",
        lambda client: client.post(
            "/v1/predictions", json={"model": MODEL, "input": INPUT}, headers={"Prefer": "wait"}
        ),
    )
    yield "get, of all ages", lambda client: client.get(f"/v1/predictions/{chance.choice(sample)}")
    yield "list, first page", listing()
    yield "list, page after page", following
    yield "list, before the middle", listing(created_before=middle)
    yield "list, `status=failed`", listing(status="failed")
    yield "list, `status=starting`: none", listing(status="starting")
    yield "list, a model with 10", listing(model=RARE)
    yield "list, a model with none", listing(model="bench/unknown")
    yield "list, a model with 10, failed", listing(model=RARE, status="failed")


def ask(server: Cogflare, rounds: int, sample: Sequence[str], begin: int, count: int) -> list[Times]:
    found = []
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120) as client:
        for what, question in questions(sample, begin, count):
            took = []
            deadline = time.monotonic() + 20
            for _ in range(rounds):
                asked = time.perf_counter()
                question(client).raise_for_status()
                took.append((time.perf_counter() - asked) * 1000)
                if time.monotonic() > deadline and len(took) >= 5:
                    break
            found.append(Times(what, sorted(took)))
            print(f"{what}: p50 {found[-1].at(0.5):.2f} ms", file=sys.stderr, flush=True)
    return found


# --- a run -------------------------------------------------------------------------------------------------


def measure(folder: Path, stored: int, rounds: int) -> str:
    """The figures with none stored and with so many, as a table."""
    with cogflare(folder / "none", models=2, commit_delay_s=0) as server:
        base = {each.what: each for each in ask(server, rounds, _some(server), 0, 0)}
        base_mb = _memory_mb(server)
    with cogflare(folder / "many", models=2, commit_delay_s=0) as server:
        begin = int(time.time() * 1e6) - stored * APART_US
        sample = asyncio.run(fill(DataDir(server.data), stored))
        before_mb = _memory_mb(server)
        times = ask(server, rounds, sample, begin, stored)
        after_mb = _memory_mb(server)
        size = sum(path.stat().st_size for path in server.data.glob("control.db*")) / 1e6
    lines = [
        f"| with {stored:,} stored | p50 ms | p99 ms | with none, p50 ms | times |",
        "|---|--:|--:|--:|--:|",
    ]
    for each in times:
        other = base[each.what].at(0.5)
        lines.append(
            f"| {each.what} | {each.at(0.5):.2f} | {each.at(0.99):.2f} | {other:.2f} | "
            f"{each.at(0.5) / other:.1f} |"
        )
    lines += [
        "",
        f"Server: {before_mb:.0f} MB before the first question and {after_mb:.0f} MB after the last "
        f"({base_mb:.0f} MB with none stored). The control database has {size:,.0f} MB.",
        "",
        f"- {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; {os.cpu_count()} cores for server, agent "
        f"and client; Python {platform.python_version()}",
        "- repeat with `make bench-stored`",
    ]
    return "\n".join(lines)


def _some(server: Cogflare) -> list[str]:
    """Ids of predictions that have ended."""
    headers = {"Authorization": f"Bearer {server.token}", "Prefer": "wait"}
    body = {"model": MODEL, "input": INPUT}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        return [client.post("/v1/predictions", json=body).json()["id"] for _ in range(200)]


def _memory_mb(server: Cogflare) -> float:
    status = Path(f"/proc/{server.server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stored", type=int, default=STORED, help="how many predictions (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="requests of each kind (%(default)s)")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the figures between the marks of FILE"
    )
    options = parser.parse_args()
    build = HERE.parent / "build"
    build.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="stored-", dir=build))
    try:
        page = measure(folder, options.stored, options.rounds)
    except ProcessFailed as error:
        print(f"bench-stored: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(page)
    if options.write:
        write_into(options.write, page, BEGIN, END)
    return 0


if __name__ == "__main__":
    sys.exit(main())
