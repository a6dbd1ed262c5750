"""What gets through between coglet and its parent, whatever becomes of the signals and of either process."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.ears import EARS

Start = Callable[..., Any]

GATED = """\
class Predictor:
    def predict(self, text: str = "", gated: bool = False) -> str:
        if gated:
            print("at the gate", flush=True)
            with open("gate") as gate:
                gate.read()
        return text
"""
GATED_ASYNC = """\
import asyncio

class Predictor:
    async def predict(self, text: str = "", gated: bool = False) -> str:
        await asyncio.sleep(0)
        return text
"""
COUNT = """\
from collections.abc import Iterator

class Predictor:
    def predict(self, n: int) -> Iterator[int]:
        yield from range(n)
"""
LONG = """\
import time
from collections.abc import Iterator

class Predictor:
    def predict(self, mebibytes: int, prints: int) -> Iterator[str]:
        for _ in range(mebibytes):
            yield "x" * (1 << 20)
        for n in range(prints):
            print(n, flush=True)
            time.sleep(0.01)
"""
LINE = """\
class Predictor:
    def predict(self, n: int) -> str:
        print("x" * n, end="")
        return ""
"""
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
MIB = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def _written_bytes(process: int) -> int:
    """What a process has handed to the kernel so far."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{process}/io").read_text().splitlines())
    return int(fields["wchar"])


def _not_read_yet(coglet: Any, id: str) -> bool:
    return (coglet.work / f"request-{id}.json").exists()


# --- signals that are not heard ---------------------------------------------------------------------------


def test_a_burst_while_busy_is_answered_whole_for_a_parent_that_hears_no_signal(start_coglet: Start) -> None:
    coglet = start_coglet(GATED)
    os.mkfifo(coglet.work.parent / "model" / "gate")
    coglet.setup_result()
    coglet.write("request-gate.json", {"input": {"gated": True}})
    coglet.until(lambda: "at the gate" in (coglet.read("response-gate.json") or {"logs": ""})["logs"])
    for n in range(50):
        coglet.write(f"request-{n}.json", {"input": {"text": str(n)}})
    coglet.write("stop")
    (coglet.work.parent / "model" / "gate").write_text("open")
    # The signals stay where they are: blocked, merged, unread.
    assert coglet.process.wait(10) == 0
    assert [coglet.read(f"response-{n}.json")["output"] for n in range(50)] == [str(n) for n in range(50)]


@pytest.mark.parametrize("source", [GATED, GATED_ASYNC], ids=["sync", "async"])
def test_signals_to_a_stopped_coglet_become_one_and_lose_nothing(start_coglet: Start, source: str) -> None:
    coglet = start_coglet(source, "--max-concurrency", "1" if source is GATED else "4")
    coglet.setup_result()
    os.kill(coglet.process.pid, signal.SIGSTOP)
    for n in range(20):
        coglet.write(f"request-{n}.json", {"input": {"text": str(n)}})
    coglet.write("cancel-7")
    assert all(_not_read_yet(coglet, str(n)) for n in range(20))
    os.kill(coglet.process.pid, signal.SIGCONT)
    for n in range(20):
        response = coglet.response(str(n))
        expected = ("canceled", None) if n == 7 else ("succeeded", str(n))
        assert (response["status"], response["output"]) == expected
    assert not [path for path in coglet.work.iterdir() if path.name.startswith(("request-", "cancel-"))]


def test_a_parent_that_ignores_a_signal_learns_everything_from_the_next(start_coglet: Start) -> None:
    coglet = start_coglet(GATED, "--events")
    coglet.setup_result()
    coglet.write("request-a.json", {"input": {"text": "a"}})
    assert EARS.hear(10.0, signal.SIGHUP) is not None  # heard, and nothing done about it
    coglet.write("request-b.json", {"input": {"text": "b"}})
    assert EARS.hear(10.0, signal.SIGHUP) is not None
    assert [coglet.read(f"response-{id}.json")["output"] for id in "ab"] == ["a", "b"]


def test_a_rung_bell_is_not_rung_again_until_the_parent_looks(start_coglet: Start) -> None:
    coglet = start_coglet(COUNT, "--events", before=lambda work: (work / "bell").touch())
    coglet.setup_result()
    assert (coglet.work / "bell").read_bytes() == b"1"
    coglet.write("request-a.json", {"input": {"n": 1000}})
    coglet.write("stop")
    assert coglet.process.wait(10) == 0
    assert EARS.hear(0.0, signal.SIGHUP) is None
    assert (
        len((coglet.work / "events-a.jsonl").read_text().splitlines())
        == coglet.read("response-a.json")["items"]
    )


