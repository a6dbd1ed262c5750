"""Acting as another user, and reading what such a one has written."""

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_agent.cell import OPEN, Cell, User
from gpu_agent.runner_types import FileOutput
from gpu_agent.server.procedures.cells import clean

USER = User(19_998, 65534)
CELL = Cell(USER)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may write to: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="cogflare-test-", dir="/tmp") as name:
        Path(name).chmod(0o777)
        yield Path(name)


def closed_file(folder: Path) -> Path:
    path = folder / "closed"
    path.write_text("ours")
    path.chmod(0o600)
    return path


def readable(path: Path) -> bool:
    try:
        path.read_text()
    except PermissionError:
        return False
    return True


@as_root
def test_what_is_done_meanwhile_is_done_with_its_rights(folder: Path) -> None:
    path = closed_file(folder)
    with USER.acting():
        assert not readable(path)
        (folder / "made").touch()
        with USER.acting():
            assert not readable(path)
        assert not readable(path)
    assert readable(path)
    assert (folder / "made").stat().st_uid == USER.uid


@as_root
def test_it_ends_also_by_an_error_and_other_threads_are_as_they_were(folder: Path) -> None:
    path = closed_file(folder)
    acting, looked = threading.Event(), threading.Event()
    found: list[bool] = []

    def look() -> None:
        acting.wait(10)
        found.append(readable(path))
        looked.set()

    thread = threading.Thread(target=look)
    thread.start()
    with pytest.raises(PermissionError), USER.acting():
        acting.set()
        assert looked.wait(10)
        path.read_text()
    thread.join()
    assert found == [True]
    assert readable(path)


@as_root
def test_only_files_of_its_own_are_opened(folder: Path) -> None:
    with USER.acting():
        (folder / "own").write_text("own")
        (folder / "link").symlink_to("own")
        os.mkfifo(folder / "pipe")
    (folder / "open").write_text("everybody's")
    closed_file(folder)
    with CELL.opened(FileOutput("", folder / "own", "own", "")) as file:
        (folder / "own").unlink()
        assert file.path.read_text() == "own"
    for name in ("link", "pipe", "open", "closed", "none"):
        with pytest.raises(OSError), CELL.opened(FileOutput("", folder / name, name, "")):
            pass


def test_without_a_user_nothing_changes(tmp_path: Path) -> None:
    path = closed_file(tmp_path)
    with OPEN.acting():
        assert readable(path)
    assert OPEN.command(["a", "b"]) == ["a", "b"]
    file = FileOutput("", path, "closed", "")
    with OPEN.opened(file) as found:
        assert found is file


def test_what_a_procedure_may_see_of_our_environment() -> None:
    hidden = {
        "COGFLARE_ANYTHING": "1",
        "HF_TOKEN": "1",
        "AWS_SECRET_ACCESS_KEY": "1",
        "AWS_ACCESS_KEY_ID": "1",
        "MY_KEY": "1",
        "PGPASSWORD": "1",
        "SSH_AUTH_SOCK": "1",
        "SENTRY_DSN": "1",
        "PIP_INDEX_URL": "https://me:pass@example.com/simple",
        "HOME": "/root",
        "XDG_CACHE_HOME": "/root/.cache",
        "TMPDIR": "/root/tmp",
    }
    seen = {
        "PATH": "/usr/bin",
        "LANG": "C.UTF-8",
        "LD_LIBRARY_PATH": "/usr/lib",
        "CUDA_VISIBLE_DEVICES": "0",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "HF_HOME": "/models",
        "KEYBOARD": "us",
        "HTTP_PROXY": "http://proxy:3128",
    }
    assert clean({**hidden, **seen}) == seen
