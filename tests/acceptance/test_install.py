"""``cogflare install``: a model's environment, made ahead of its use."""

import shutil
import signal
from contextlib import ExitStack
from pathlib import Path

from tests.support.commands import Command, run, until
from tests.support.local_package import builds, write_model


def test_what_was_installed_is_used_without_being_made_again(tmp_path: Path) -> None:
    model, cache = write_model(tmp_path / "model"), ["--cache", str(tmp_path / "cache")]
    done = run("install", str(model), *cache)
    assert done.returncode == 0, done.stderr
    python = done.stdout.rstrip("\n")
    assert Path(python).is_file()
    assert builds(model) == 1
    elsewhere = shutil.copytree(model, tmp_path / "elsewhere")
    assert run("install", str(elsewhere), *cache).stdout == done.stdout
    used = run("predict", str(elsewhere), "-i", "name=world", "--install", *cache)
    assert used.stdout == "hello world\n", used.stderr
    assert builds(model) == builds(elsewhere) == 1


def test_the_system_packages_are_listed_and_nothing_is_installed(tmp_path: Path) -> None:
    model, cache = write_model(tmp_path / "model"), tmp_path / "cache"
    done = run("install", str(model), "--cache", str(cache), "--system-packages")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ffmpeg\n", "")
    assert not cache.exists()
    (model / "cog.yaml").write_text("predict: predict.py:Predictor\n")
    done = run("install", str(model), "--system-packages")
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_no_model_and_what_pip_cannot_install(tmp_path: Path) -> None:
    done = run("install", str(tmp_path))
    assert done.returncode == 2
    assert "has neither cog.yaml nor predict.py" in done.stderr
    model = write_model(tmp_path / "model")
    (model / "requirements.txt").write_text("--no-index\nnothing-of-this-name\n")
    done = run("install", str(model), "--cache", str(tmp_path / "cache"))
    assert done.returncode == 1
    assert not done.stdout
    assert done.stderr.splitlines()[-1].startswith("cogflare: pip could not install what ")


def test_a_build_that_is_stopped_leaves_nothing_half_made(tmp_path: Path, stack: ExitStack) -> None:
    model, cache = write_model(tmp_path / "model"), tmp_path / "cache"
    (model / "parts" / "greeting" / ".hold").touch()
    command = Command("install", str(model), "--cache", str(cache))
    stack.callback(command.close)
    until(lambda: list(cache.glob("environments/*/tree-*/bin/python")), "the environment is being made")
    assert command.terminate() == 128 + signal.SIGTERM
    assert not list(cache.glob("environments/*/tree-*"))