def test_two_under_one_parent_are_told_apart_by_their_directories(
    start_coglet: Start, tmp_path: Path
) -> None:
    one = start_coglet(GATED)
    (tmp_path / "other").mkdir()
    other = type(one)(
        tmp_path / "model", tmp_path / "other", sys.executable, "--predictor", "predict.py:Predictor"
    )
    try:
        one.setup_result()
        other.setup_result()
        for n in range(20):
            for coglet, name in ((one, "one"), (other, "other")):
                coglet.write(f"request-{n}.json", {"input": {"text": f"{name} {n}"}})
        for n in range(20):
            assert one.response(str(n))["output"] == f"one {n}"
            assert other.response(str(n))["output"] == f"other {n}"
    finally:
        other.end()


MEDDLING = """\
import signal

def meddle():
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)

class Predictor:
    def setup(self):
        meddle()

    def predict(self, text: str) -> str:
        meddle()
        return text
"""


def test_a_model_that_takes_the_signal_for_itself_is_woken_again(start_coglet: Start) -> None:
    coglet = start_coglet(MEDDLING)
    coglet.setup_result()
    for text in "abc":
        coglet.until(lambda: signal.SIGUSR1 in coglet.signals)
        coglet.signals.clear()
        _until(lambda: _sleeps(coglet.process.pid))
        assert coglet.predict(text, text=text)["output"] == text


def _sleeps(process: int) -> bool:
    """Whether it waits for something, if that can be told."""
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "S"


# --- much ------------------------------------------------------------------------------------------------


@linux
def test_each_of_100_000_items_is_written_once(start_coglet: Start) -> None:
    coglet = start_coglet(COUNT, "--events")
    coglet.setup_result()
    before = _written_bytes(coglet.process.pid)
    assert coglet.predict("a", n=100_000)["items"] == 100_000
    events = (coglet.work / "events-a.jsonl").read_bytes()
    assert events == b"".join(b'{"output":%d}\n' % n for n in range(100_000))
    # Beside them: the response, and a byte here and there to wake itself.
    assert _written_bytes(coglet.process.pid) - before < len(events) + 5000
    assert sorted(path.name for path in coglet.work.iterdir()) == [
        "events-a.jsonl",
        "logs",
        "openapi.json",
        "out",
        "response-a.json",
        "setup-result.json",
        "tmp",
    ]


@linux
def test_a_response_so_far_of_100_000_items_is_rewritten_by_the_clock(start_coglet: Start) -> None:
    coglet = start_coglet(COUNT)
    coglet.setup_result()
    before, began = _written_bytes(coglet.process.pid), time.monotonic()
    response = coglet.predict("a", n=100_000)
    rewrites = (time.monotonic() - began) / 0.05 + 2
    assert response["output"] == list(range(100_000))
    size = (coglet.work / "response-a.json").stat().st_size
    # Once for each item would be 29 GB.
    assert _written_bytes(coglet.process.pid) - before < rewrites * size + 5000


@linux
def test_a_long_response_so_far_is_rewritten_less_often(start_coglet: Start) -> None:
    coglet = start_coglet(LONG)
    coglet.setup_result()
    before, began = _written_bytes(coglet.process.pid), time.monotonic()
    response = coglet.predict("a", mebibytes=4, prints=60)
    elapsed_s = time.monotonic() - began
    assert response["logs"] == "".join(f"{n}\n" for n in range(60))
    # 5 MiB each second, and whole at most three times besides: the first, one under way, the last.
    assert _written_bytes(coglet.process.pid) - before < elapsed_s * 5 * MIB + 3 * 4 * MIB + 50_000


def test_large_files_go_through_files(start_coglet: Start, tmp_path: Path) -> None:
    data = os.urandom(1 << 16) * 128
    (tmp_path / "large.bin").write_bytes(data)
    coglet = start_coglet(COPIES)
    coglet.setup_result()
    response = coglet.predict("a", file=str(tmp_path / "large.bin"))
    (file,) = response["files"]
    assert Path(file["path"]).read_bytes() == data
    assert Path(file["path"]).parent == coglet.work / "out" / "a"
    assert (file["name"], response["output"]) == ("copy.bin", None)
    assert (coglet.work / "response-a.json").stat().st_size < 1000
    coglet.write("stop")  # what the prediction left is removed after its answer, and before the end
    assert coglet.process.wait(10) == 0
    assert not list((coglet.work / "tmp").iterdir())


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_of_a_megabyte_without_an_end(start_coglet: Start, unbuffered: str) -> None:
    # Unbuffered, Python forgets what one write does not take, and each response so far brings a signal.
    coglet = start_coglet(LINE, environment={"PYTHONUNBUFFERED": unbuffered})
    coglet.setup_result()
    assert coglet.predict("a", n=1_000_000)["logs"] == "x" * 1_000_000
    assert coglet.predict("b", n=1)["logs"] == "x"
    cut = coglet.predict("c", n=MIB + 1)["logs"]
    assert cut == "[... the beginning of the log was left out ...]\n" + "x" * MIB


