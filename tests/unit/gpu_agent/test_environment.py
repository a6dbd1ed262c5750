"""A model's virtual environment: real ones, made by pip of a package in a folder, without any network."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_agent.environment import EnvironmentFailed, default_cache, forget_unused, left_to_do, prepare
from gpu_agent.model_dir import ModelDir
from tests.support.commands import until
from tests.support.local_package import builds, write_model

PREPARE = """
import sys
from pathlib import Path
from gpu_agent.environment import prepare
from gpu_agent.model_dir import ModelDir
print(prepare(ModelDir.read(Path(sys.argv[1])), Path(sys.argv[2]), lambda line: print(line, file=sys.stderr)))
"""


def say_nothing(_line: str) -> None:
    pass


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def trees(cache: Path) -> list[Path]:
    return list(cache.glob("environments/*/tree-*"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A model, the cache with its environment, and the interpreter of that."""
    folder = tmp_path_factory.mktemp("made")
    model = write_model(folder / "model")
    return model, folder / "cache", prepare(ModelDir.read(model), folder / "cache", say_nothing)


Start = Callable[[Path, Path], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Prepare in a process of its own."""
    processes = []
    timers = []

    def start(model: Path, cache: Path) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", PREPARE, str(model), str(cache)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        timers.append(threading.Timer(60.0, process.kill))  # whoever reads from it gets to an end
        timers[-1].start()
        return process

    yield start
    for timer in timers:
        timer.cancel()
    for process in processes:
        process.kill()
        process.communicate()


def test_what_is_listed_is_there(made: tuple[Path, Path, str]) -> None:
    _, cache, python = made
    assert output(python, "-c", "import greeting, sys; print(greeting.WORD, sys.prefix)").startswith("hello ")
    assert output(Path(python).with_name("greet")) == "hello"
    assert Path(python).is_relative_to(cache)
    assert output(python, "-c", "import importlib.util as u; print(u.find_spec('msgspec'))") == "None"


def test_it_is_kept(made: tuple[Path, Path, str]) -> None:
    model, cache, python = made
    said: list[str] = []
    assert prepare(ModelDir.read(model), cache, said.append) == python
    assert builds(model) == 1
    assert said == [
        f"{model}/cog.yaml: also lists system_packages (ffmpeg) and run (1 command): that is left to you"
    ]


def test_what_a_local_package_holds_makes_another_one(made: tuple[Path, Path, str], tmp_path: Path) -> None:
    _, cache, python = made
    model = write_model(tmp_path / "model")
    (model / "parts" / "greeting" / ".hold").unlink(missing_ok=True)
    assert prepare(ModelDir.read(model), cache, say_nothing) == python
    (model / "parts" / "greeting" / "greeting.py").write_text("WORD = 'hi'\n")
    other = prepare(ModelDir.read(model), cache, say_nothing)
    assert other != python
    assert output(other, "-c", "import greeting; print(greeting.WORD)") == "hi"


def test_pip_that_fails_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "model")
    (model / "requirements.txt").write_text("--no-index\nno-such-package-of-ours\n")
    with pytest.raises(EnvironmentFailed, match=r"pip could not install what .*cog\.yaml lists"):
        prepare(ModelDir.read(model), tmp_path / "cache", say_nothing)
    assert "no-such-package-of-ours" in capfd.readouterr().err
    assert not trees(tmp_path / "cache")
    assert not list(tmp_path.glob("cache/environments/*/venv"))


def test_two_processes_make_it_once(tmp_path: Path, start: Start) -> None:
    model = write_model(tmp_path / "model")
    hold = model / "parts" / "greeting" / ".hold"
    hold.touch()
    first = start(model, tmp_path / "cache")
    until(lambda: builds(model), "pip builds the package")
    # The files that tell them apart are the same, so the second one wants the same environment.
    second = start(model, tmp_path / "cache")
    assert second.stderr is not None
    lines = iter(second.stderr.readline, "")
    assert any("waiting for another process that is making its environment" in line for line in lines)
    hold.unlink()
    pythons = [process.communicate(timeout=60)[0].strip() for process in (first, second)]
    assert pythons[0] == pythons[1]
    assert builds(model) == 1
    assert output(pythons[0], "-c", "import greeting; print(greeting.WORD)") == "hello"


def test_a_cut_leaves_nothing_half(tmp_path: Path, start: Start) -> None:
    model = write_model(tmp_path / "model")
    hold = model / "parts" / "greeting" / ".hold"
    hold.touch()
    process = start(model, tmp_path / "cache")
    until(lambda: builds(model), "pip builds the package")
    process.kill()
    process.wait()
    assert len(trees(tmp_path / "cache")) == 1
    assert not list(tmp_path.glob("cache/environments/*/venv"))
    builder = int((model / "parts" / "greeting" / ".log").read_text())
    os.kill(builder, signal.SIGKILL)
    hold.unlink()
    python = prepare(ModelDir.read(model), tmp_path / "cache", say_nothing)
    assert output(python, "-c", "import greeting; print(greeting.WORD)") == "hello"
    assert len(trees(tmp_path / "cache")) == 1


def test_an_interrupt_ends_pip_and_leaves_nothing(tmp_path: Path, start: Start) -> None:
    model = write_model(tmp_path / "model")
    (model / "parts" / "greeting" / ".hold").touch()
    process = start(model, tmp_path / "cache")
    until(lambda: builds(model), "pip builds the package")
    builder = int((model / "parts" / "greeting" / ".log").read_text())
    process.send_signal(signal.SIGINT)
    process.wait(30)

    def gone() -> bool:
        state = Path(f"/proc/{builder}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"

    until(gone, "the process that builds has ended")
    assert not trees(tmp_path / "cache")


DAYS_S = 30 * 86_400.0

RUN = PREPARE + "sys.stdout.flush(); sys.stdin.read()"
"""Prepare, and be there as one that runs a model is, until standard input ends."""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that uses the environment of ``tmp_path / "model"``."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path / "model"), str(tmp_path / "cache")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(60.0, process.kill)
    timer.start()
    with process:
        yield process
        timer.cancel()
        process.kill()


def grow_old(python: str) -> None:
    """As if it had been used last a little more than 30 days ago."""
    then = time.time() - DAYS_S - 60
    os.utime(Path(python).parents[2] / "used", (then, then))


def test_one_that_nobody_has_used_for_long_is_removed(
    tmp_path: Path, runner: "subprocess.Popen[str]"
) -> None:
    said: list[str] = []
    cache = tmp_path / "cache"
    config(tmp_path / "model", "build: {}")
    assert runner.stdout is not None
    python = runner.stdout.readline().strip()
    grow_old(python)
    forget_unused(cache, DAYS_S, said.append)
    assert (said, len(trees(cache))) == ([], 1)  # in use, however long ago that began
    runner.communicate(timeout=10)
    forget_unused(cache, DAYS_S, said.append)
    assert (said, len(trees(cache))) == ([], 1)  # its end was a use
    grow_old(python)
    forget_unused(cache, 0.0, said.append)
    assert (said, len(trees(cache))) == ([], 1)
    forget_unused(cache, DAYS_S, said.append)
    assert trees(cache) == []
    (line,) = said
    assert line.startswith("removed 1 environment that nobody had used for 30 days (")
    assert line.endswith(f" MB); 0 left (0 MB) in {cache}/environments")
    forget_unused(cache, DAYS_S, said.append)
    assert len(said) == 1
    assert prepare(ModelDir.read(tmp_path / "model"), cache, say_nothing) == python
    assert output(python, "-c", "print(1)") == "1"


def test_one_that_is_being_made_is_left_alone(tmp_path: Path, start: Start) -> None:
    model = write_model(tmp_path / "model")
    hold = model / "parts" / "greeting" / ".hold"
    hold.touch()
    process = start(model, tmp_path / "cache")
    until(lambda: builds(model), "pip builds the package")
    (used,) = tmp_path.glob("cache/environments/*/used")
    grow_old(str(used.parent / "venv" / "bin" / "python"))
    forget_unused(tmp_path / "cache", DAYS_S, say_nothing)
    hold.unlink()
    python = process.communicate(timeout=60)[0].strip()
    assert output(python, "-c", "import greeting; print(greeting.WORD)") == "hello"


def test_one_of_a_time_before_its_uses_were_noted_is_used_now(tmp_path: Path) -> None:
    tree = tmp_path / "cache" / "environments" / "digest" / "tree-a"
    tree.mkdir(parents=True)
    forget_unused(tmp_path / "cache", DAYS_S, say_nothing)
    assert tree.exists()
    grow_old(str(tree / "bin" / "python"))
    (tree / "file").write_bytes(bytes(4096))
    forget_unused(tmp_path / "cache", DAYS_S, say_nothing)
    assert not tree.exists()


def test_where_there_is_no_cache_nothing_is_removed(tmp_path: Path) -> None:
    forget_unused(tmp_path / "cache", DAYS_S, pytest.fail)


def config(folder: Path, text: str) -> ModelDir:
    folder.mkdir(exist_ok=True)
    (folder / "predict.py").touch()
    (folder / "cog.yaml").write_text(f"{text}\npredict: predict.py\n")
    return ModelDir.read(folder)


def test_without_packages_there_is_still_an_environment_of_its_own(tmp_path: Path) -> None:
    model = config(
        tmp_path / "model", f'build: {{python_version: "{sys.version_info[0]}.{sys.version_info[1]}"}}'
    )
    python = prepare(model, tmp_path / "cache", say_nothing)
    assert output(python, "-c", "import importlib.util as u; print(u.find_spec('msgspec'))") == "None"
    assert not left_to_do(model)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('build: {python_version: "3.99"}', "no Python 3.99 on this machine: install it"),
        ('build: {python_version: "3.8"}', "python_version is 3.8, and models run here from 3.9 on"),
        ("build: {python_requirements: no.txt}", "no.txt: there is no such file"),
    ],
)
def test_what_cannot_be_made_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(EnvironmentFailed) as caught:
        prepare(config(tmp_path / "model", text), tmp_path / "cache", say_nothing)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailed, match="choose another place with --cache"):
        prepare(config(tmp_path / "model", "build: {}"), tmp_path / "file", say_nothing)


def test_the_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/cogflare")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_cache() == Path("/home/me/.cache/cogflare")
