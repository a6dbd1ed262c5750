"""What gets through between the agent and its models' processes when signals are lost and processes die."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gpu_agent.model_dir import ModelDir
from gpu_agent.runner import Result, Runner, SetupFailed, Update

PRINTS_ITS_PROCESS = """\
    def setup(self):
        import os
        print(os.getpid(), flush=True)
"""
ECHO = (
    """\
class Predictor:
    def predict(self, text: str) -> str:
        return text

"""
    + PRINTS_ITS_PROCESS
)
COUNT = (
    """\
from collections.abc import Iterator

class Predictor:
    def predict(self, n: int, die: bool = False) -> Iterator[int]:
        for i in range(n):
            yield i
        if die:
            print("about to", flush=True)
            import time
            time.sleep(60)

"""
    + PRINTS_ITS_PROCESS
)
COPIES = """\
import os, tempfile
from cog import Path

class Predictor:
    def predict(self, file: Path) -> Path:
        path = os.path.join(tempfile.mkdtemp(), "copy.bin")
        with open(path, "wb") as copy, open(file, "rb") as original:
            copy.write(original.read())
        return Path(path)
"""
SETUP_WITH_A_CHILD = """\
import os, subprocess, time

class Predictor:
    def setup(self):
        print(os.getpid(), subprocess.Popen(["sleep", "60"]).pid, flush=True)
        time.sleep(60)

    def predict(self) -> str:
        return ""
"""

DEAF = (
    """\
import os, signal, time

class Predictor:
    def predict(self) -> str:
        handler = signal.signal(signal.SIGIO, signal.SIG_IGN)
        print("deaf", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.005)
        signal.signal(signal.SIGIO, handler)
        time.sleep(60)
        return ""

"""
    + PRINTS_ITS_PROCESS
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
Start = Callable[..., Awaitable[Runner]]


class Said:
    """What a model prints in its setup, which a test can wait for."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, line: str) -> None:
        self._lines.put_nowait(line)

    async def first(self) -> str:
        async with asyncio.timeout(10):
            return await self._lines.get()


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    runners: list[Runner] = []

    async def make(source: str, **options: Any) -> Runner:
        folder = tmp_path / f"model-{len(runners)}"
        folder.mkdir()
        (folder / "predict.py").write_text(source)
        model = ModelDir(folder, "predict.py:Predictor", 1, "0" * 64)
        runners.append(Runner(model, python=sys.executable, work_dir=tmp_path / "work", **options))
        await runners[-1].start()
        return runners[-1]

    yield make
    for runner in runners:
        await runner.stop(5.0)


def _ignore(_update: Update) -> None:
    pass


async def run(runner: Runner, id: str, **input: Any) -> Result:
    return await runner.predict(id, input, _ignore, timeout_s=20.0)


def _counted(process: int | str) -> dict[str, int]:
    """Bytes that a process has read and written so far, by the kernel's count."""
    lines = Path(f"/proc/{process}/io").read_text().splitlines()
    return {name: int(count) for name, count in (line.split(": ") for line in lines)}


@contextmanager
def deaf() -> Iterator[None]:
    """Signals of models' processes are thrown away meanwhile, as if they had never been sent."""
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, handler)


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - of files, whose signals are what is tested
            await asyncio.sleep(0.002)


async def test_a_lost_signal_is_made_up_for_by_the_next_of_any_runner(start: Start, tmp_path: Path) -> None:
    deafened, other = await start(ECHO), await start(ECHO)
    with deaf():
        waiting = asyncio.create_task(run(deafened, "lost", text="lost"))
        await _until(lambda: list((tmp_path / "work").glob("*/*/response-*.json")))
    assert not waiting.done()
    assert (await run(other, "next", text="next")).output == "next"
    async with asyncio.timeout(10):
        assert (await waiting).output == "lost"


async def test_signals_of_several_runners_that_become_one_lose_nothing(start: Start, tmp_path: Path) -> None:
    runners = [await start(ECHO) for _ in range(3)]
    with deaf():
        tasks = [asyncio.create_task(run(runner, "same", text=str(n))) for n, runner in enumerate(runners)]
        await _until(lambda: len(list((tmp_path / "work").glob("*/*/response-*.json"))) == 3)
    assert not any(task.done() for task in tasks)
    os.kill(os.getpid(), signal.SIGHUP)  # the one that is left of three
    async with asyncio.timeout(10):
        assert [(await task).output for task in tasks] == ["0", "1", "2"]


@linux
async def test_each_of_100_000_items_is_written_read_and_told_once(start: Start) -> None:
    said = Said()
    runner = await start(COUNT, log=said)
    process = int(await said.first())
    updates: list[Update] = []
    model, ours = _counted(process), _counted("self")
    result = await runner.predict("a", {"n": 100_000}, updates.append, timeout_s=60.0)
    written = _counted(process)["wchar"] - model["wchar"]
    read = _counted("self")["rchar"] - ours["rchar"]
    assert result.output == list(range(100_000))
    assert [item.value for update in updates for item in update.items] == result.output
    lines = sum(len(f'{{"output":{n}}}\n') for n in range(100_000))
    # Beside the lines: the response, and for each look a byte that says that there was one.
    assert written < lines + len(updates) + 5000
    assert read < lines + 10 * len(updates) + 5000


async def test_large_files_go_through_files(start: Start, tmp_path: Path) -> None:
    data = os.urandom(1 << 16) * 128
    (tmp_path / "large.bin").write_bytes(data)
    runner = await start(COPIES)
    result = await run(runner, "a", file=str(tmp_path / "large.bin"))
    (file,) = result.files
    assert file.path.read_bytes() == data
    assert (result.output, file.name) == (None, "copy.bin")
    runner.release("a")
    assert not file.path.exists()


async def test_what_a_killed_runner_has_yielded_and_printed_is_kept(start: Start) -> None:
    said = Said()
    runner = await start(COUNT, log=said)
    process = int(await said.first())
    printed = asyncio.Event()

    def on_update(update: Update) -> None:
        if update.logs:
            printed.set()

    task = asyncio.create_task(runner.predict("a", {"n": 1000, "die": True}, on_update))
    async with asyncio.timeout(10):
        await printed.wait()
        os.kill(process, signal.SIGKILL)
        result = await task
    assert (result.status, result.error_code) == ("failed", "runner_crashed")
    assert (result.output, result.logs) == (list(range(1000)), "about to\n")
    assert (await run(runner, "b", n=1)).output == [0]


async def test_a_cancelation_whose_signal_is_lost_is_signaled_again(start: Start, tmp_path: Path) -> None:
    lines: list[str] = []
    runner = await start(DEAF, log=lines.append)
    deaf = asyncio.Event()
    task = asyncio.create_task(runner.predict("a", {}, lambda update: deaf.set() if update.logs else None))
    async with asyncio.timeout(10):
        await deaf.wait()
        runner.cancel("a", 60.0)
        await _until(lambda: list((tmp_path / "work").glob("*/*/cancel-*")))
        (tmp_path / "model-0" / "go").touch()
        assert (await task).status == "canceled"
    assert len(lines) == 1  # the same process


@linux
async def test_a_runner_that_is_terminated_in_setup_takes_its_children_along(start: Start) -> None:
    said = Said()
    starting = asyncio.create_task(start(SETUP_WITH_A_CHILD, log=said))
    process, child = map(int, (await said.first()).split())
    os.kill(process, signal.SIGTERM)
    with pytest.raises(SetupFailed, match="was ended by SIGTERM during setup") as caught:
        await starting
    assert not caught.value.refused
    await _until(lambda: not _alive(child))


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
