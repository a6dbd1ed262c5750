"""Containers that are started as Cog and Cogflare have always started them, with our runtime on the path."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.commands import REPOSITORY, Command, Server, until
from tests.support.receiver import Reply, receiver

RUNTIME = REPOSITORY / "gpu_agent" / "runtime"
MODEL = """\
import sys
import of_the_model
from cog import BasePredictor

class Predictor(BasePredictor):
    def predict(self, text: str = "hello") -> str:
        return f"{text} from {sys.executable} with {of_the_model.NAME}"

def train(n: int = 1) -> str:
    return f"trained {n}"
"""


class Launched(Command):
    """A process of the model's interpreter, in the model's folder."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("COGFLARE_")}
        path = os.pathsep.join([str(RUNTIME), str(folder.parent / "packages")])
        environment = {**kept, "PYTHONPATH": path, **environment}
        super().__init__("-m", *words, program=sys.executable, cwd=folder, environment=environment)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose packages would break the server, if it took them for its own."""
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "of_the_model.py").write_text("NAME = 'its packages'\n")
    for name in ("msgspec", "yaml", "uvicorn", "websockets", "edge"):
        (packages / f"{name}.py").write_text("raise ImportError('of another Python')\n")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "predict.py").write_text(MODEL)
    (folder / "cog.yaml").write_text('predict: "predict.py:Predictor"\ntrain: "predict.py:train"\n')
    return folder


@pytest.fixture
def launch(folder: Path) -> Iterator[Callable[..., Launched]]:
    with ExitStack() as stack:

        def start(*words: str, **environment: str) -> Launched:
            launched = Launched(folder, *words, **environment)
            stack.callback(launched.close)
            return launched

        yield start


def ready(launched: Launched) -> str:
    """The URL of a server, once its model is set up."""
    url = launched.line(r"listening on (http://127\.0\.0\.1:\d+)")[1]
    until(lambda: httpx.get(f"{url}/health-check").json()["status"] == "READY", "the model is ready")
    return url


def test_cogs_server(launch: Callable[..., Launched]) -> None:
    launched = launch("cog.server.http", "--host", "127.0.0.1", "--threads", "2", PORT="0")
    url = ready(launched)
    answer = httpx.post(f"{url}/predictions", json={"input": {"text": "hi"}}).json()
    assert answer["output"] == f"hi from {sys.executable} with its packages"
    assert httpx.post(f"{url}/trainings", json={"input": {"n": 2}}).json()["output"] == "trained 2"
    command = Path(f"/proc/{launched.process.pid}/cmdline").read_bytes().split(b"\0")
    assert b"cog-server" in command, "it is the same process"
    launched.process.send_signal(signal.SIGTERM)
    assert launched.process.wait(20) == 0


def test_cogs_server_in_the_mode_that_trains(launch: Callable[..., Launched]) -> None:
    url = ready(launch("cog.server.http", "--host", "127.0.0.1", "--port", "0", "--x-mode", "train"))
    assert httpx.post(f"{url}/predictions", json={"input": {"n": 3}}).json()["output"] == "trained 3"


def test_await_explicit_shutdown(launch: Callable[..., Launched]) -> None:
    launched = launch("cog.server.http", "--host", "127.0.0.1", "--await-explicit-shutdown", "true", PORT="0")
    url = ready(launched)
    launched.process.send_signal(signal.SIGTERM)
    launched.line("SIGTERM is ignored")
    httpx.post(f"{url}/shutdown")
    assert launched.process.wait(20) == 0


def test_a_worker_of_2022(
    serve: Callable[..., Server], launch: Callable[..., Launched], tmp_path: Path
) -> None:
    server = serve()
    token = server.token(worker=True)
    worker = launch(
        "cog.server.websockets",
        f"{server.url.replace('http', 'ws')}/v1/models/me/model/websockets/{token}",
        f"{server.url}/v1/models/me/model/files",
        "me/model",
        COGFLARE_STATE=str(tmp_path / "state"),
    )
    worker.line("serving me/model")
    calls = server.calls()
    output = calls.ended(calls.create("me/model", {"text": "hi"})["id"])["output"]
    assert output == f"hi from {sys.executable} with its packages"
    shown = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "--model me/model=." in shown
    assert token not in shown
    server.kill()
    worker.line("no connection to")
    server.start()
    assert calls.ended(calls.create("me/model", {})["id"])["status"] == "succeeded"
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(20) == 0


def test_a_worker_of_2022_at_a_server_that_is_not_ours(
    launch: Callable[..., Launched], tmp_path: Path
) -> None:
    with receiver() as other:
        other.answer = lambda request: Reply(404, body=b"Not found")
        worker = launch(
            "cog.server.websockets",
            f"ws://127.0.0.1:{other.port}/prefix/v1/models/me/model/websocket/token",
            f"{other.url}/v1/models/me/model/files",
            "me/model",
            COGFLARE_STATE=str(tmp_path / "state"),
        )
        line = worker.line("no connection to").string
        assert f"{other.url}/prefix: there is no Cogflare server at this URL" in line
        assert "this runtime speaks Cogflare's agent protocol, cogflare.v1 (HTTP 404)" in line
        assert other.received[0].path == "/prefix/v1/workers/websocket"
