"""Servers and agents for the scenarios: real commands, ended with the test."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.commands import Agent, Server
from tests.support.examples import SOAK
from tests.support.seaweed import SeaweedFS

# A shell's background jobs ignore Ctrl-C, and so would every command that tests start there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(SOAK)
TESTS = Path(__file__).parent
MODELS = TESTS / "acceptance" / "models"
LONGEST = ("simulation", "fault", "acceptance", "legacy", "contract", "cog_server")
"""Folders whose files take long, the longest first: the last to begin should be a short one."""
WAITER = f"test/waiter={MODELS / 'waiter'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(TESTS).parts[0]
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """One real object store for all tests of a run that need one."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweed")) as store:
        yield store


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack: ExitStack, tmp_path: Path) -> Callable[..., Server]:
    """Start a server on a fresh data directory; options are those of the command."""

    def start(*options: str, data: Path | None = None) -> Server:
        server = Server(data or tmp_path / "data", *options)
        stack.callback(server.close)
        return server.start()

    return start


@pytest.fixture
def work(stack: ExitStack, tmp_path: Path) -> Callable[..., Agent]:
    """Start an agent that serves the waiter, or the models given; each has its own state."""
    count = 0

    def start(server: Server, *models: str, url: str | None = None, options: tuple[str, ...] = ()) -> Agent:
        nonlocal count
        count += 1
        state = tmp_path / f"agent-{count}"
        agent = Agent(server, state, *(models or (WAITER,)), url=url, options=options)
        stack.callback(agent.close)
        return agent

    return start


class Trace:
    """The folder through which a test and the waiter's runs talk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def input(self, name: str, *, wait: bool = True) -> dict[str, object]:
        return {"name": name, "folder": str(self.folder), "wait": wait}

    def runs(self, name: str) -> list[str]:
        path = self.folder / f"{name}.runs"
        return path.read_text().splitlines() if path.exists() else []

    def go(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    folder = tmp_path / "trace"
    folder.mkdir()
    return Trace(folder)
