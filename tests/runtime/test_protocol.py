"""coglet as any parent sees it: the files of docs/reference/coglet.md and three signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]

SYNC = """\
import os, sys, time
from cog import BasePredictor, Input, Path, current_scope
print("importing")

class Predictor(BasePredictor):
    def setup(self):
        print("setting up")
        os.system("echo from a child of setup")

    def predict(self, do: str = "echo", text: str = "hi") -> str:
        print("predicting", text)
        if do == "sleep":
            sys.stderr.write("asleep\\n")
            time.sleep(60)
        if do == "swallow":
            try:
                print("asleep", flush=True)
                time.sleep(60)
            except BaseException:
                return "swallowed"
        if do == "raise":
            print("unfinished ", end="")
            raise ValueError("as asked")
        if do == "exit":
            sys.exit(3)
        if do == "metric":
            current_scope().record_metric("tokens.in", 2)
            current_scope().record_metric("tokens.in", 3, mode="incr")
            current_scope().record_metric("steps", "a", mode="append")
        if do == "metric nan":
            current_scope().record_metric("x", float("nan"))
        if do == "child":
            os.system("echo from a child")
        if do == "left over":
            os.system("(for i in $(seq 300); do sleep 0.01; echo from long ago; done) &")
        if do == "unterminated":
            print("no end", end="")
        return text
"""

STREAM = """\
import time
from collections.abc import Iterator
from cog import Path

class Predictor:
    def predict(self, n: int = 3, wait_s: float = 0.0) -> Iterator[Path]:
        for i in range(n):
            print("item", i)
            Path("same.txt").write_text(str(i))
            yield Path("same.txt")
            time.sleep(wait_s)
"""

ASYNC = """\
import asyncio
from cog import BasePredictor

class Predictor(BasePredictor):
    async def setup(self):
        self.gate = asyncio.Event()
        self.waiting = 0

    async def predict(self, name: str, together: int = 1, forever: bool = False) -> str:
        print("begin", name)
        if forever:
            await asyncio.sleep(1000)
        self.waiting += 1
        if self.waiting == together:
            self.gate.set()
        await self.gate.wait()
        def work():
            print("in a thread of", name)
        await asyncio.get_running_loop().run_in_executor(None, work)
        print("end", name)
        return name
