"""``cogflare predict DIR``: one prediction of a model's folder, as its author runs it."""

import contextlib
import http.server
import json
import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import COGFLARE, until
from tests.support.local_package import builds, write_model
from tests.support.threads import start_deaf

TALKER = """
import os, sys, time
from cog import BasePredictor, ConcatenateIterator, Input, Secret

class Predictor(BasePredictor):
    def setup(self) -> None:
        print("loading weights")
        open("set-up", "w").close()

    def predict(
        self,
        words: int = Input(default=2, ge=1, le=9),
        wait: str = "",
        key: Secret = Secret("none"),
        fail: bool = False,
        stubborn: bool = False,
    ) -> ConcatenateIterator[str]:
        print("speaking with", key.get_secret_value())
        for number in range(words):
            yield f"w{number} "
        try:
            if wait:
                print("waiting", flush=True)
            while wait and not os.path.exists(wait):
                time.sleep(0.01)
        except BaseException:
            open("canceled", "w").close()
            while stubborn:
                try:
                    time.sleep(1)
                except BaseException:
                    pass
            raise
        if fail:
            raise ValueError("no more words")
"""
FILES = """
from typing import List
from cog import BasePredictor, Input, Path

class Predictor(BasePredictor):
    def predict(self, files: List[Path], more: Path = None) -> List[Path]:
        import tempfile
        out = Path(tempfile.mkdtemp()) / "joined.txt"
        out.write_bytes(b"".join(file.read_bytes() for file in [*files, *([more] if more else [])]))
        return [out, out]
"""
YIELDS_FILES = """
from typing import Iterator
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, count: int) -> Iterator[Path]:
        import tempfile
        for number in range(count):
            out = Path(tempfile.mkdtemp()) / "frame.txt"
            out.write_text(str(number))
            yield out
"""
SLOW_SETUP = """
import os, time
from cog import BasePredictor

class Predictor(BasePredictor):
    def setup(self) -> None:
        print("setting myself up")
        time.sleep(60)

    def predict(self) -> str:
        return "done"
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A model's folder with this predictor."""

    def write(source: str) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "predict.py").write_text(source)
        return folder

    return write


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("COGFLARE_")}


def predict(
    *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [COGFLARE, "predict", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        env=environment(),
        cwd=cwd,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback (most recent call last)" not in err.split("cogflare: ")[-1], err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


@contextlib.contextmanager
def started(*arguments: str | Path, stderr: Any = subprocess.PIPE) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [COGFLARE, "predict", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=environment(),
        start_new_session=True,
    ) as process:
        timer = threading.Timer(60.0, process.kill)  # whoever reads from it gets to an end
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def test_text_goes_to_stdout_and_logs_to_stderr(write: Write) -> None:
    done = predict(write(TALKER), "-i", "words=3")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "w0 w1 w2 \n"
    assert done.stderr == "loading weights\nspeaking with none\n"


def test_output_and_logs_come_while_it_runs(write: Write, tmp_path: Path) -> None:
    with started(write(TALKER), "-i", f"wait={tmp_path}/go") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(6) == "w0 w1 "
        assert process.stderr.readline() == "loading weights\n"
        assert process.stderr.readline() == "speaking with none\n"
        (tmp_path / "go").touch()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wrods=3", "there is no input 'wrods' (did you mean words?)"),
        ("words=three", "input words must be an integer"),
        ("words=12", "input words: must be less than or equal to 9"),
    ],
)
def test_a_wrong_input_is_told_before_setup(write: Write, text: str, said: str) -> None:
    folder = write(TALKER)
    done = predict(folder, "-i", text)
    assert done.returncode == 2
    assert done.stderr.startswith(f"cogflare: {said} (inputs: words integer 1..9 = 2; wait string")
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
    assert not (folder / "set-up").exists()


def test_files_in_and_out(write: Write, tmp_path: Path) -> None:
    folder, out = write(FILES), tmp_path / "out"
    (tmp_path / "one.txt").write_text("one ")
    (tmp_path / "two.txt").write_text("two ")
    inputs = ["-i", "files=@one.txt", "-i", "files=@two.txt", "-i", "more=@-"]
    done = predict(folder, *inputs, "--output", out, stdin=b"three", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}/joined.txt\n{out}/joined-1.txt\n"
    assert (out / "joined.txt").read_text() == "one two three"
    again = predict(folder, "-i", "files=@one.txt", cwd=tmp_path)
    assert again.stdout == "joined.txt\njoined-1.txt\n"
    assert (tmp_path / "joined.txt").read_text() == "one "


def test_files_are_printed_as_they_are_yielded(write: Write, tmp_path: Path) -> None:
    done = predict(write(YIELDS_FILES), "-i", "count=2", "--output", tmp_path)
    assert done.stdout == f"{tmp_path}/frame.txt\n{tmp_path}/frame-1.txt\n"
    assert [(tmp_path / name).read_text() for name in ("frame.txt", "frame-1.txt")] == ["0", "1"]


