"""The directory of one cog-server: its runner's files, and the inputs that it fetches.

It is locked while its server lives, so that a server that starts can tell those of servers that were killed,
and remove them.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "cogflare-cog-server-"
LOCK = "lock"


class WorkDir:
    """Made at once. ``close`` it at the end."""

    def __init__(self, base: Path | None = None) -> None:
        base = base or Path(tempfile.gettempdir())
        for path in base.glob(f"{PREFIX}*"):
            _remove_if_left(path)
        self.path, self._lock = _make(base)

    def close(self) -> None:
        """Remove it. Safe to call twice."""
        if self._lock >= 0:
            _remove(self.path)
            os.close(self._lock)
            self._lock = -1


def _make(base: Path) -> tuple[Path, int]:
    """A fresh directory and the descriptor of its lock, which is held."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = os.open(path / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)  # another server took it for one that was left, before it was locked


def _remove_if_left(path: Path) -> None:
    """Remove the directory if its server is gone."""
    # One without a lock is just being made; another user's is not ours to judge.
    with contextlib.suppress(OSError):
        lock = os.open(path / LOCK, os.O_WRONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
        finally:
            os.close(lock)


def _remove(path: Path) -> None:
    """The lock goes last: what could not be removed is still known for what it is by the next server."""
    with contextlib.suppress(OSError):
        for each in path.iterdir():
            if each.name != LOCK:
                shutil.rmtree(each, ignore_errors=True)
        if all(each.name == LOCK for each in path.iterdir()):
            (path / LOCK).unlink()
            path.rmdir()
