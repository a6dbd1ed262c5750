"""A server with the tokens of 2022, workers of 2022, and newer ones in the same pool."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import WAITER
from tests.support.commands import Agent, Server, run, until
from tests.support.legacy import LegacyWorker, calls_of, import_tokens, pool_of


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a file: it has the tokens of 2022, and may call this machine back."""
    server = Server(tmp_path_factory.mktemp("house") / "data", "--allow-private", "127.0.0.0/8")
    try:
        import_tokens(server.start())
        yield server
    finally:
        server.close()


@pytest.fixture
def old(house: Server) -> Iterator[Server]:
    """The server of the file. Each test leaves it without work; its workers are gone by then."""
    yield house
    calls = calls_of(house)

    def at_rest() -> bool:
        found = calls.http.get("/v1/predictions").json()["results"]
        left = [one["id"] for one in found if one["status"] in ("starting", "processing")]
        for id in left:
            calls.http.post(f"/v1/predictions/{id}/cancel")
        return not left

    until(at_rest, "nothing is left to do")


@pytest.fixture
def alone(serve: Callable[..., Server]) -> Server:
    """A server that a test has to itself: to kill it, or to look at all that it knows."""
    server = serve()
    import_tokens(server)
    return server


@pytest.fixture
def hire(stack: ExitStack) -> Callable[..., LegacyWorker]:
    """Start a worker of 2022; it connects when it is told to."""

    def start(server: Server, **options: str) -> LegacyWorker:
        worker = LegacyWorker(server, **options)
        stack.callback(worker.close)
        return worker

    return start


@pytest.fixture
def new_worker(stack: ExitStack, tmp_path: Path) -> Callable[[Server], Agent]:
    """An agent of today beside the old workers: it serves the waiter in their pool."""

    def start(server: Server) -> Agent:
        made = run(
            *("token", "create", f"new-{secrets.token_hex(4)}", "--worker", pool_of(server), "--json"),
            *("--data", str(server.data)),
        )
        server.tokens["default", "worker"] = json.loads(made.stdout)["token"]
        agent = Agent(server, tmp_path / "new-agent", WAITER)
        stack.callback(agent.close)
        return agent.ready()

    return start
