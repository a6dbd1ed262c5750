"""An agent in front of a running Cog server, which is our own: everything as a user of the API sees it."""

import base64
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.commands import Command, Server, until

MODEL = """\
import os
import tempfile
import time
from typing import Iterator, Optional
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, hold: str = "", file: Optional[Path] = None, fail: str = "") -> Iterator[Path]:
        for number in range(2):
            print("frame", number)
            path = os.path.join(tempfile.mkdtemp(), f"frame{number}.txt")
            with open(path, "w") as out:
                size = len(file.read_bytes()) if file else 0
                out.write(f"{number} of {file.name if file else None} {size}")
            yield Path(path)
        while hold and not os.path.exists(hold):
            time.sleep(0.01)
        if fail == "exit":
            os._exit(3)
        if fail:
            raise ValueError(fail)
"""


class Container(Command):
    """A Cog server, of whose model's folder the agent knows nothing."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__("cog-server", str(folder), "--port", str(port))
        self.url = self.line(r"listening on (http://127\.0\.0\.1:\d+)")[1]
        self.port = int(self.url.rpartition(":")[2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "predict.py").write_text(MODEL)
    return folder


@pytest.fixture
def container(folder: Path) -> Iterator[Container]:
    container = Container(folder)
    yield container
    container.close()


@pytest.fixture
def attach(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start an agent with these options."""
    with ExitStack() as stack:

        def start(server: Server, *options: str) -> Command:
            words = ["--server", server.url, "--state", str(tmp_path / "state"), *options]
            agent = Command("agent", *words, environment={"COGFLARE_TOKEN": server.token(worker=True)})
            stack.callback(agent.close)
            return agent

        yield start


Attach = Callable[..., Command]
Serve = Callable[..., Server]


def files(client: httpx.Client, prediction: dict[str, object]) -> list[str]:
    output = prediction["output"]
    assert isinstance(output, list), prediction
    return [client.get(url).text for url in output]


def test_predictions(serve: Serve, attach: Attach, container: Container) -> None:
    server = serve()
    agent = attach(server, "--model", "me/m", "--cog-url", container.url)
    agent.line("serving me/m")
    calls = server.calls()
    ended = calls.ended(calls.create("me/m", {})["id"])
    assert (ended["status"], ended["logs"]) == ("succeeded", "frame 0\nframe 1\n")
    assert files(calls.http, ended) == ["0 of None 0", "1 of None 0"]
    small = "data:text/plain;base64," + base64.b64encode(b"hello").decode()
    assert files(calls.http, calls.ended(calls.create("me/m", {"file": small})["id"]))[0].endswith(" 5")
    large = calls.http.post("/v1/files", files={"content": ("big.bin", bytes(3_000_000))}).json()

    def named() -> bool:
        ended = calls.ended(calls.create("me/m", {"file": large["urls"]["get"]})["id"])
        text = files(calls.http, ended)[0]
        assert text.endswith(" 3000000")
        return "big.bin" in text

    until(named, "it goes by a URL, which has its name: the container is known to reach the agent")
    ended = calls.ended(calls.create("me/m", {"fail": "no good"})["id"])
    assert (ended["status"], ended["error"]) == ("failed", "no good")
    assert "ValueError: no good" in ended["logs"]
    refused = calls.http.post("/v1/predictions", json={"model": "me/m", "input": {"hold": 3}})
    assert refused.status_code == 422, "the container's document is the model's"


def test_progress_and_cancel(serve: Serve, attach: Attach, container: Container, tmp_path: Path) -> None:
    server = serve()
    attach(server, "--model", f"me/m={container.url}").line("serving me/m")
    calls = server.calls()
    id = calls.create("me/m", {"hold": str(tmp_path / "never")})["id"]
    until(lambda: len(calls.get(id)["output"] or ()) == 2, "both frames are there")
    assert "frame 1" in calls.get(id)["logs"]
    calls.http.post(f"/v1/predictions/{id}/cancel")
    assert calls.ended(id)["status"] == "canceled"
    health = f"{container.url}/health-check"
    until(lambda: httpx.get(health).json()["status"] == "READY", "the container has stopped it")


