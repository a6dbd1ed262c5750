"""The temporary directories of predictions. To make one costs more than a short prediction, so one that was
left as it was found serves the next, too; any other is removed with what is in it.
"""

import os
import sys
from typing import List, NamedTuple, Optional

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
            _remove(path)

    def close(self) -> None:
        for path in self._free:
            os.rmdir(path)
        self._free.clear()


def _remove(path: str) -> None:
    import shutil

    kept = _of_multiprocessing()
    if kept is None or os.path.dirname(kept) != path:
        shutil.rmtree(path, ignore_errors=True)
        return
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            if entry.path != kept:
                shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)


def _of_multiprocessing() -> Optional[str]:
    """The directory of the sockets of ``multiprocessing``, made here if need be; None when there is none.

    It is one for the whole life of the process, so it is better none of a prediction's; and its path must be
    short, as a socket's has room for some 100 bytes.
    """
    if "multiprocessing" not in sys.modules:
        return None
    from multiprocessing.util import get_temp_dir

    try:
        return get_temp_dir()
    except OSError:  # nowhere to make it: the affair of a model that needs it
        return None


class Pointed(NamedTuple):
    """Where ``tempfile`` and child processes made their files before."""

    environment: Optional[str]
    tempdir: Optional[str]


def point_at(path: str) -> Pointed:
    """From now on ``tempfile`` and child processes make their files there. To be taken back by
    ``point_back``, as a thread of the model's own may want a file when the directory is gone."""
    _of_multiprocessing()
    module = sys.modules.get("tempfile")
    before = Pointed(os.environ.get("TMPDIR"), None if module is None else module.tempdir)
    os.environ["TMPDIR"] = path
    if module is not None:
        module.tempdir = path  # type: ignore[attr-defined]
    return before


def point_back(before: Pointed) -> None:
    if before.environment is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = before.environment
    module = sys.modules.get("tempfile")
    if module is not None:
        module.tempdir = before.tempdir  # type: ignore[attr-defined]
