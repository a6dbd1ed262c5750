"""Servers for the scenarios: one of each model for all of them, or a test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cog_server.procedures import Library, Procedures, public_folder
from tests.cog_server.targets import ORIGINAL, Target
from tests.support.receiver import Receiver, receiver

Start = Callable[..., Target]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Target]]:
    """The one server of a model, ready."""
    running: dict[str, Target] = {}

    def get(model: str) -> Target:
        if ORIGINAL and model in running and not running[model].recovers():
            running.pop(model).close()
        if model not in running:
            running[model] = Target(model, tmp_path_factory.mktemp(model))
        return running[model].ready()

    yield get
    for target in running.values():
        target.close()


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a server of one's own; ``ready`` is the caller's to wait for."""
    running: list[Target] = []

    def begin(model: str, *options: str, **more: object) -> Target:
        target = Target(model, tmp_path_factory.mktemp(model), *options, **more)  # type: ignore[arg-type]
        running.append(target)
        return target

    yield begin
    for target in running:
        target.close()


@pytest.fixture
def hooks() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


class Signals:
    """The folder through which a test and the waiting models talk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def input(self, name: str) -> dict[str, str]:
        return {"folder": str(self.folder), "name": name}

    def there(self, name: str) -> bool:
        return (self.folder / name).exists()

    def make(self, name: str) -> None:
        (self.folder / name).touch()


@pytest.fixture
def signals(tmp_path: Path) -> Signals:
    return Signals(tmp_path)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder of the test's that every user may write to."""
    with public_folder() as folder:
        yield folder


@pytest.fixture
def library() -> Iterator[Library]:
    with public_folder() as folder:
        yield Library(folder)


@pytest.fixture
def serve_procedures() -> Iterator[Callable[..., Procedures]]:
    """Start a server of procedures with these options."""
    running: list[Procedures] = []

    def begin(*options: str, **more: object) -> Procedures:
        server = Procedures(*options, **more)  # type: ignore[arg-type]
        running.append(server)
        return server

    yield begin
    for server in running:
        server.close()