def test_a_container_that_is_busy_with_others(
    serve: Serve, attach: Attach, container: Container, tmp_path: Path
) -> None:
    server = serve()
    agent = attach(server, "--model", f"me/m={container.url}")
    agent.line("serving me/m")
    order = {"input": {"hold": str(tmp_path / "go")}}
    other = httpx.post(f"{container.url}/predictions", json=order, headers={"Prefer": "respond-async"})
    assert other.status_code == 202
    calls = server.calls()
    id = calls.create("me/m", {})["id"]
    agent.line("given back: Already running a prediction")
    (tmp_path / "go").touch()
    ended = calls.ended(id)
    assert ended["status"] == "succeeded"


def test_a_container_that_dies_and_comes_back(
    serve: Serve, attach: Attach, container: Container, folder: Path, tmp_path: Path
) -> None:
    server = serve()
    agent = attach(server, "--model", f"me/m={container.url}")
    agent.line("serving me/m")
    calls = server.calls()
    id = calls.create("me/m", {"hold": str(tmp_path / "go")})["id"]
    until(lambda: len(calls.get(id)["output"] or ()) == 2, "both frames are there")
    os.killpg(container.process.pid, signal.SIGKILL)
    agent.line("failed after .*: the Cog server at .* went away")
    agent.line("waiting for it")
    (tmp_path / "go").touch()
    with ExitStack() as stack:
        stack.callback(Container(folder, container.port).close)
        assert calls.ended(id)["status"] == "succeeded", "as after a runner that was killed"


def test_a_prediction_that_ends_the_containers_process_is_poison(
    serve: Serve, attach: Attach, container: Container
) -> None:
    server = serve()
    attach(server, "--model", f"me/m={container.url}").line("serving me/m")
    calls = server.calls()
    ended = calls.ended(calls.create("me/m", {"fail": "exit"})["id"])
    assert (ended["status"], ended["error_code"]) == ("failed", "poison")


def test_the_agent_leaves_the_container_running(
    serve: Serve, attach: Attach, container: Container, tmp_path: Path
) -> None:
    server = serve()
    agent = attach(server, "--model", f"me/m={container.url}")
    agent.line("serving me/m")
    calls = server.calls()
    id = calls.create("me/m", {"hold": str(tmp_path / "go")})["id"]
    until(lambda: len(calls.get(id)["output"] or ()) == 2, "both frames are there")
    agent.process.send_signal(signal.SIGTERM)
    agent.line("draining")
    (tmp_path / "go").touch()
    assert agent.process.wait(20) == 0
    assert calls.ended(id)["status"] == "succeeded"
    assert httpx.get(f"{container.url}/health-check").json()["status"] == "READY"


def test_an_agent_that_leaves_at_once_takes_its_prediction_with_it(
    serve: Serve, attach: Attach, container: Container, tmp_path: Path
) -> None:
    server = serve()
    agent = attach(server, "--model", f"me/m={container.url}")
    agent.line("serving me/m")
    calls = server.calls()
    id = calls.create("me/m", {"hold": str(tmp_path / "never")})["id"]
    until(lambda: len(calls.get(id)["output"] or ()) == 2, "both frames are there")
    agent.process.send_signal(signal.SIGTERM)
    agent.line("draining")
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(20) == 1
    health = f"{container.url}/health-check"
    until(lambda: httpx.get(health).json()["status"] == "READY", "the container has stopped it")
    assert calls.get(id)["completed_at"] is None, "another agent may run it"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "me/m"), "expected OWNER/NAME=DIR, OWNER/NAME=http://HOST:PORT of a Cog server"),
        (("--model", "me/m", "--cog-url", "localhost:5000"), "expected http://HOST[:PORT]"),
        (("--model", "me/m", "--cog-url", "ftp://h"), "--cog-url 'ftp://h': expected http://HOST[:PORT]"),
        (("--model", "me/m=http://h:x"), "--model me/m 'http://h:x': expected http://HOST[:PORT]"),
        (("--model", "me/m=.", "--cog-url", "http://h"), "--cog-url goes with a --model OWNER/NAME"),
        (("--model", "me/a,me/b", "--cog-url", "http://h"), "write several as"),
        (("--model", "me/m=http://h", "--cog-callback-url", "http://h"), "expected http://HOST:PORT"),
    ],
)
def test_wrong_options_are_refused(options: tuple[str, ...], said: str) -> None:
    agent = Command("agent", "--server", "http://127.0.0.1:1", "--token", "t", *options)
    try:
        agent.line(said.replace("[", r"\[").replace("]", r"\]"))
        assert agent.process.wait(20) == 2
    finally:
        agent.close()