class Serve(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"web")

    def log_message(self, *_: object) -> None:
        pass


def test_a_url_is_fetched_of_this_machine_too(write: Write, tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Serve) as server:
        start_deaf(threading.Thread(target=server.serve_forever, daemon=True))
        try:
            url = f"http://127.0.0.1:{server.server_port}/a.txt"
            done = predict(
                write(FILES), "-i", f"files={url}", "-i", "files=data:,%20data", "--output", tmp_path
            )
        finally:
            server.shutdown()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "joined.txt").read_text() == "web data"


def test_one_json_document(write: Write) -> None:
    folder = write(TALKER)
    done = predict(folder, "--json", "-i", "words=2", "-i", "key=s3cret-word")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["output"] == ["w0 ", "w1 "]
    assert document["input"] == {"words": 2, "key": "**********"}
    assert document["status"] == "succeeded"
    assert document["model"] == str(folder)
    assert document["error"] is None
    assert document["metrics"]["predict_time"] >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", document["started_at"])
    assert "loading weights" in done.stderr
    assert "s3cret-word" not in done.stdout + done.stderr


def test_a_failure_is_one_line_after_its_logs(write: Write) -> None:
    done = predict(write(TALKER), "-i", "fail=true", "-i", "words=1")
    assert done.returncode == 1
    assert done.stdout == "w0 \n"
    assert "ValueError: no more words" in done.stderr
    assert done.stderr.endswith("\ncogflare: the prediction failed: no more words\n")
    document = json.loads(predict(done.args[2], "--json", "-i", "fail=true").stdout)
    assert (document["status"], document["error_code"]) == ("failed", "model_error")


def test_a_setup_that_fails(write: Write) -> None:
    done = predict(write("class Predictor:\n    def setup(self): 1/0\n    def predict(self) -> str: ...\n"))
    assert done.returncode == 1
    assert done.stderr.endswith("cogflare: setup failed: ZeroDivisionError: division by zero\n")
    assert not done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels(write: Write, number: signal.Signals) -> None:
    folder = write(TALKER)
    with started(folder, "--json", "-i", "wait=/never") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "waiting" in line:
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 128 + number
    assert (folder / "canceled").exists()
    assert json.loads(out)["status"] == "canceled"
    assert err == "cogflare: the prediction was canceled\n"


def test_a_second_interrupt_ends_at_once(write: Write) -> None:
    folder = write(TALKER)
    with started(folder, "-i", "wait=/never", "-i", "stubborn=true") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "waiting" in line:
                break
        process.send_signal(signal.SIGINT)
        until((folder / "canceled").exists, "the model was asked to stop")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err == "cogflare: canceled at once\n"


def test_an_interrupt_of_setup_ends_it(write: Write) -> None:
    with started(write(SLOW_SETUP)) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "setting myself up\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err == "cogflare: canceled before it ran\n"


def test_an_interrupt_while_it_is_imported(write: Write) -> None:
    with started(write("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "importing\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, "")


def test_a_reader_that_goes_away_ends_it(write: Write) -> None:
    folder = write(TALKER.replace("range(words)", "iter(int, 1)"))
    with started(folder) as process:
        assert process.stdout is not None
        process.stdout.read(3)
        process.stdout.close()
        assert process.wait(30) == 1


def test_on_a_terminal_a_line_says_what_is_being_done(write: Write) -> None:
    ours, theirs = pty.openpty()
    with started(write(TALKER), stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # EIO is a terminal's end
            while data := os.read(ours, 1000):
                seen += data
        os.close(ours)
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "w0 w1 \n"
    assert b"setting up, 0 s" in seen
    assert b"\r\x1b[Kloading weights\r\n" in seen
    assert b"running, 0 s" in seen


def test_what_is_no_model(tmp_path: Path) -> None:
    for name, said in [
        (str(tmp_path), "has neither cog.yaml nor predict.py"),
        (str(tmp_path / "none"), "there is no such folder"),
        ("me/none", "--server or COGFLARE_SERVER is needed to run it as a model of a server"),
    ]:
        done = predict(name)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_missing_module_is_mended_by_install(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    done = predict(model, "-i", "name=you")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "has no module greeting: "
        f"`cogflare predict ... --install` runs the model with what {model}/cog.yaml lists"
    )
    cache = ["--install", "--cache", str(tmp_path / "cache")]
    done = predict(model, "-i", "name=you", *cache)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "hello you\n"
    assert "also lists system_packages (ffmpeg) and run (1 command): that is left to you" in done.stderr
    assert "Successfully installed greeting-1.0" in done.stderr
    again = predict(model, "-i", "name=you", *cache)
    assert again.stdout == "hello you\n"
    assert "installed" not in again.stderr
    assert builds(model) == 1
