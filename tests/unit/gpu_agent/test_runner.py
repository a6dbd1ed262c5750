"""The parent side of a model's process, with real processes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gpu_agent.model_dir import ModelDir
from gpu_agent.runner import Result, Runner, SetupFailed, Update
from gpu_agent.runner_types import FileOutput

SYNC = """\
import ctypes, os, subprocess, sys, tempfile, time
from typing import Any, Optional
from cog import BasePredictor, Path, Secret, BaseModel, current_scope
import enum, collections, datetime, io

class Answer(BaseModel):
    text: str
    picture: Path

class Kind(enum.Enum):
    A = "a"

class Predictor(BasePredictor):
    def setup(self):
        print("setting up", flush=True)
        self.libc = ctypes.CDLL(None)
        self.lazy = ctypes.PyDLL(None)

    def predict(self, do: str = "echo", text: str = "hi", image: Optional[Path] = None) -> Any:
        return getattr(self, do)(text)

    def echo(self, text):
        return text

    def token(self, text):
        return os.environ.get("COGFLARE_TOKEN", "none")

    def prints(self, text):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        self.libc.puts(b"from C")
        subprocess.run(["echo", "from a child"])
        return None

    def long_line(self, text):
        sys.stdout.write("x" * 1_000_000 + "end")

    def flood(self, text):
        for _ in range(64):
            sys.stdout.write("y" * 65_536)
        print("last")

    def sleep(self, text):
        print("asleep", flush=True)
        time.sleep(60)

    def c_sleep(self, text):
        print("asleep", flush=True)
        self.lazy.sleep(60)

    def die(self, text):
        print("last words", flush=True)
        os.kill(os.getpid(), signal_number(text))

    def left_behind(self, text):
        subprocess.Popen(["sh", "-c", "while sleep 0.01; do echo late; done"])
        return "left"

    def nan(self, text):
        return {"a": [1.0, float("nan")]}

    def missing(self, text):
        return [Path("/no/such/file.png")]

    def bytes(self, text):
        return b"abc"

    def loop(self, text):
        found = []
        found.append(found)
        return found

    def falsy(self, text):
        return [0, "", False, None, [], {}, 0.0]

    def surrogate(self, text):
        return "a\\ud800b"

    def many_kinds(self, text):
        return collections.OrderedDict(
            kind=Kind.A, secret=Secret("hush"), day=datetime.date(2024, 1, 2), some=(1, 2), key={1: {2}},
            words=(word for word in ["a"]),
        )

    def files(self, text):
        folder = tempfile.mkdtemp()
        with open(folder + "/a b.png", "wb") as file:
            file.write(b"png")
        return collections.OrderedDict(
            answer=Answer(text="null", picture=Path(folder) / "a b.png"),
            memory=[io.BytesIO(b"memory"), "/etc/hostname"],
        )

def signal_number(text):
    import signal
    return getattr(signal, text)
"""

STREAM = """\
from collections.abc import Iterator
from typing import Any
from cog import BasePredictor, Path, current_scope

class Predictor(BasePredictor):
    def predict(self, n: int, fail: bool = False, files: bool = False) -> Iterator[Any]:
        for i in range(n):
            if files:
                Path("out.txt").write_text(str(i))
            current_scope().record_metric("i", i) if n < 10 else None
            print("log", i) if n < 10 else None
            yield {"n": [i, Path("out.txt")]} if files else i
        if fail:
            raise RuntimeError("midway")
"""

ASYNC = """\
import asyncio, time
from cog import BasePredictor, AsyncConcatenateIterator

class Predictor(BasePredictor):
    async def predict(
        self, text: str, block: bool = False, wait: bool = False
    ) -> AsyncConcatenateIterator[str]:
        print("begin", text)
        yield text
        if block:
            time.sleep(60)
        if wait:
            await asyncio.sleep(60)
        yield "!"
"""

ODD = """\
import os, sys, time
from typing import Any, Dict, Optional
from cog import BasePredictor, Secret, current_scope