"""


def test_setup_and_a_prediction(start_coglet: Start, any_python: str) -> None:
    coglet = start_coglet(SYNC, python=any_python)
    setup = coglet.setup_result()
    assert setup["status"] == "succeeded"
    assert setup["logs"] == "importing\nsetting up\nfrom a child of setup\n"
    assert setup["started_at"] <= setup["completed_at"]
    assert coglet.read("openapi.json")["components"]["schemas"]["Output"]["type"] == "string"
    coglet.until(lambda: signal.SIGUSR1 in coglet.signals)
    coglet.signals.clear()
    response = coglet.predict("a", text="one")
    assert response["status"] == "succeeded"
    assert response["output"] == "one"
    assert response["logs"] == "predicting one\n"
    assert response["metrics"]["predict_time"] > 0
    assert response["started_at"] <= response["completed_at"]
    coglet.until(lambda: {signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP} == set(coglet.signals))
    coglet.write("stop")
    assert coglet.process.wait(10) == 0
    assert not list((coglet.work / "tmp").iterdir())


def test_what_a_prediction_may_do(start_coglet: Start) -> None:
    coglet = start_coglet(SYNC)
    coglet.setup_result()

    raised = coglet.predict("raise", do="raise")
    assert (raised["status"], raised["error"], raised["error_code"]) == ("failed", "as asked", "model_error")
    assert raised["logs"].startswith("predicting hi\nunfinished Traceback (most recent call last):\n  File ")
    assert raised["logs"].endswith("ValueError: as asked\n")
    assert "coglet" not in raised["logs"]

    exited = coglet.predict("exit", do="exit")
    assert (exited["status"], exited["error"]) == ("failed", "predict() called sys.exit(3)")

    assert coglet.predict("child", do="child")["logs"] == "predicting hi\nfrom a child\n"

    assert coglet.predict("open", do="unterminated")["logs"] == "predicting hi\nno end"
    assert coglet.predict("next")["logs"] == "predicting hi\n"

    metrics = coglet.predict("metric", do="metric")["metrics"]
    assert metrics.pop("predict_time") > 0
    assert metrics == {"tokens": {"in": 5}, "steps": ["a"]}
    assert coglet.predict("nan", do="metric nan")["status"] == "failed"

    refused = coglet.predict("bad", do=5, text=None)
    assert refused["error"] == "do: must be a string, not an integer; text: must not be null"
    assert refused["error_code"] == "invalid_input"
    assert "ignored inputs that the model does not have: more" in coglet.predict("more", more=1)["logs"]


def test_a_process_left_behind_does_not_speak_in_the_next_log(start_coglet: Start) -> None:
    coglet = start_coglet(SYNC)
    coglet.setup_result()
    coglet.predict("a", do="left over")
    for number in range(5):
        assert coglet.predict(f"b{number}", do="child")["logs"] == "predicting hi\nfrom a child\n"
    coglet.process.kill()  # its pipe closes, and the one left behind dies of that


def test_requests_that_are_none(start_coglet: Start) -> None:
    coglet = start_coglet(SYNC)
    coglet.setup_result()
    (coglet.work.parent / "draft").write_text("{")
    (coglet.work.parent / "draft").rename(coglet.work / "request-broken.json")
    assert "not JSON" in coglet.response("broken")["error"]
    coglet.write("request-list.json", [])
    assert coglet.response("list")["error_code"] == "invalid_input"
    coglet.write("request-null.json", {"input": None})
    assert coglet.response("null")["status"] == "succeeded"
    for id in ("..", "a b", "", "x" * 129):
        coglet.write(f"request-{id}.json", {"input": {}})
        assert "the id is not one" in coglet.response(id)["error"]
    assert not list((coglet.work / "tmp").glob("*/*"))


def test_a_request_file_that_is_also_somebody_elses_stays_as_it_is(start_coglet: Start) -> None:
    coglet = start_coglet(SYNC)
    coglet.setup_result()
    text = '{"input": {"text": "kept"}}'
    template, link = coglet.work.parent / "template", coglet.work.parent / "link"
    template.write_text(text)
    template.chmod(0o600)
    for id, make_link in (("a", link.hardlink_to), ("b", link.hardlink_to), ("c", link.symlink_to)):
        make_link(template)
        link.rename(coglet.work / f"request-{id}.json")
        assert coglet.response(id)["output"] == "kept"
    assert template.read_text() == text


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o644])
def test_an_answer_is_for_the_parent_alone_however_its_request_was(mode: int, start_coglet: Start) -> None:
    coglet = start_coglet(SYNC)
    coglet.setup_result()
    draft = coglet.work.parent / "draft"
    draft.write_text('{"input": {"text": "said"}}')
    draft.chmod(mode)
    draft.rename(coglet.work / "request-a.json")
    assert coglet.response("a")["output"] == "said"
    assert (coglet.work / "response-a.json").stat().st_mode & 0o777 == 0o600


def test_answers_shorter_and_longer_than_their_requests_are_whole(start_coglet: Start) -> None:
    coglet = start_coglet(SYNC)
    coglet.setup_result()
    for number, length in enumerate((0, 5000, 1, 200_000, 2, 70_000, 60_000, 3)):
        assert coglet.predict(f"long{number}", text="x" * length)["output"] == "x" * length
        failed = coglet.predict(f"short{number}", text="x" * length, do="no such", more="y" * length)
        assert failed["output"] == "x" * length
    coglet.write("request-empty.json", {"input": {"text": ["x" * 60_000]}})
    assert coglet.response("empty")["error_code"] == "invalid_input"


def test_cancel(start_coglet: Start) -> None:
    coglet = start_coglet(SYNC)
    coglet.setup_result()
    for id, do in (("s", "sleep"), ("w", "swallow")):
        coglet.write(f"request-{id}.json", {"input": {"do": do}})
        coglet.until(lambda id=id: "asleep" in (coglet.read(f"response-{id}.json") or {"logs": ""})["logs"])
        assert coglet.read(f"response-{id}.json")["status"] == "processing"
        coglet.write(f"cancel-{id}")
        response = coglet.response(id)
        assert response["status"] == "canceled"
        assert response["output"] is None
        assert response["error"] is None
        assert not (coglet.work / f"cancel-{id}").exists()
    # One that waits is canceled without being run.
    coglet.write("request-s2.json", {"input": {"do": "sleep"}})
    coglet.until(lambda: not (coglet.work / "request-s2.json").exists())
    coglet.write("request-waits.json", {"input": {}})
    coglet.write("cancel-waits")
    coglet.write("cancel-s2")
    assert coglet.response("waits")["status"] == "canceled"
    assert coglet.response("waits")["logs"] == ""
    assert coglet.predict("after")["status"] == "succeeded"


def test_cumulative_responses(start_coglet: Start) -> None:
    coglet = start_coglet(STREAM)
    coglet.setup_result()
    coglet.write("request-a.json", {"input": {"n": 4, "wait_s": 0.06}})
    partial = coglet.until(lambda: coglet.read("response-a.json"))
    assert partial["status"] == "processing"
    assert len(partial["output"]) < 4
    response = coglet.response("a")
    assert response["output"] == [None] * 4
    assert [file["pointer"] for file in response["files"]] == ["/0", "/1", "/2", "/3"]
    # Each was set aside when it was yielded: the model writes the same one again and again.
    assert [Path(file["path"]).read_text() for file in response["files"]] == ["0", "1", "2", "3"]
    assert {file["name"] for file in response["files"]} == {"same.txt"}
    assert {file["content_type"] for file in response["files"]} == {"text/plain"}


def test_linear_form(start_coglet: Start) -> None:
    coglet = start_coglet(STREAM, "--events")
    coglet.setup_result()
    response = coglet.predict("a", n=3)
    assert response["items"] == 3
    assert response["output"] is None
    assert response["logs"] == ""
    lines = (coglet.work / "events-a.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert (coglet.work / "logs" / "a").read_text() == "item 0\nitem 1\nitem 2\n"
    assert set(coglet.signals) == {signal.SIGHUP}


def test_several_at_a_time(start_coglet: Start, any_python: str) -> None:
    coglet = start_coglet(ASYNC, "--max-concurrency", "3", python=any_python)
    setup = coglet.setup_result()
    assert setup["is_async"]
    assert setup["concurrency"] == 3
    coglet.until(lambda: signal.SIGUSR1 in coglet.signals)
    for name in "abc":
        coglet.write(f"request-{name}.json", {"input": {"name": name, "together": 3}})
    for name in "abc":
        response = coglet.response(name)
        assert response["output"] == name
        assert response["logs"] == f"begin {name}\nin a thread of {name}\nend {name}\n"
    coglet.until(lambda: signal.SIGUSR2 in coglet.signals)
    coglet.write("request-f.json", {"input": {"name": "f", "forever": True}})
    coglet.until(lambda: "begin f" in (coglet.read("response-f.json") or {"logs": ""})["logs"])
    coglet.write("cancel-f")
    assert coglet.response("f")["status"] == "canceled"
    coglet.write("stop")
    assert coglet.process.wait(10) == 0


STREAMS = """\
import sys

