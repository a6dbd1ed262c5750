"""The Pythons of this machine, and a process that inspects many models at once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.ears import EARS

HERE = Path(__file__).parent
RUNTIME = HERE.parents[1] / "gpu_agent" / "runtime"
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def _pythons() -> dict[str, str]:
    """Minor version -> interpreter, of those that are there: pyenv's, PATH's and this one."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for version in VERSIONS:
        candidates = [
            *sorted(root.glob(f"versions/{version}.*/bin/python")),
            shutil.which(f"python{version}"),
        ]
        for candidate in filter(None, candidates):
            # A shim of pyenv is there for each version, but runs only the chosen ones.
            if "shims" not in str(candidate):
                found.setdefault(version, str(candidate))
    return found


PYTHONS = _pythons()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "any_python" in metafunc.fixturenames:
        metafunc.parametrize("any_python", list(PYTHONS.values()), ids=list(PYTHONS), scope="session")


Inspect = Callable[..., dict[str, list[Any]]]


def run_inspection(python: str, **asked: Any) -> dict[str, list[Any]]:
    done = subprocess.run(
        [python, "-S", "-W", "error", str(HERE / "inspect_models.py")],
        input=json.dumps(asked),
        env={"PYTHONPATH": str(RUNTIME), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[Any]] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="session")
def inspect_models() -> Inspect:
    return run_inspection


@pytest.fixture(scope="session")
def runtime() -> Path:
    return RUNTIME


class Coglet:
    """A parent written by the document alone: files, and the three signals, which it waits for one by one."""

    def __init__(
        self,
        folder: Path,
        work: Path,
        python: str,
        *options: str,
        environment: Mapping[str, str] | None = None,
        interpreter_options: Iterable[str] = ("-S",),
        **more: Any,
    ) -> None:
        self.work = work
        self.signals: list[signal.Signals] = []
        self.process = subprocess.Popen(
            [python, *interpreter_options, "-m", "coglet", "--dir", str(work), *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(RUNTIME), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **{"stdin": subprocess.PIPE, **more},
        )

    def until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Look at the files after each signal until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            received = self._next_signal(deadline)
            assert received is not None, (self.signals, sorted(path.name for path in self.work.iterdir()))
            self.signals.append(received)
        return found

    def _next_signal(self, deadline: float) -> signal.Signals | None:
        """None when there is none in time. Meanwhile a cancelation that is not taken is signaled again."""
        while (left_s := deadline - time.monotonic()) > 0:
            received = EARS.hear(min(left_s, 0.1))
            if received is not None:
                return received
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            if list(self.work.glob("cancel-*")):
                self.process.send_signal(signal.SIGIO)
        return None

    def setup_result(self) -> dict[str, Any]:
        return dict(self.until(lambda: self.read("setup-result.json")))

    def read(self, name: str) -> Any:
        try:
            return json.loads((self.work / name).read_text())
        except FileNotFoundError:
            return None

    def write(self, name: str, document: Any = None) -> None:
        draft = self.work.parent / "draft"
        draft.write_text("" if document is None else json.dumps(document))
        draft.chmod(0o600)  # coglet answers in such a one
        draft.rename(self.work / name)

    def predict(self, id: str, **input: Any) -> dict[str, Any]:
        self.write(f"request-{id}.json", {"input": input})
        return self.response(id)

    def response(self, id: str) -> dict[str, Any]:
        def terminal() -> Any:
            found = self.read(f"response-{id}.json")
            return found if found and found["status"] != "processing" else None

        return dict(self.until(terminal))

    def end(self) -> str:
        """Kill it; what it printed."""
        self.process.kill()
        output, _ = self.process.communicate(timeout=10)
        return output


Start = Callable[..., Coglet]


@contextmanager
def starting(base: Path) -> Iterator[Start]:
    """A function that starts coglet on a predictor's source, with this process as its parent."""
    EARS.open()
    started: list[Coglet] = []

    def start(
        source: str,
        *options: str,
        python: str = sys.executable,
        files: Mapping[str, str] | None = None,
        before: Callable[[Path], Any] = lambda _work: None,
        **more: Any,
    ) -> Coglet:
        folder = base / "model"
        folder.mkdir()
        for name, text in {"predict.py": source, **(files or {})}.items():
            (folder / name).write_text(text)
        work = base / "work"
        work.mkdir()
        before(work)
        # An option that is given twice counts as it was given last.
        started.append(Coglet(folder, work, python, "--predictor", "predict.py:Predictor", *options, **more))
        return started[-1]

    yield start
    for coglet in started:
        coglet.end()
    while EARS.hear(0.0):
        pass
    EARS.close()


@pytest.fixture
def start_coglet(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as start:
        yield start


@pytest.fixture
def start_at_short_path() -> Iterator[Start]:
    """For a coglet with sockets in its working directory: their paths have room for some 100 bytes."""
    with tempfile.TemporaryDirectory() as base, starting(Path(base)) as start:
        yield start


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """For a coglet that several tests of a file share."""
    with starting(tmp_path_factory.mktemp("shared")) as start:
        yield start
