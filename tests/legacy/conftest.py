"""A server with the tokens of 2022, workers of 2022, and newer ones in the same pool."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import WAITER
from tests.support.commands import Agent, Server, run
from tests.support.legacy import LegacyWorker, import_tokens, pool_of


@pytest.fixture
def old(serve: Callable[..., Server]) -> Server:
    """A server that has taken over the tokens of 2022."""
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
            *("token", "create", "new-worker", "--worker", pool_of(server), "--json"),
            *("--data", str(server.data)),
        )
        server.tokens["default", "worker"] = json.loads(made.stdout)["token"]
        agent = Agent(server, tmp_path / "new-agent", WAITER)
        stack.callback(agent.close)
        return agent.ready()

    return start
