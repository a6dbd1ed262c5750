"""Each procedure is a user of its own where the server is root: what it cannot reach, what is left of it."""

import os
import site
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cog_server.conftest import Signals
from tests.cog_server.procedures import NOBODY, Library, Procedures, reachable_python
from tests.cog_server.test_leaving import alive
from tests.support.commands import COGFLARE, REPOSITORY, until

Serve = Callable[..., Procedures]

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not reachable_python(), reason="needs root, and a Python that every user can run"
)

TOLD = """
def predict(self) -> dict[str, str]:
    found = {name: os.environ[name] for name in os.environ}
    status = open("/proc/self/status").read()
    found["uids"] = status.split("Uid:")[1].splitlines()[0]
    found["gids"] = status.split("Gid:")[1].splitlines()[0]
    found["groups"] = status.split("Groups:")[1].splitlines()[0]
    found["no_new_privs"] = status.split("NoNewPrivs:")[1].splitlines()[0]
    found["cwd"] = os.getcwd()
    found["modes"] = " ".join(oct(os.stat(os.environ[name]).st_mode)[-3:] for name in ("HOME", "TMPDIR"))
    open("/dev/stdout", "w").write("said\\n")
    return found
"""
READ = """
def predict(self, path: str) -> str:
    if os.path.isdir(path):
        return " ".join(os.listdir(path))
    return open(path).read()
"""
HOSTILE = """
def setup(self):
    cell = os.path.dirname(os.environ["HOME"])
    runner = next(name for name in os.listdir(cell) if name.startswith("runner-"))
    self.folder = os.path.join(cell, runner, "1")
def predict(self, target: str, how: str) -> str:
    def put(name, text):
        with open(os.path.join(self.folder, name + ".new"), "w") as file:
            file.write(text)
        os.rename(os.path.join(self.folder, name + ".new"), os.path.join(self.folder, name))
    response = {"status": "succeeded", "output": None, "events": False, "metrics": {}}
    if how == "file":
        response["files"] = [{"pointer": "", "path": target, "name": "x", "content_type": "text/plain"}]
        put("response-1.json", __import__("json").dumps(response))
    elif how == "link":
        os.symlink(target, os.path.join(self.folder, "response-1.json"))
    elif how == "pipe":
        os.mkfifo(os.path.join(self.folder, "response-1.json"))
    elif how == "nonsense":
        put("response-1.json", "[" * 50)
    elif how == "draft":
        os.rename(os.path.join(self.folder, "tmp"), os.path.join(self.folder, "old"))
        os.symlink(target, os.path.join(self.folder, "tmp"))
        return "done"
    bell = os.open(os.path.join(self.folder, "bell"), os.O_WRONLY)
    os.write(bell, b"1")
    time.sleep(60)
"""


@pytest.fixture
def secret(public: Path) -> Path:
    """A file that only root may read, in a folder that everybody may."""
    path = public / "secret"
    path.write_text('"the secret"')
    path.chmod(0o600)
    return path


@as_root
def test_who_it_is(serve_procedures: Serve, library: Library) -> None:
    server = serve_procedures()
    source = library.write("told", TOLD)
    answer = server.ask(source).json()
    found = answer["output"]
    assert answer["logs"] == "said\n"
    [uid] = set(found["uids"].split())
    assert 9000 <= int(uid) <= 20000
    assert set(found["gids"].split()) == {"65534"}
    assert set(found["groups"].split()) <= {"65534"}
    assert found["no_new_privs"].strip() == "1"
    cell = Path(found["HOME"]).parent
    assert Path(found["cwd"]).is_relative_to(cell)
    assert Path(found["TMPDIR"]).is_relative_to(cell)
    assert found["modes"] == "700 700"
    assert (cell.stat().st_uid, cell.stat().st_mode & 0o777) == (int(uid), 0o700)
    other = server.succeeded(library.write("other", TOLD))
    assert set(other["uids"].split()) != {uid}