class Predictor(BasePredictor):
    def setup(self):
        if os.path.exists("broken"):
            raise RuntimeError("broken")
        self.health = True

    def healthcheck(self):
        if self.health == "slow":
            time.sleep(60)
        return self.health

    def predict(self, do: str = "", keys: Optional[Dict[str, Secret]] = None, health: Any = True) -> Any:
        self.health = health
        if do == "die":
            os._exit(7)
        if do == "tell":
            value = keys["a"].get_secret_value()
            sys.stdout.write("the key is " + value[:4])
            sys.stdout.flush()
            time.sleep(0.05)
            print(value[4:])
            raise ValueError("bad key " + value)
        return current_scope().context

def train(steps: int) -> int:
    return steps * 2
"""

Start = Callable[..., Awaitable[Runner]]


class Updates(list[Update]):
    """Collects updates and lets a test wait for what they say."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def __call__(self, update: Update) -> None:
        self.append(update)
        self._changed.set()

    @property
    def logs(self) -> str:
        return "".join(update.logs for update in self)

    @property
    def items(self) -> list[Any]:
        return [item for update in self for item in update.items]

    async def until(self, condition: Callable[["Updates"], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    runners: list[Runner] = []

    async def make(source: str, *, concurrency: int = 1, train_ref: str = "", **options: Any) -> Runner:
        folder = tmp_path / f"model-{len(runners)}"
        folder.mkdir()
        (folder / "predict.py").write_text(source)
        model = ModelDir(folder, "predict.py:Predictor", concurrency, "0" * 64, train_ref)
        options.setdefault("python", sys.executable)
        runners.append(Runner(model, work_dir=tmp_path / "work", **options))
        await runners[-1].start()
        return runners[-1]

    yield make
    for runner in runners:
        await runner.stop(5.0)
        await runner.stop(5.0)
    assert not list((tmp_path / "work").iterdir())


async def run(runner: Runner, updates: Updates | None = None, **input: Any) -> Result:
    on_update = Updates() if updates is None else updates
    return await runner.predict(f"p{time.monotonic_ns()}", input, on_update, timeout_s=20.0)


async def test_outputs(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGFLARE_TOKEN", "cf_agent")
    runner = await start(SYNC)
    assert (await run(runner, text="ä\u2028")).output == "ä\u2028"
    assert (await run(runner, do="token")).output == "none"
    assert (await run(runner, do="falsy")).output == [0, "", False, None, [], {}, 0.0]
    assert (await run(runner, do="surrogate")).output == "a?b"
    assert (await run(runner, do="many_kinds")).output == {
        "kind": "a",
        "secret": "**********",
        "day": "2024-01-02",
        "some": [1, 2],
        "key": {"1": [2]},
        "words": ["a"],
    }
    for do, error in (
        ("nan", "output/a/1: nan is not a number in JSON"),
        ("missing", "output/0: the output file cannot be read"),
        ("bytes", "output: bytes cannot be an output"),
        ("loop", "output: is nested too deeply, or holds itself"),
    ):
        result = await run(runner, do=do)
        assert (result.status, result.error_code) == ("failed", "invalid_output")
        assert result.error is not None
        assert error in result.error
    refused = await run(runner, do=1, image="/no/such")
    assert refused.error == "do: must be a string, not an integer; image: there is no such file"
    assert refused.error_code == "invalid_input"
    result = await run(runner, do="no_such_method")
    assert result.error_code == "model_error"
    assert result.logs.startswith("Traceback (most recent call last):\n")


async def test_files(start: Start, tmp_path: Path) -> None:
    runner = await start(SYNC)
    result = await runner.predict("../../x", {"do": "files"}, Updates())
    assert result.output == {"answer": {"text": "null", "picture": None}, "memory": [None, "/etc/hostname"]}
    picture, memory = result.files
    assert picture == FileOutput("/answer/picture", picture.path, "a b.png", "image/png")
    assert memory.pointer == "/memory/0"
    assert (picture.path.read_bytes(), memory.path.read_bytes()) == (b"png", b"memory")
    assert picture.path.is_relative_to(tmp_path / "work")
    runner.release("../../x")
    assert not picture.path.parent.exists()
    runner.release("unknown")
    # The temporary directory goes after the answer, and before the next prediction begins.
    async with asyncio.timeout(5):
        while list((tmp_path / "work").glob("*/*/tmp/*/*")):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_logs(start: Start) -> None:
    lines: list[str] = []
    runner = await start(SYNC, log=lines.append)
    assert lines == ["setting up"]
    updates = Updates()
    result = await run(runner, updates, do="prints")
    assert sorted(result.logs.splitlines()) == ["from C", "from a child", "to stderr", "to stdout"]
    assert updates.logs == result.logs
    assert (await run(runner)).logs == ""
    assert (await run(runner, do="long_line")).logs == "x" * 1_000_000 + "end"
    flood = await run(runner, do="flood")
    assert flood.logs.startswith("[... 3145733 bytes of the log were left out ...]\ny")
    assert flood.logs.endswith("y" * 100 + "last\n")
    assert (await run(runner, do="left_behind")).output == "left"
    for _ in range(5):
        assert (await run(runner)).logs == ""


async def test_items_in_order_with_metrics_and_files(start: Start) -> None:
    runner = await start(STREAM)
    updates = Updates()
    result = await runner.predict("a", {"n": 3, "files": True}, updates)
    assert result.output == [{"n": [0, None]}, {"n": [1, None]}, {"n": [2, None]}]
    assert [file.pointer for file in result.files] == ["/0/n/1", "/1/n/1", "/2/n/1"]
    assert [file.path.read_text() for file in result.files] == ["0", "1", "2"]
    assert [item.value for item in updates.items] == result.output
    assert [item.files[0].pointer for item in updates.items] == ["/n/1"] * 3
    assert updates.logs == result.logs == "log 0\nlog 1\nlog 2\n"
    assert result.metrics["i"] == 2
    assert result.metrics["predict_time"] > 0
    assert [value for update in updates for value in update.metrics.values()][-1] == 2
    failed = await run(runner, n=2, fail=True)
    assert (failed.status, failed.error, failed.output) == ("failed", "midway", [0, 1])
    assert (await run(runner, n=0)).output == []


async def test_cancel_in_a_sleep_and_in_c(start: Start) -> None:
    runner = await start(SYNC)
    for do in ("sleep", "c_sleep"):
        updates = Updates()
        task = asyncio.create_task(runner.predict(do, {"do": do}, updates))
        await updates.until(lambda found: "asleep" in found.logs)
        began = time.perf_counter()
        runner.cancel(do, 10.0 if do == "sleep" else 0.3)
        result = await task
        assert (result.status, result.error, result.error_code) == ("canceled", None, None)
        assert result.logs == "asleep\n"
        assert time.perf_counter() - began < 2.0
    # Killing it was the way for the second: another process is there soon, and predictions wait for it.
    assert (await run(runner, text="again")).output == "again"
    runner.cancel("unknown", 1.0)


async def test_a_prediction_that_takes_too_long(start: Start) -> None:
    runner = await start(SYNC, kill_grace_s=5.0)
    result = await runner.predict("a", {"do": "sleep"}, Updates(), timeout_s=0.2)
    assert (result.status, result.error_code) == ("failed", "timeout")


async def test_a_caller_that_leaves_takes_its_prediction_along(start: Start) -> None:
    runner = await start(SYNC)
    updates = Updates()
    task = asyncio.create_task(runner.predict("a", {"do": "sleep"}, updates))
    await updates.until(lambda found: "asleep" in found.logs)
    with pytest.raises(ValueError, match="running already"):
        await runner.predict("a", {}, updates)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await run(runner)).status == "succeeded"
    with pytest.raises(ValueError, match="JSON"):
        await run(runner, text=float("nan"))


async def test_a_crash_fails_only_what_ran(start: Start) -> None:
    lines: list[str] = []
    runner = await start(SYNC, log=lines.append)
    for name in ("SIGKILL", "SIGSEGV"):
        result = await run(runner, do="die", text=name)
        assert (result.status, result.error_code) == ("failed", "runner_crashed")
        assert result.error is not None
        assert f"was ended by {name}" in result.error
        assert result.logs == "last words\n"
        assert (await run(runner, text="again")).output == "again"
    assert lines.count("setting up") == 3


async def test_a_prediction_that_the_crashed_process_had_not_begun_is_run_by_the_next(start: Start) -> None:
    runner = await start(SYNC)
    updates = Updates()
    # One that nothing but a signal that kills can end: the second is not begun in the meantime.
    first = asyncio.create_task(runner.predict("first", {"do": "c_sleep"}, updates))
    await updates.until(lambda found: found.logs)
    second = asyncio.create_task(run(runner, text="second"))
    await asyncio.sleep(0)
    runner.cancel("first", 0.0)
    assert (await first).status == "canceled"
    assert (await second).output == "second"


async def test_several_at_a_time(start: Start) -> None:
    runner = await start(ASYNC, concurrency=3)
    updates = [Updates() for _ in range(3)]
    tasks = [
        asyncio.create_task(runner.predict(str(n), {"text": str(n), "wait": True}, updates[n]))
        for n in range(3)
    ]
    for n in range(3):
        await updates[n].until(lambda found: found.items and found.logs)
        assert updates[n].logs == f"begin {n}\n"
    runner.cancel("1", 5.0)
    assert (await tasks[1]).status == "canceled"
    assert (await run(runner, text="x")).output == ["x", "!"]
    for n in (0, 2):
        runner.cancel(str(n), 5.0)
        assert (await tasks[n]).output == [str(n)]


async def test_an_async_model_that_blocks_is_killed_when_canceled(start: Start) -> None:
    runner = await start(ASYNC, concurrency=1)
    updates = Updates()
    task = asyncio.create_task(runner.predict("a", {"text": "a", "block": True}, updates))
    await updates.until(lambda found: found.items)
    runner.cancel("a", 0.2)
    assert (await task).status == "canceled"
    assert (await run(runner, text="b")).output == ["b", "!"]


async def test_several_runners_under_one_parent(start: Start) -> None:
    runners = [await start(STREAM) for _ in range(3)]
    results = await asyncio.gather(*(run(runner, n=200 + n) for n, runner in enumerate(runners)))
    assert [len(result.output) for result in results] == [200, 201, 202]


async def test_setup_that_fails(start: Start, tmp_path: Path) -> None:
    head = "class Predictor:\n    def setup(self):\n        print('here')\n        "
    tail = "\n    def predict(self) -> str:\n        return ''\n"
    for line, reason, refused in (
        ("1 / 0", "ZeroDivisionError: division by zero", False),
        ("exit(4)", r"setup called sys.exit\(4\)", False),
        ("import os; os.abort()", "was ended by SIGABRT during setup", False),
        ("import time; time.sleep(60)", "longer than 0.5 s", False),
        ("pass\n    def predict(self): pass", "missing return type annotation", True),
    ):
        with pytest.raises(SetupFailed, match=reason) as caught:
            await start(
                "import sys; sys.stdout.reconfigure(line_buffering=True)\n"
                + head
                + line
                + (tail if not refused else ""),
                setup_timeout_s=0.5 if "sleep" in line else 10.0,
            )
        assert caught.value.refused is refused
        assert ("here" in caught.value.logs) is not refused
    with pytest.raises(SetupFailed, match="cannot be started") as caught:
        await start(SYNC, python="/no/such/python")
    assert caught.value.refused


async def test_stop_lets_a_short_prediction_finish_and_ends_a_long_one(start: Start) -> None:
    runner = await start(ASYNC)
    task = asyncio.create_task(run(runner, text="short"))
    await asyncio.sleep(0)
    await runner.stop(5.0)
    assert (await task).status == "succeeded"
    assert (await run(runner, text="late")).error_code == "runner_stopped"
    runner = await start(SYNC)
    updates = Updates()
    task = asyncio.create_task(run(runner, updates, do="sleep"))
    await updates.until(lambda found: found.logs)
    await runner.stop(0.1)
    assert (await task).error_code == "runner_stopped"


async def test_a_prediction_that_waits_for_a_process_can_be_canceled(start: Start, tmp_path: Path) -> None:
    runner = await start(
        "import os, time\nclass Predictor:\n    def setup(self):\n"
        "        while os.path.exists('hold'): time.sleep(0.01)\n"
        "    def predict(self, die: bool = False) -> str:\n"
        "        if die: os._exit(1)\n        return 'ok'\n"
    )
    hold = tmp_path / "model-0" / "hold"
    hold.touch()
    assert (await run(runner, die=True)).error_code == "runner_crashed"
    waiting = asyncio.create_task(runner.predict("w", {}, Updates()))
    await asyncio.sleep(0)
    runner.cancel("w", 1.0)
    assert (await waiting).status == "canceled"
    late = await runner.predict("l", {}, Updates(), timeout_s=0.05)
    assert late.error_code == "timeout"
    hold.unlink()
    assert (await run(runner)).output == "ok"


async def test_the_work_directory_forgets_a_crashed_process(start: Start, tmp_path: Path) -> None:
    runner = await start(SYNC)
    kept = await runner.predict("kept", {"do": "files"}, Updates())
    (work,) = (tmp_path / "work").iterdir()
    assert (await run(runner, do="die", text="SIGKILL")).status == "failed"
    assert (await run(runner)).status == "succeeded"
    assert sorted(path.name for path in work.iterdir()) == ["1", "2"]
    assert [path.name for path in (work / "1").iterdir()] == ["out"]
    assert kept.files[0].path.read_bytes() == b"png"


async def test_hangup_signals_from_elsewhere_are_harmless(start: Start) -> None:
    runner = await start(SYNC)
    os.kill(os.getpid(), signal.SIGHUP)
    assert (await run(runner)).output == "hi"


async def test_context(start: Start) -> None:
    runner = await start(ODD)
    result = await runner.predict("own-name", {}, Updates(), context={"trace": "t"})
    assert result.output == {"id": "own-name", "trace": "t"}
    result = await runner.predict("attempt-1", {}, Updates(), context={"id": "prediction"})
    assert result.output == {"id": "prediction"}


async def test_secrets_are_in_no_log_and_no_error(start: Start) -> None:
    runner = await start(ODD)
    updates = Updates()
    result = await run(runner, updates, do="tell", keys={"a": "k-12345678"})
    assert result.error == "bad key **********"
    assert result.logs.startswith("the key is **********\nTraceback")
    assert "k-12" not in result.logs
    assert "k-12" not in updates.logs
    assert updates.logs == result.logs


async def test_healthcheck(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = await start(ODD)
    assert await runner.check_health() is None
    await run(runner, health=False)
    first, second = await asyncio.gather(runner.check_health(), runner.check_health())
    assert first == second == "user-defined healthcheck returned False"
    await run(runner, health="slow")
    monkeypatch.setattr("gpu_agent.health.LIMIT_S", 0.05)
    assert await runner.check_health() == "the healthcheck took longer than 0.05 s"
    # Predictions go on meanwhile.
    assert (await run(runner)).status == "succeeded"


async def test_a_model_without_a_healthcheck_is_well(start: Start) -> None:
    assert await (await start(ASYNC)).check_health() is None


async def test_a_runner_that_trains(start: Start) -> None:
    runner = await start(ODD, train_ref="predict.py:train", mode="train")
    assert (await run(runner, steps=3)).output == 6


async def test_a_model_that_fails_again_and_again_is_defunct(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_agent.runner.FIRST_DELAY_S", 0.001)
    monkeypatch.setattr("gpu_agent.runner.LONGEST_DELAY_S", 0.01)
    lines: list[str] = []
    runner = await start(ODD, log=lines.append)
    (tmp_path / "model-0" / "broken").touch()
    crashed = await run(runner, do="die")
    assert crashed.error == "the model's process exited with code 7"
    # Whoever waits for the process is told as soon as it is known that it will not come.
    waiting = await run(runner)
    assert (waiting.status, waiting.error_code) == ("failed", "runner_defunct")
    assert runner.defunct
    assert await runner.check_health() == "the model's process is not ready"
    assert (
        (await run(runner)).error
        == waiting.error
        == "the model is defunct: its process failed 5 times in a row"
    )
    assert sum("is defunct" in line for line in lines) == 1
    # It is tried again all the same.
    (tmp_path / "model-0" / "broken").unlink()
    async with asyncio.timeout(10):
        await runner.ready.wait()
    assert not runner.defunct
    assert (await run(runner)).status == "succeeded"


async def test_a_module_that_is_missing_is_named(start: Start) -> None:
    with pytest.raises(SetupFailed) as caught:
        await start("import no_such_module_of_ours\n")
    assert (caught.value.missing_module, caught.value.refused) == ("no_such_module_of_ours", False)
