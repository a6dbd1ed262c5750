"""The README's commands and programs, run as they stand there; only port, folders and home are the test's."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.commands import COGFLARE, REPOSITORY, Command

README = (REPOSITORY / "README.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def command_line(beginning: str) -> str:
    """The README's shell command that begins like this, with its continuation lines."""
    found = re.search(rf"^    ({re.escape(beginning)}(?:.*\\\n)*.*)$", README, re.MULTILINE)
    assert found, f"the README has no command {beginning!r}"
    return found[1]


class Newcomer:
    """Somebody with a new home directory who types what the README says."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self.home = home
        self.model = home / "hello"
        self.model.mkdir()
        self._stack = stack
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("COGFLARE_", "XDG_", "REPLICATE_"))}
        self.environment = {**kept, "HOME": str(home)}
        self.url = ""

    def start(self, line: str, **more: str) -> Command:
        """A command that stays up."""
        arguments = self._mine(line).split()[1:]
        command = Command(*arguments, environment={**self.environment, **more})
        self._stack.callback(command.close)
        return command

    def types(self, line: str) -> str:
        """A command that ends; returns what it prints."""
        return self._run(["bash", "-c", self._mine(line)])

    def runs(self, program: str) -> str:
        return self._run([sys.executable, "-c", self._mine(program)])

    def _mine(self, text: str) -> str:
        mine = text.replace(".venv/bin/cogflare", COGFLARE)
        mine = mine.replace("=DIR", f"={self.model}").replace(" DIR", f" {self.model}")
        return mine.replace("http://127.0.0.1:8000", self.url) if self.url else mine

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    with ExitStack() as stack:
        yield Newcomer(tmp_path, stack)


def test_the_first_model_as_the_readme_says(newcomer: Newcomer) -> None:
    (newcomer.model / "predict.py").write_text(PROGRAMS[0])
    assert newcomer.types(command_line(".venv/bin/cogflare predict DIR")) == "hello world\n"
    server = newcomer.start(command_line(".venv/bin/cogflare serve").partition("#")[0], COGFLARE_PORT="0")
    newcomer.url = server.line(r"URL +(http://\S+)")[1]
    newcomer.types(command_line(".venv/bin/cogflare token create gpu-1"))
    worker = (newcomer.home / "worker.token").read_text().strip()
    agent = newcomer.start(command_line(".venv/bin/cogflare agent"), COGFLARE_TOKEN=worker)
    agent.line("serving .*me/hello")
    newcomer.types(command_line(".venv/bin/cogflare token create my-app"))
    assert newcomer.runs(PROGRAMS[1]) == "hello world\n"
    variables = command_line("export COGFLARE_SERVER")
    run = command_line(".venv/bin/cogflare predict me/hello")
    assert newcomer.types(f"{variables}; {run}") == "hello world\n"
    if shutil.which("curl"):
        assert '"output":"hello world"' in newcomer.types(command_line("curl -s"))


def test_make_demo_is_the_first_command() -> None:
    assert command_line("make ") == "make demo"
    targets = subprocess.run(
        ["make", "-C", str(REPOSITORY), "help"], capture_output=True, text=True, check=True
    )
    for verb in ("install", "demo", "test", "check", "bench"):
        assert f"make {verb} " in targets.stdout