@pytest.mark.parametrize("isolation", ["auto", "off"])
def test_what_it_sees_of_the_environment(serve_procedures: Serve, library: Library, isolation: str) -> None:
    environment = {
        "COGFLARE_UPLOAD_URL": "http://a",
        "WEBHOOK_AUTH_TOKEN": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "OPENAI_API_KEY": "x",
        "SOME_DATABASE": "postgresql://me:x@host/db",
        "DB_PASSWORD": "x",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    options = [] if isolation == "auto" else ["--isolation", "off"]
    found = serve_procedures(*options, environment=environment).succeeded(library.write("told", TOLD))
    assert environment.keys() & found.keys() == {"CUDA_VISIBLE_DEVICES"}
    assert {name for name, value in found.items() if value == "x"} == set()


@as_root
def test_what_it_cannot_read(serve_procedures: Serve, library: Library, secret: Path) -> None:
    server = serve_procedures()
    other = server.succeeded(library.write("told", TOLD))
    cell = Path(other["HOME"]).parent
    work = cell.parent.parent
    reader = library.write("reader", READ)
    assert server.succeeded(reader, {"path": "predict.py"}).startswith("import os")
    for path in (
        cell,
        cell / "source" / "predict.py",
        work,
        work / "procedures",
        work / "inputs",
        work / "lock",
        f"/proc/{server.process.pid}/environ",
        f"/proc/{server.process.pid}/fd",
        secret,
    ):
        found = server.failed(reader, {"path": str(path)})
        assert "Permission" in found["error"], (path, found)


@as_root
def test_inputs_are_readable_by_nobody_else(serve_procedures: Serve, library: Library, public: Path) -> None:
    server = serve_procedures()
    signals = Signals(public)
    keeper = library.write(
        "keeper",
        f"""
def predict(self, file: Path) -> str:
    open("{public}/where", "w").write(str(file))
    os.chmod("{public}/where", 0o644)
    open("{public}/begun", "w").close()
    while not os.path.exists("{public}/go"):
        time.sleep(0.005)
    return open(file).read()
""",
    )
    id = server.begun(keeper, {"file": "data:text/plain;base64,YWJj"})
    until(lambda: signals.there("begun"), "it runs")
    found = server.failed(library.write("reader", READ), {"path": (public / "where").read_text()})
    assert "Permission" in found["error"]
    signals.make("go")
    assert server.ended(id)["output"] == "abc"


@as_root
def test_it_cannot_have_the_server_read_for_it(
    serve_procedures: Serve, library: Library, secret: Path
) -> None:
    server = serve_procedures("--cancel-grace-s", "0.1")
    for how, error in (
        ("file", "cannot be read"),
        ("link", "nobody understands"),
        ("pipe", "nobody understands"),
        ("nonsense", "nobody understands"),
    ):
        source = library.write(f"hostile-{how}", HOSTILE)
        answer = server.ask(source, {"target": str(secret), "how": how})
        assert error in answer.json()["error"], (how, answer.text)
        assert "the secret" not in answer.text
    other = library.write("told", TOLD)
    theirs = Path(server.succeeded(other)["cwd"]) / "predict.py"
    found = server.ask(library.write("hostile", HOSTILE), {"target": str(theirs), "how": "file"}).json()
    assert "cannot be read" in found["error"]


@as_root
def test_it_cannot_have_the_server_write_for_it(
    serve_procedures: Serve, library: Library, public: Path
) -> None:
    """The folder of the next request's draft is exchanged for a link to one that only root may write to."""
    closed = public / "closed"
    closed.mkdir(mode=0o755)
    server = serve_procedures("--run-s", "2", "--cancel-grace-s", "0.1")
    source = library.write("hostile", HOSTILE)
    for _ in range(3):
        server.ask(source, {"target": str(closed), "how": "draft"})
    assert list(closed.iterdir()) == []
    assert server.succeeded(library.url("echo")) == "hello"


@as_root
def test_a_folder_that_only_root_may_read_is_none(
    serve_procedures: Serve, library: Library, public: Path
) -> None:
    source = library.write("closed", READ)
    (library.folder / "closed").chmod(0o700)
    found = serve_procedures().failed(source)
    assert "may not read" in found["error"]
    assert "chmod -R a+rX" in found["error"]


@as_root
def test_nothing_of_it_is_left(serve_procedures: Serve, library: Library, public: Path) -> None:
    server = serve_procedures("--max-runners", "1")
    source = library.write(
        "litterer",
        """
def predict(self) -> list[str]:
    import subprocess, tempfile
    left = [tempfile.mkdtemp(dir="/tmp"), tempfile.mkdtemp(dir="/dev/shm"), os.getcwd()]
    os.chmod(left[0], 0)
    daemon = subprocess.Popen(["sleep", "600"], start_new_session=True)
    return [*left, str(daemon.pid)]
""",
    )
    *left, daemon = server.succeeded(source)
    assert all(Path(path).exists() for path in left)
    assert alive({int(daemon)})
    server.succeeded(library.url("echo"))
    until(lambda: not alive({int(daemon)}), "its daemon has ended")
    until(lambda: not [path for path in left if Path(path).exists()], "its files are gone")


@as_root
def test_it_has_only_so_many_processes(serve_procedures: Serve, library: Library) -> None:
    source = library.write(
        "forker",
        """
def predict(self) -> int:
    import subprocess
    made = []
    try:
        for _ in range(50):
            made.append(subprocess.Popen(["sleep", "60"]))
    except OSError:
        pass
    return len(made)
""",
    )
    assert 0 < serve_procedures("--runner-processes", "30").succeeded(source) < 30


@as_root
def test_without_an_interpreter_that_others_can_run(public: Path) -> None:
    (public / "python").symlink_to("/root/none/python")
    done = subprocess.run(
        [*command(), "--python", str(public / "python")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "--isolation off" in done.stderr


def command() -> list[str]:
    return [COGFLARE, "cog-server", "--procedure-mode", "--port", "0"]


def plain_environment(home: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *site.getsitepackages()]),
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "SOME_TOKEN": "x",
    }


def run_as_nobody(start: list[str], home: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        NOBODY.command(start) if os.geteuid() == 0 else start,
        env=plain_environment(home),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.skipif(not reachable_python(), reason="needs a Python that every user can run")
def test_as_a_plain_user(library: Library, public: Path) -> None:
    """Our own code in an interpreter that such a user can run: directories apart, one line about the rest."""
    start = [reachable_python(), "-m", "edge.cli", *command()[1:], "--isolation", "auto"]
    process = subprocess.Popen(
        NOBODY.command(start) if os.geteuid() == 0 else start,
        env=plain_environment(public),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = []
        while "listening on" not in (lines or [""])[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        assert sum("isolation by uid is off" in line for line in lines) == 1
        url = lines[-1].split("listening on ")[1].strip()

        def told(name: str) -> dict[str, Any]:
            source = library.write(name, TOLD)
            body = {"context": {"procedure_source_url": source}}
            found: dict[str, Any] = httpx.post(f"{url}/procedures", json=body, timeout=30).json()
            assert found["status"] == "succeeded", found
            output: dict[str, Any] = found["output"]
            return output

        first, second = told("first"), told("second")
        assert first["uids"] == second["uids"]
        assert first["HOME"] != second["HOME"]
        assert "SOME_TOKEN" not in first
        assert first["modes"] == "700 700"
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()
    assert list(public.glob("cogflare-cog-server-*")) == []
    start[start.index("auto")] = "uid"
    done = run_as_nobody(start, public)
    assert done.returncode == 2
    assert "only root on Linux" in done.stderr