def test_an_id_that_leads_elsewhere_makes_no_file_elsewhere(start_coglet: Start, tmp_path: Path) -> None:
    coglet = start_coglet(GATED)
    coglet.setup_result()
    outside = sorted(str(path) for path in tmp_path.iterdir())
    for id in ("..", "...", "..%2f..%2fx", "..\\x", ".hidden", "-x", "\n", "ä"):
        coglet.write(f"cancel-{id}")
        coglet.write(f"request-{id}.json", {"input": {"text": "x"}})
        assert coglet.response(id)["error_code"] == "invalid_input"
        (coglet.work / f"response-{id}.json").unlink()
    assert coglet.predict("after", text="y")["output"] == "y"
    assert [path for name in ("logs", "out") for path in (coglet.work / name).iterdir()] == []
    assert sorted(str(path) for path in tmp_path.iterdir() if path.name != "draft") == outside


# --- ends ------------------------------------------------------------------------------------------------

SETUP_IN_C = """\
import ctypes
class Predictor:
    def setup(self):
        open("begun", "w").close()
        ctypes.PyDLL(None).sleep(60)
    def predict(self) -> str:
        return ""
"""
PARENT = """\
import subprocess, sys, time
stdin = subprocess.PIPE if sys.argv[2] == "pipe" else subprocess.DEVNULL
command = [sys.executable, "-m", "coglet", "--dir", sys.argv[1], "--predictor", "predict.py:Predictor"]
print(subprocess.Popen(command, stdin=stdin, start_new_session=True).pid, flush=True)
time.sleep(60)
"""


@linux
@pytest.mark.parametrize("way", ["pipe", "none"])
def test_the_parents_death_ends_a_setup(runtime: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "predict.py").write_text(SETUP_IN_C)
    (tmp_path / "work").mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "work"), way],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(runtime)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    try:
        _until((tmp_path / "begun").exists)
        parent.kill()
        parent.communicate(timeout=10)
        _until(lambda: _has_ended(child))
    finally:
        if not _has_ended(child):
            signal.pidfd_send_signal(child, signal.SIGKILL)
        os.close(child)


def _has_ended(process: int) -> bool:
    import select

    return bool(select.select([process], [], [], 0)[0])


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_that_ends_coglet_leaves_what_was_answered(start_coglet: Start, number: int) -> None:
    coglet = start_coglet(GATED, "--events")
    os.mkfifo(coglet.work.parent / "model" / "gate")
    coglet.setup_result()
    assert coglet.predict("a", text="done")["output"] == "done"
    coglet.write("request-gate.json", {"input": {"gated": True}})
    coglet.write("request-b.json", {"input": {}})
    _until(lambda: "at the gate" in _log(coglet, "gate"))
    os.kill(coglet.process.pid, number)
    assert coglet.process.wait(10) == -number
    assert coglet.read("response-a.json")["output"] == "done"
    assert coglet.read("response-gate.json") is None
    assert _log(coglet, "gate") == "at the gate\n"
    assert _not_read_yet(coglet, "b")  # for another process to run


def _log(coglet: Any, id: str) -> str:
    path = coglet.work / "logs" / id
    return path.read_text() if path.exists() else ""


def test_a_bell_that_is_a_fifo_is_rung_instead_of_any_signal(start_coglet: Start) -> None:
    bells: list[int] = []

    def hang(work: Path) -> None:
        os.mkfifo(work / "bell")
        bells.append(os.open(work / "bell", os.O_RDWR | os.O_NONBLOCK))

    coglet = start_coglet(GATED, "--events", before=hang)
    [bell] = bells
    try:
        for name, request in (("setup-result.json", None), ("response-a.json", "request-a.json")):
            if request:
                coglet.write(request, {"input": {"text": "a"}})
            assert select.select([bell], [], [], 10)[0]
            assert set(os.read(bell, 100)) == set(b"1")
            assert coglet.read(name)["status"] == "succeeded"
        assert EARS.hear(0.0, signal.SIGHUP) is None
    finally:
        os.close(bell)