sys.stdout.reconfigure(line_buffering=True, encoding="utf-8")
print(sys.stdout.name, sys.stderr.mode, sys.stdout.line_buffering, hasattr(sys.stdout, "nothing"))

class Predictor:
    async def predict(self, name: str) -> str:
        sys.stdout.reconfigure(write_through=True)
        sys.stdout.writelines(["one\\n", "two\\n"])
        return name
"""


def test_standard_streams_are_whole_with_several_at_a_time(start_coglet: Start, any_python: str) -> None:
    coglet = start_coglet(STREAMS, "--max-concurrency", "2", python=any_python)
    setup = coglet.setup_result()
    assert (setup["status"], setup["logs"]) == ("succeeded", "<stdout> w True False\n")
    assert coglet.predict("a", name="a")["logs"] == "one\ntwo\n"


def test_setup_that_fails(start_coglet: Start) -> None:
    coglet = start_coglet(FAILING)
    assert coglet.process.wait(10) == 1
    setup = coglet.read("setup-result.json")
    assert setup["status"] == "failed"
    assert setup["error"] == "ZeroDivisionError: division by zero"
    assert setup["refused"] is False
    assert setup["logs"].startswith("about to\nTraceback")
    assert "1 / 0" in setup["logs"]


def test_a_refused_predictor_and_a_bad_command_line(start_coglet: Start, runtime: Path) -> None:
    coglet = start_coglet("class Predictor:\n    def predict(self, a) -> str:\n        return a\n")
    assert coglet.process.wait(10) == 1
    setup = coglet.read("setup-result.json")
    assert setup["refused"] is True
    assert setup["mistakes"][0]["line"] == 2
    for options in (["--dri", "x"], ["--dir"], ["--dir", "x"], ["--max-concurrency=0"]):
        done = subprocess.run(
            [sys.executable, "-m", "coglet", *options],
            env={"PYTHONPATH": str(runtime)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("coglet: ")


def test_sync_predict_has_one_slot(start_coglet: Start) -> None:
    coglet = start_coglet(SYNC, "--max-concurrency", "2")
    assert coglet.process.wait(10) == 1
    assert "needs an async predict()" in coglet.read("setup-result.json")["error"]


def test_the_models_own_files_do_not_get_in_the_way(start_coglet: Start, tmp_path: Path) -> None:
    source = (
        "import folder, json\nclass Predictor:\n    def predict(self) -> str:\n        return folder.NAME\n"
    )
    (tmp_path / "model").mkdir(parents=True)
    for name in ("folder.py", "select.py", "job.py"):
        (tmp_path / "model" / name).write_text("NAME = 'mine'\n")
    (tmp_path / "model").rename(tmp_path / "kept")
    coglet = start_coglet(source)
    coglet.end()
    for path in (tmp_path / "kept").iterdir():
        path.rename(tmp_path / "model" / path.name)
    again = type(coglet)(
        tmp_path / "model", coglet.work, sys.executable, "--predictor", "predict.py:Predictor"
    )
    try:
        assert again.setup_result()["status"] == "succeeded"
        assert again.predict("a")["output"] == "mine"
    finally:
        again.end()


FAILING = """\
class Predictor:
    def setup(self):
        print("about to")
        1 / 0

    def predict(self) -> str:
        return ""
