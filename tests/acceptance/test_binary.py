"""The single file on a machine that has nothing but it and a ``python3`` for the models.

``make test-binary`` makes it and names it here; it runs other scenarios of this folder with it, too.
"""

import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.commands import DEADLINE_S, Calls, Command

BINARY = os.environ.get("COGFLARE_BINARY", "")
pytestmark = pytest.mark.skipif(not BINARY, reason="make test-binary makes the single file, and runs this")
NOT_COPIED = (
    "site-packages",
    "test",
    "idlelib",
    "tkinter",
    "config-*",
    "__pycache__",
    "lib2to3",
    "ensurepip",
)
REST_OF_THE_C_LIBRARY = ("librt.so.1", "libpthread.so.0", "libdl.so.2", "libresolv.so.2", "libutil.so.1")
USER = "12345:12345"
MODEL = """
import os
import sys

from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self, text: str) -> str:
        return f"{text} from {sys.executable}, {os.environ.get('LD_LIBRARY_PATH')}"
"""


class Machine:
    """A root directory with the file, a Python, ``/dev/null`` and a home; nothing is mounted in there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[Command] = []
        for folder in ("bin", "dev", "home/model", "tmp"):
            (root / folder).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        os.mknod(root / "dev" / "null", 0o20666, os.makedev(1, 3))
        (root / "dev" / "null").chmod(0o666)
        shutil.copy(BINARY, root / "bin" / "cogflare")
        (root / "home" / "model" / "predict.py").write_text(MODEL)
        self._copy_python()
        for path in (root / "home", *(root / "home").rglob("*")):
            os.chown(path, *map(int, USER.split(":")))

    def _copy_python(self) -> None:
        """The interpreter that runs this, at its own path, with what it links to; ``/bin/python3`` is it."""
        library = Path(sysconfig.get_path("stdlib"))
        self._copy_tree(library)
        program = Path(os.__file__).parents[2] / "bin" / f"python{sysconfig.get_python_version()}"
        said = subprocess.run(
            ["ldd", program, *(library / "lib-dynload").glob("*.so")],
            check=True,
            capture_output=True,
            text=True,
        )
        linked = set(map(Path, re.findall(r"(/\S+) \(0x", said.stdout)))
        (system,) = {path.parent for path in linked if path.name == "libc.so.6"}
        for name in {program, *linked, *(system / part for part in REST_OF_THE_C_LIBRARY)}:
            place = self.root / str(name).lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, place)
        (self.root / "bin" / "python3").symlink_to(program)

    def _copy_tree(self, folder: Path) -> None:
        shutil.copytree(
            folder, self.root / str(folder).lstrip("/"), ignore=shutil.ignore_patterns(*NOT_COPIED)
        )

    def line(self, *words: str, **environment: str) -> list[str]:
        given = {"PATH": "/bin", "HOME": "/home", **environment}
        variables = [f"{name}={value}" for name, value in given.items()]
        chroot = [shutil.which("chroot") or "chroot", f"--userspec={USER}", str(self.root)]
        return ["/usr/bin/env", "-i", *variables, *chroot, "/bin/cogflare", *words]

    def run(self, *words: str, **environment: str) -> str:
        line = self.line(*words, **environment)
        done = subprocess.run(line, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *words: str, **environment: str) -> Command:
        program, *line = self.line(*words, **environment)
        self.commands.append(Command(*line, program=program))
        return self.commands[-1]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid():
        pytest.skip("only root may give a process another root directory")
    made = Machine(tmp_path / "root")
    yield made
    for command in made.commands:
        command.close()


def test_the_file_and_a_python3_are_all_that_a_new_user_needs(machine: Machine) -> None:
    first = machine.run("version")
    assert re.search(r"^cogflare 0\..* \(Python 3\.\d+\.\d+\)\nsingle file of commit \w{7}", first), first
    assert json.loads(machine.run("version", "--json"))["build"]["glibc"]

    server = machine.start("serve", "--data", "/home/data", "--port", "0", "--replicate-url", "")
    url = server.line(r"(http://[\w.]+:\d+)")[1]
    data = ("--data", "/home/data", "--json")
    worker = json.loads(machine.run("token", "create", "gpu", "--worker", "default", *data))["token"]
    client = json.loads(machine.run("token", "create", "mine", *data))["token"]

    options = ("--server", url, "--model", "me/echo=/home/model")
    agent = machine.start("agent", *options, COGFLARE_TOKEN=worker)
    agent.line("serving .*me/echo")
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {client}"}, timeout=60) as http:
        calls = Calls(http)
        ended = calls.ended(calls.create("me/echo", {"text": "hello"})["id"])
        assert ended["output"] == "hello from /bin/python3, None", ended

        # The file is exchanged while both run from it: they go on, and the next start is the new one's.
        (machine.root / "bin" / "cogflare.new").write_bytes(Path(BINARY).read_bytes())
        (machine.root / "bin" / "cogflare.new").chmod(0o755)
        (machine.root / "bin" / "cogflare.new").rename(machine.root / "bin" / "cogflare")
        assert server.terminate() == 0
        machine.start(
            "serve", "--data", "/home/data", "--port", url.rpartition(":")[2], "--replicate-url", ""
        ).line(re.escape(url))
        ended = calls.ended(calls.create("me/echo", {"text": "again"})["id"])
        assert ended["output"] == "again from /bin/python3, None", ended
    assert agent.terminate() == 0
