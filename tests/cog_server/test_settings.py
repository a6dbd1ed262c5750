"""Options, variables and the folder: what the server is told, and what it says when that is wrong."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cog_server.targets import MODELS, Target
from tests.support.commands import Command, run, until

Start = Callable[..., Target]


def test_variables_of_cog(start: Start, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text(
        "from cog import BasePredictor\n"
        "class Speaker(BasePredictor):\n"
        "    async def predict(self) -> str:\n"
        "        return 'from elsewhere'\n"
        "def train(n: int = 1) -> int:\n"
        "    return n\n"
    )
    environment = {
        "COG_PREDICT_TYPE_STUB": "elsewhere.py:Speaker",
        "COG_TRAIN_TYPE_STUB": "elsewhere.py:train",
        "COG_MAX_CONCURRENCY": "3",
        "COG_LOG_LEVEL": "INFO",
    }
    target = start(str(tmp_path), environment=environment).ready()
    assert target.health()["concurrency"] == {"max": 3, "current": 0}
    assert target.succeeded({})["output"] == "from elsewhere"
    assert target.http.post("/trainings", json={"input": {"n": 2}}).json()["output"] == 2


def test_the_port_of_cog_and_the_folder_one_is_in(tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text((MODELS / "echo" / "predict.py").read_text())
    command = Command("cog-server", str(tmp_path), environment={"PORT": "0"})
    try:
        assert command.line(r"listening on http://127\.0\.0\.1:\d+")
    finally:
        command.close()


def test_our_own_variable_wins(start: Start) -> None:
    environment = {"COG_MAX_CONCURRENCY": "3", "COGFLARE_MAX_CONCURRENCY": "4"}
    target = start("async_waiter", environment=environment).ready()
    assert target.health()["concurrency"]["max"] == 4


def test_a_setup_that_takes_too_long(start: Start, tmp_path: Path) -> None:
    environment = {"SETUP_GO": str(tmp_path / "never"), "COG_SETUP_TIMEOUT": "0.5"}
    target = start("slow_setup", environment=environment)
    found = target.reaches("SETUP_FAILED")
    assert "took longer than 0.5 s" in found["setup"]["logs"]
    assert "waiting\n" in found["setup"]["logs"]


def test_the_model_is_loaded_when_its_file_is_there(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "go"
    target = start("echo", environment={"COG_WAIT_FILE": str(path)})
    assert target.reaches("STARTING")["setup"]["logs"] == ""
    assert target.predict({}).status_code == 503
    path.touch()
    target.ready()


def test_the_ready_file(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "run" / "ready"
    target = start("echo", "--ready-file", str(path)).ready()
    until(path.exists, "the file is there")
    target.process.terminate()
    assert target.process.wait(10) == 0
    assert not path.exists()


def test_no_ready_file_before_the_model_is_ready(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "ready"
    path.touch()  # of a server that was killed
    target = start("slow_setup", "--ready-file", str(path), environment={"SETUP_GO": str(tmp_path / "go")})
    target.reaches("STARTING")
    assert not path.exists()
    (tmp_path / "go").touch()
    until(path.exists, "the file is there")


def test_log_as_json() -> None:
    command = Command("cog-server", str(MODELS / "echo"), "--port", "0", environment={"LOG_FORMAT": "json"})
    try:
        command.line("setting up")
        command.line("listening on")
        said = [json.loads(line) for line in command.lines]
        assert {"severity", "time", "message", "logger"} <= said[0].keys()
        assert {each["logger"] for each in said} == {"model", "cogflare.cog_server"}
    finally:
        command.close()


def test_what_the_model_prints_is_on_stdout(start: Start) -> None:
    target = start("echo").ready()
    target.command.line("^setting up$")
    target.succeeded({"text": "loud and clear"})
    target.command.line("^saying loud and clear$")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no/such/folder"], "there is no such folder"),
        ([str(MODELS)], "has neither cog.yaml nor predict.py"),
        (["{echo}", "--predictor", "predict"], "expected as"),
        (["{echo}", "--predictor", "other.py"], "there is no other.py"),
        (["{echo}", "--predictor", "../echo/predict.py"], "outside the model's folder"),
        (["{echo}", "--upload-url", "s3://bucket"], "--upload-url"),
        (["{echo}", "--upload-url", "http://[bucket"], "--upload-url"),
        (["{echo}", "--allow-private", "10.0.0.0/99"], "--allow-private"),
        (["{echo}", "--webhook-token", "a\nb"], "--webhook-token"),
        (["{echo}", "--log-level", "loud"], "none of debug, info"),
        (["{echo}", "--queue-size", "-1"], "below 0"),
    ],
)
def test_what_cannot_be_right_is_one_line(arguments: list[str], message: str) -> None:
    words = [word.replace("{echo}", str(MODELS / "echo")) for word in arguments]
    done = run("cog-server", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken(shared: Callable[[str], Target]) -> None:
    done = run("cog-server", str(MODELS / "echo"), "--port", str(shared("echo").port))
    assert done.returncode == 4
    assert "cannot listen" in done.stderr


def test_without_the_servers_libraries(tmp_path: Path) -> None:
    """An interpreter that finds everything but uvicorn."""
    import subprocess

    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'uvicorn' else real(name, package)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "edge.cli", "cog-server", str(MODELS / "echo")],
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 8
    assert done.stderr.splitlines() == [
        "cogflare: cogflare cog-server needs uvicorn, which is not installed here "
        "(pip install 'cogflare[server]')"
    ]


def test_what_to_do_about_a_module_that_is_not_there(start: Start, tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text("import no_such_module_of_ours\n")
    (tmp_path / "cog.yaml").write_text(
        'predict: "predict.py:Predictor"\nbuild: {python_packages: [something]}\n'
    )
    target = start(str(tmp_path))
    target.reaches("SETUP_FAILED")
    target.command.line("no_such_module_of_ours: `cogflare cog-server ... --install`")


def test_install(start: Start, tmp_path: Path) -> None:
    """In an environment of its own, which has no package of ours."""
    (tmp_path / "predict.py").write_text(
        "import sys\n"
        "from cog import BasePredictor\n"
        "class Predictor(BasePredictor):\n"
        "    def predict(self) -> str:\n"
        "        return sys.prefix\n"
    )
    (tmp_path / "cog.yaml").write_text('predict: "predict.py:Predictor"\n')
    cache = tmp_path / "cache"
    target = start(str(tmp_path), "--install", "--cache", str(cache)).ready()
    assert Path(target.succeeded({})["output"]).resolve().is_relative_to(cache)


def test_threads_is_taken_and_does_nothing(start: Start) -> None:
    assert start("echo", "--threads", "4").ready().health()["concurrency"]["max"] == 1
    assert "--threads" not in run("cog-server", "--help").stdout


def test_help_names_both_variables() -> None:
    text = " ".join(run("cog-server", "--help").stdout.split())
    assert "COGFLARE_PORT or PORT" in text
    assert "cogflare cog-server [DIR] [options]" in text
