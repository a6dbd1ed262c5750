"""The official client of npm, unmodified, reads streams of text and of files, and hears of a cut."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import REPOSITORY, Agent, Command, Server
from tests.support.proxy import Proxy
from tests.support.stream_reader import StreamReader

MODELS = REPOSITORY / "tests" / "cog_server" / "models"
STREAM, FILES = f"test/stream={MODELS / 'stream'}", f"test/files={MODELS / 'stream_files'}"
PACKAGES = REPOSITORY / "build" / "clients" / "javascript" / "node_modules"
PROGRAM = Path(__file__).with_name("stream_reader.cjs")

Reading = Callable[[str, str, dict[str, Any]], Command]


@pytest.fixture
def server(serve: Callable[..., Server], work: Callable[..., Agent]) -> Server:
    server = serve()
    work(server, STREAM, FILES, options=("--slots", "2")).ready()
    return server


@pytest.fixture
def read(server: Server, stack: ExitStack) -> Iterator[Reading]:
    node = shutil.which("node")
    assert node is not None, "make test installs node"
    assert (PACKAGES / "replicate").is_dir(), "make test installs the client"

    def start(base: str, model: str, input: dict[str, Any]) -> Command:
        arguments = [str(PROGRAM), f"{base}/v1", server.token(), model, json.dumps(input)]
        command = Command(*arguments, program=node, environment={"NODE_PATH": str(PACKAGES)})
        stack.callback(command.close)
        return command

    yield start


def said(command: Command) -> list[dict[str, Any]]:
    """All that the program has said, once it is over."""
    command.line(r'"ended":')
    return [json.loads(line) for line in command.lines]


def test_text(server: Server, read: Reading) -> None:
    *events, last = said(read(server.url, "test/stream", {"count": 3}))
    assert [one["data"] for one in events if one["event"] == "output"] == ["<0>", "<1>", "<2>"]
    assert not any(one["file"] for one in events)
    assert (events[-1]["event"], events[-1]["data"], last) == ("done", "{}", {"ended": True})


def test_files(server: Server, read: Reading) -> None:
    *events, last = said(read(server.url, "test/files", {"count": 2}))
    files = [one for one in events if one["event"] == "output"]
    assert [(one["file"], one["data"]) for one in files] == [(True, "file 0"), (True, "file 1")]
    assert last == {"ended": True}


def test_a_failure_is_an_error(server: Server, read: Reading) -> None:
    *_, last = said(read(server.url, "test/stream", {"count": 1, "fail": True}))
    assert last["ended"] is False
    assert "midway" in last["error"]


def test_a_cut_is_an_error_and_the_rest_can_be_read(
    server: Server, read: Reading, stack: ExitStack, tmp_path: Path
) -> None:
    proxy = Proxy(server.port)
    stack.callback(proxy.close)
    server.stop()
    server.options = (*server.options, "--public-url", proxy.url)
    server.start()
    command = read(proxy.url, "test/stream", {"count": 3, "folder": str(tmp_path)})
    command.line(r'"<0>"')
    proxy.reset()
    *events, last = said(command)
    assert last["ended"] is False
    for number in (1, 2):
        (tmp_path / str(number)).touch()
    (made,) = server.client().get("/v1/predictions").json()["results"]
    rest = StreamReader(made["urls"]["stream"], last_id=events[-1]["id"])
    rest.end()
    assert [one["data"] for one in events if one["event"] == "output"] + rest.outputs == ["<0>", "<1>", "<2>"]
