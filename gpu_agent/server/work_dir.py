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


class WorkDir:
    """Made at once. ``close`` it at the end."""

    def __init__(self, base: Path | None = None) -> None:
        base = base or Path(tempfile.gettempdir())
        _remove_left(base)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        self._lock = os.open(self.path / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove it. Safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _remove_left(base: Path) -> None:
    """Remove the directories whose server is gone."""
    for path in base.glob(f"{PREFIX}*"):
        # One without a lock is being made, or is another user's.
        with contextlib.suppress(OSError):
            lock = os.open(path / "lock", os.O_WRONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