"""

PARENT = """\
import subprocess, sys, time, signal, os
for s in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(s, lambda *_: None)
stdin = subprocess.PIPE if sys.argv[2] == "pipe" else subprocess.DEVNULL
command = [sys.executable, "-m", "coglet", "--dir", sys.argv[1], "--predictor", "predict.py:Predictor"]
child = subprocess.Popen(command, stdin=stdin, start_new_session=True)
while not os.path.exists(sys.argv[1] + "/setup-result.json"):
    time.sleep(0.01)
print(child.pid, flush=True)
time.sleep(60)
"""
STUBBORN = """\
import ctypes, os
from cog import BasePredictor
class Predictor:
    def predict(self) -> str:
        os.system("sleep 60 &")
        print("stuck", flush=True)
        ctypes.PyDLL(None).sleep(60)
        return ""
"""


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["pipe", "none"])
def test_the_parents_death_is_noticed_even_inside_c(runtime: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "predict.py").write_text(STUBBORN)
    work = tmp_path / "work"
    work.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(work), way],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(runtime)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    draft = tmp_path / "draft"
    draft.write_text('{"input": {}}')
    draft.rename(work / "request-a.json")
    _poll(lambda: _helpers(child))
    helpers = _helpers(child)
    parent.kill()
    parent.communicate(timeout=10)
    _poll(lambda: not _alive(child))
    if way == "pipe":  # then the whole group goes
        _poll(lambda: not any(map(_alive, helpers)))
    for helper in filter(_alive, helpers):
        os.kill(helper, signal.SIGKILL)


def _poll(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _helpers(group: int) -> list[int]:
    """The processes that the model has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            command = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[2]) == group and command.startswith(b"sleep"):
            found.append(int(path.name))
    return found
