"""``cogflare predict owner/name``: the same command as a client of a server."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import COGFLARE, DEADLINE_S, Agent, Server, until

TALKER = """
import os, time
from cog import BasePredictor, ConcatenateIterator, Secret

class Predictor(BasePredictor):
    def predict(self, words: int = 2, wait: str = "", key: Secret = Secret("none"), fail: bool = False) \\
            -> ConcatenateIterator[str]:
        print("speaking")
        for number in range(words):
            yield f"w{number} "
        while wait and not os.path.exists(wait):
            time.sleep(0.01)
        if fail:
            raise ValueError("no more words")
"""
FILES = """
import os, time
from typing import List
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, files: List[Path], wait: str = "", label: str = "") -> List[Path]:
        import tempfile
        print("joining", label)
        while wait and not os.path.exists(wait):
            time.sleep(0.01)
        print("joined")
        out = Path(tempfile.mkdtemp()) / "joined.txt"
        out.write_bytes(b"".join(file.name.encode() + b":" + file.read_bytes() + b" " for file in files))
        return [out]
"""
FRAMES = """
from typing import Iterator
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self) -> Iterator[Path]:
        import tempfile
        for number in range(3):
            out = Path(tempfile.mkdtemp()) / "frame.txt"
            out.write_text(str(number))
            yield out
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With one agent that serves the three models."""
    folder = tmp_path_factory.mktemp("server")
    with contextlib.ExitStack() as stack:
        server = Server(folder / "data")
        stack.callback(server.close)
        server.start()
        models = []
        for name, source in {"talker": TALKER, "files": FILES, "frames": FRAMES}.items():
            (folder / name).mkdir()
            (folder / name / "predict.py").write_text(source)
            models.append(f"me/{name}={folder / name}")
        agent = Agent(server, folder / "agent", *models)
        stack.callback(agent.close)
        agent.ready()
        yield server


def environment(server: Server) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COGFLARE_")}
    return {**clean, "COGFLARE_SERVER": server.url, "COGFLARE_TOKEN": server.token()}


def predict(
    server: Server, *arguments: str | Path, stdin: bytes = b"", **more: str
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [COGFLARE, "predict", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        env={**environment(server), **more},
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err.split("cogflare: ")[-1], err
    assert server.token() not in out + err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


@contextlib.contextmanager
def started(server: Server, *arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [COGFLARE, "predict", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(server),
        start_new_session=True,
    ) as process:
        timer = threading.Timer(60.0, process.kill)  # whoever reads from it gets to an end
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def test_text_is_streamed_while_it_comes(server: Server, tmp_path: Path) -> None:
    with started(server, "me/talker", "-i", "words=3", "-i", f"wait={tmp_path}/go") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(9) == "w0 w1 w2 "
        assert process.stderr.readline() == "speaking\n"
        (tmp_path / "go").touch()
        out, err = process.communicate(timeout=DEADLINE_S)
        assert (out, err, process.returncode) == ("\n", "", 0)


def test_by_version_too(server: Server) -> None:
    version = server.client().get("/v1/models/me/talker").json()["latest_version"]["id"]
    done = predict(server, f"me/talker:{version}", "-i", "words=1")
    assert (done.returncode, done.stdout) == (0, "w0 \n"), done.stderr
    done = predict(server, f"me/talker:{'0' * 64}")
    assert done.returncode == 2
    assert f"{server.url} has no version {'0' * 64} of the model me/talker" in done.stderr


def test_files_go_up_and_come_down(server: Server, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("1")
    files = (f"@{tmp_path}/one.txt", "data:text/plain;name=two.txt,2", "@-")
    inputs = [word for file in files for word in ("-i", f"files={file}")]
    done = predict(server, "me/files", *inputs, "--output", tmp_path / "out", stdin=b"3")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/out/joined.txt\n"
    assert (tmp_path / "out" / "joined.txt").read_text() == "one.txt:1 two.txt:2 stdin:3 "
    again = predict(server, "me/files", *inputs, "--output", tmp_path / "out", stdin=b"3")
    assert again.stdout == f"{tmp_path}/out/joined-1.txt\n"


def test_logs_come_while_it_runs(server: Server, tmp_path: Path) -> None:
    waiting = ["-i", f"wait={tmp_path}/go", "-i", "label=x"]
    with started(server, "me/files", "-i", "files=data:,1", *waiting, "--output", tmp_path) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "joining x\n"
        (tmp_path / "go").touch()
        out, err = process.communicate(timeout=DEADLINE_S)
        assert (out, err, process.returncode) == (f"{tmp_path}/joined.txt\n", "joined\n", 0)


def test_files_that_are_yielded(server: Server, tmp_path: Path) -> None:
    done = predict(server, "me/frames", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    names = [f"{tmp_path}/frame{suffix}.txt" for suffix in ("", "-1", "-2")]
    assert done.stdout.splitlines() == names
    assert [Path(name).read_text() for name in names] == ["0", "1", "2"]


def test_one_json_document(server: Server, tmp_path: Path) -> None:
    done = predict(server, "me/files", "--json", "-i", "files=data:,1", "--output", tmp_path)
    document = json.loads(done.stdout)
    assert document["output"] == document["files"] == [f"{tmp_path}/joined.txt"]
    assert (document["status"], document["model"]) == ("succeeded", "me/files")
    done = predict(server, "me/talker", "--json", "-i", "words=2", "-i", "key=s3cret-word")
    document = json.loads(done.stdout)
    assert document["output"] == ["w0 ", "w1 "]
    assert document["input"]["key"] == "**********"
    assert "s3cret-word" not in done.stdout + done.stderr


def test_a_failure_is_one_line_after_its_logs(server: Server) -> None:
    done = predict(server, "me/talker", "-i", "words=1", "-i", "fail=yes")
    assert done.returncode == 1
    assert done.stdout == "w0 \n"
    assert "ValueError: no more words" in done.stderr
    assert done.stderr.endswith("\ncogflare: the prediction failed: no more words\n")


def test_an_interrupt_cancels_it_on_the_server(server: Server) -> None:
    with started(server, "me/talker", "--json", "-i", "wait=/never") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "speaking\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130
    found = re.fullmatch(r"cogflare: the prediction (\w+) was canceled\n", err)
    assert found is not None, err
    assert json.loads(out)["id"] == found[1]
    assert server.calls().ended(found[1])["status"] == "canceled"


def test_what_is_queued_can_be_interrupted(server: Server, tmp_path: Path) -> None:
    """The first one has the only slot; the second one's creation is waited for, then it is canceled."""
    go = f"wait={tmp_path}/go"
    with started(server, "me/talker", "-i", go) as first:
        assert first.stderr is not None
        assert first.stderr.readline() == "speaking\n"
        before = {one["id"] for one in server.client().get("/v1/predictions").json()["results"]}
        with started(server, "me/files", "-i", "files=data:,1") as second:

            def created() -> set[str]:
                now = server.client().get("/v1/predictions").json()["results"]
                return {one["id"] for one in now} - before

            (id,) = until(created, "the second one is created")
            second.send_signal(signal.SIGTERM)
            _, err = second.communicate(timeout=DEADLINE_S)
            assert (err, second.returncode) == (f"cogflare: the prediction {id} was canceled\n", 143)
        assert server.calls().ended(id)["status"] == "canceled"
        (tmp_path / "go").touch()
        assert first.wait(DEADLINE_S) == 0


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        (
            ["me/talker", "-i", "wrods=1"],
            {},
            "there is no input 'wrods' (did you mean words?) (inputs: ",
        ),
        (["me/talker", "-i", "words=x"], {}, "input words must be an integer (inputs: "),
        (["me/files"], {}, "input files is required (inputs: files list of file needed; "),
        (["me/nobody"], {}, "has no model me/nobody that this token may run"),
        (["me/talker"], {"COGFLARE_TOKEN": "cf_wrong"}, "(see --token)"),
        (["me/talker"], {"COGFLARE_TOKEN": ""}, "(see --token)"),
        (["me/talker"], {"COGFLARE_SERVER": "nonsense"}, "--server 'nonsense': expected http://HOST"),
        (["me/talker"], {"COGFLARE_SERVER": "http://[x"}, "--server 'http://[x': expected http://HOST"),
    ],
)
def test_what_cannot_be_is_one_line(
    server: Server, arguments: list[str], more: dict[str, str], said: str
) -> None:
    done = predict(server, *arguments, **more)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_a_server_that_is_not_there(server: Server) -> None:
    done = predict(server, "me/talker", "--server", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("cogflare: http://127.0.0.1:1 cannot be reached: ")


def test_it_outlives_a_restart_of_the_server(server: Server, tmp_path: Path) -> None:
    with started(server, "me/talker", "-i", "words=2", "-i", f"wait={tmp_path}/go") as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == "w0 w1 "
        server.kill()
        server.start()
        (tmp_path / "go").touch()
        out, err = process.communicate(timeout=DEADLINE_S)
        assert (out, process.returncode) == ("\n", 0), err
