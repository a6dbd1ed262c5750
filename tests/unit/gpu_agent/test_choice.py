"""Which interpreter a model runs in, and the line that tells how to mend what it lacks."""

import sys
from pathlib import Path
from typing import Any

import pytest

from gpu_agent.choice import Choice, choose
from gpu_agent.interpreters import find, own_version, probe
from gpu_agent.model_dir import ModelDir

PACKAGES = "build: {python_packages: ['torch==2'], python_requirements: needs.txt}"


def model(folder: Path, text: str = "build: {}") -> ModelDir:
    (folder / "predict.py").touch()
    (folder / "cog.yaml").write_text(f"{text}\npredict: predict.py\n")
    return ModelDir.read(folder)


def chosen(read: ModelDir, said: list[str], *, python: str = "", install: bool = False) -> Choice:
    return choose(
        read,
        python=python,
        install=install,
        cache=read.path / "cache",
        command="cogflare agent",
        say=said.append,
    )


def test_a_named_interpreter_wins(tmp_path: Path) -> None:
    said: list[str] = []
    read = model(tmp_path, 'build: {python_version: "3.99"}')
    assert chosen(read, said, python="/a/python", install=True).python == "/a/python"
    assert not said
    assert not (tmp_path / "cache").exists()


def test_our_own_interpreter_is_taken_with_a_word_when_another_is_wanted(tmp_path: Path) -> None:
    said: list[str] = []
    read = model(tmp_path, f'build: {{python_version: "{own_version()}.999"}}')
    assert chosen(read, said).python == sys.executable
    assert not said
    read = model(tmp_path, 'build: {python_version: "3.99"}')
    assert chosen(read, said).python == sys.executable
    assert said == [
        f"{tmp_path}/cog.yaml: wants Python 3.99, and this is {own_version()}: "
        "`cogflare agent ... --install` runs the model in a 3.99, --python PATH in one of yours"
    ]


def test_with_install_the_model_has_its_own(tmp_path: Path) -> None:
    choice = chosen(model(tmp_path), [], install=True)
    assert choice.python.startswith(str(tmp_path / "cache" / "environments"))
    assert probe(choice.python) is not None


@pytest.mark.parametrize(
    ("text", "origin", "mends"),
    [
        (PACKAGES, "own", "`cogflare agent ... --install` runs the model with what DIR/cog.yaml lists"),
        (PACKAGES, "named", "`PY -m pip install torch==2 -r DIR/needs.txt`"),
        (PACKAGES, "installed", "add the package that has it to build.python_packages in DIR/cog.yaml"),
        ("build: {}", "own", "`PY -m pip install torch`"),
        ("build: {}", "named", "`PY -m pip install torch`"),
    ],
)
def test_a_missing_module_is_one_line_with_what_mends_it(
    tmp_path: Path, text: str, origin: Any, mends: str
) -> None:
    choice = Choice(model(tmp_path, text), "PY", origin, "cogflare agent")
    assert choice.missing("torch.nn") == f"PY has no module torch.nn: {mends.replace('DIR', str(tmp_path))}"


def test_interpreters_are_found_on_the_path_and_in_pyenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of versions that no machine has: scripts that say they are such."""

    def python(place: Path, version: str) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"#!/bin/sh\nprintf '{version}\\nx86_64\\n{place}\\n'\n")
        place.chmod(0o755)

    broken = tmp_path / "bin" / "python3.98"  # as a shim of pyenv whose version is not switched on
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    python(tmp_path / "bin" / "python3.99", "3.99.1")
    python(tmp_path / "pyenv" / "versions" / "3.98.2" / "bin" / "python", "3.98.2")
    python(tmp_path / "pyenv" / "versions" / "3.98.7" / "bin" / "python", "3.98.7")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))

    def version(wanted: str) -> str | None:
        found = find(wanted)
        return None if found is None else found.version

    assert version("3.99") == "3.99.1"
    assert version("3.98") == "3.98.7"
    assert version("3.98.2") == "3.98.2"
    assert version("3.99.5") == "3.99.1"
    assert version("3.97") is None
    assert version(own_version()) is not None
