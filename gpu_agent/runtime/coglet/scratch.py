"""The temporary directories of predictions. To make one costs more than a short prediction, so one that was
left as it was found serves the next, too; any other is removed with what is in it.
"""

import os
import sys
from typing import List

_UNTOUCHED_NS = 1_000_000_000
"""A modification time that no change leaves behind: the clock is past it, however coarse."""


class Scratch:
    def __init__(self, base: str) -> None:
        self._base = base
        self._made = 0
        self._free: List[str] = []

    def take(self) -> str:
        """An empty directory."""
        if self._free:
            return self._free.pop()
        self._made += 1
        path = os.path.join(self._base, f"scratch-{self._made}")
        os.mkdir(path, 0o700)
        os.utime(path, ns=(_UNTOUCHED_NS, _UNTOUCHED_NS))
        return path

    def give(self, path: str) -> None:
        """The prediction is over: nothing of what it left there may be seen by another."""
        try:
            if os.stat(path).st_mtime_ns == _UNTOUCHED_NS:
                self._free.append(path)
                return
        except OSError:
            return  # the model has removed it
        try:
            os.rmdir(path)
        except OSError:
            import shutil

            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        for path in self._free:
            os.rmdir(path)
        self._free.clear()


def point_at(path: str) -> None:
    """From now on ``tempfile`` and child processes make their files there."""
    if os.environ.get("TMPDIR") != path:
        os.environ["TMPDIR"] = path
    module = sys.modules.get("tempfile")
    if module is not None:
        module.tempdir = path  # type: ignore[attr-defined]
