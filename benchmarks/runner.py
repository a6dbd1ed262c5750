"""Measures what running a model by files and signals costs, through our own parent and through anybody's.

Each model is a real coglet process with a trivial predictor. In the same run, around the round trips, a bare
pair of processes exchanges one file and one signal each way: the floor of such a transport. The run fails if
an answer is not the one expected.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from report import filesystem_of, write_into
from runner_report import BEGIN, END, Figures, Times

from gpu_agent.model_dir import ModelDir
from gpu_agent.runner import Loaded, Runner, Update

HERE = Path(__file__).parent
SLOTS = 32
MB = 1_000_000
MIB = 1 << 20

ECHO = """\
from cog import BasePredictor

class Predictor(BasePredictor):
    def predict(self, n: int) -> int:
        return n
"""
TELLS_ITS_PROCESS = (
    ECHO
    + """
    def setup(self) -> None:
        import os
        print(os.getpid())
"""
)
ECHO_ASYNC = """\
from cog import BasePredictor

class Predictor(BasePredictor):
    async def predict(self, n: int) -> int:
        return n
"""
COUNT = """\
from collections.abc import Iterator
from cog import BasePredictor

class Predictor(BasePredictor):
    def predict(self, n: int) -> Iterator[int]:
        yield from range(n)
"""
COPY = """\
import os, shutil, tempfile
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, file: Path) -> Path:
        target = os.path.join(tempfile.mkdtemp(), "copy.bin")
        shutil.copyfile(file, target)
        return Path(target)
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5000, help="round trips measured (default 5000)")
    parser.add_argument("--starts", type=int, default=20, help="fresh processes started (default 20)")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the figures between the marks of FILE"
    )
    options = parser.parse_args()
    if not Path("/proc/self/status").exists():
        print("bench: needs Linux", file=sys.stderr)
        return 1
    # An installed package has its bytecode; a source tree gets it from the first start, if it may be written.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    build = HERE.parent / "build"
    build.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=build))
    try:
        figures = asyncio.run(Bench(folder, options.rounds, options.starts).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(figures.markdown())
    if options.write:
        write_into(options.write, figures.markdown(), BEGIN, END)
    return 0


class Bench:
    """All measurements, one after the other, below one folder."""

    def __init__(self, folder: Path, rounds: int, starts: int) -> None:
        self._folder = folder
        self._rounds = rounds
        self._starts = starts
        self._made = 0

    async def run(self) -> Figures:
        floor = [self._floor()]
        interpreter = self._interpreter()
        ready = await self._ready()
        floor.append(self._floor())
        round_trip, rss_at_first, rss_after = await self._round_trip()
        anybody = self._alone("any_parent.py", str(self._model(ECHO, 1).path), str(self._fresh()))
        floor.append(self._floor())
        # From here on much is written, and the disk busy with it.
        return Figures(
            floor=tuple(floor),
            interpreter=interpreter,
            ready=ready,
            round_trip=round_trip,
            anybody=anybody,
            many_per_s=await self._many_at_a_time(),
            slots=SLOTS,
            items=await self._items(),
            files=await self._files(),
            rss_at_first_bytes=rss_at_first,
            rss_after_bytes=rss_after,
            filesystem=filesystem_of(self._folder),
        )

    def _fresh(self) -> Path:
        self._made += 1
        path = self._folder / str(self._made)
        path.mkdir()
        return path

    def _model(self, source: str, concurrency: int) -> ModelDir:
        path = self._fresh()
        (path / "predict.py").write_text(source)
        return ModelDir(path, "predict.py:Predictor", concurrency, "0" * 64)

    @asynccontextmanager
    async def _running(self, model: ModelDir) -> AsyncIterator[tuple[Runner, Loaded]]:
        runner = Runner(model, python=sys.executable, work_dir=self._fresh())
        try:
            yield runner, await runner.start()
        finally:
            await runner.stop(5.0)

    # --- what is measured -------------------------------------------------------------------------------

    def _floor(self) -> Times:
        return self._alone("bare_pair.py", str(self._fresh()))

    def _alone(self, script: str, *arguments: str) -> Times:
        """A parent in a process of its own, as signals are a process's."""
        command = [sys.executable, str(HERE / script), *arguments, str(self._rounds)]
        run = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
        return _say(script, Times.of(json.loads(run.stdout)[self._warm :]))

    @property
    def _warm(self) -> int:
        """Rounds that do not count."""
        return self._rounds // 10

    def _interpreter(self) -> Times:
        times = []
        for _ in range(self._starts):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            times.append((time.perf_counter() - began) * 1e6)
        return _say("python -c pass", Times.of(times))

    async def _ready(self) -> Times:
        model = self._model(ECHO, 1)
        async with self._running(model):
            pass  # the first makes the bytecode
        times = []
        for _ in range(self._starts):
            began = time.perf_counter()
            async with self._running(model):
                times.append((time.perf_counter() - began) * 1e6)
        return _say("start to ready", Times.of(times))

    async def _round_trip(self) -> tuple[Times, int, int]:
        """Times, and what the process holds in memory after its setup and after all of them."""
        async with self._running(self._model(TELLS_ITS_PROCESS, 1)) as (runner, loaded):
            process = int(loaded.setup_logs)
            before = rss_bytes(process)
            times = [await self._once(runner, number) for number in range(self._rounds)]
            after = rss_bytes(process)
        return _say("round trip", Times.of(times[self._warm :])), before, after

    async def _once(self, runner: Runner, number: int) -> float:
        began = time.perf_counter_ns()
        await _expect(runner, str(number), {"n": number}, number)
        return (time.perf_counter_ns() - began) / 1000

    async def _many_at_a_time(self) -> float:
        async with self._running(self._model(ECHO_ASYNC, SLOTS)) as (runner, _):

            async def one_after_the_other(first: int, count: int) -> None:
                for number in range(first, first + count):
                    await _expect(runner, str(number), {"n": number}, number)

            async def all_slots(first: int, each: int) -> float:
                began = time.perf_counter()
                async with asyncio.TaskGroup() as group:
                    for slot in range(SLOTS):
                        group.create_task(one_after_the_other(first + slot * each, each))
                return SLOTS * each / (time.perf_counter() - began)

            each = max(1, self._rounds // SLOTS)
            await all_slots(0, max(1, each // 10))
            per_s = await all_slots(SLOTS * each, each)
        print(f"{SLOTS} at a time: {per_s:,.0f}/s", file=sys.stderr, flush=True)
        return per_s

    async def _items(self) -> dict[int, Times]:
        found = {}
        async with self._running(self._model(COUNT, 1)) as (runner, _):
            for count, times in ((100, 50), (100_000, 5)):

                async def predict(count: int = count) -> None:
                    await _expect(runner, str(count), {"n": count}, list(range(count)))

                found[count] = _say(f"{count} yields", await _timed(predict, times))
        return found

    async def _files(self) -> dict[int, tuple[Times, Times]]:
        """By size: in and out through the model, which copies it, and the copy alone."""
        found = {}
        async with self._running(self._model(COPY, 1)) as (runner, _):
            for size, times in ((MIB, 30), (100 * MB, 5)):
                original = self._folder / "original.bin"
                original.write_bytes(os.urandom(MIB) * (size // MIB) + bytes(size % MIB))
                copy = self._folder / "copy.bin"

                async def alone(original: Path = original, copy: Path = copy) -> None:
                    shutil.copyfile(original, copy)
                    copy.unlink()  # noqa: ASYNC240 - nothing else runs

                async def predict(original: Path = original, size: int = size) -> None:
                    result = await runner.predict("file", {"file": str(original)}, _ignore)
                    if result.status != "succeeded" or result.files[0].path.stat().st_size != size:
                        raise RuntimeError(f"not the file that went in: {result}")
                    runner.release("file")

                base = _say(f"copy of {size:,} bytes", await _timed(alone, times))
                found[size] = _say("the same through a model", await _timed(predict, times)), base
        return found


async def _expect(runner: Runner, id: str, input: dict[str, Any], output: Any) -> None:
    result = await runner.predict(id, input, _ignore)
    runner.release(id)
    if result.output != output:
        raise RuntimeError(f"not the answer: {result}")


async def _timed(call: Callable[[], Awaitable[None]], times: int) -> Times:
    await call()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        found.append((time.perf_counter() - began) * 1e6)
    return Times.of(found)


def rss_bytes(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def _ignore(_update: Update) -> None:
    pass


def _say(name: str, times: Times) -> Times:
    print(f"{name}: p50 {times.p50_us:,.0f} µs, p99 {times.p99_us:,.0f} µs", file=sys.stderr, flush=True)
    return times


if __name__ == "__main__":
    sys.exit(main())
