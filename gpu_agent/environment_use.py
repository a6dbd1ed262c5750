"""Which environments are in use, and the end of those that nobody has used for long.

    CACHE/environments/DIGEST/used    shared by who runs models in the environment, for as long as its process
                                      lives; its time is that of the last use

Both files are locks and stay: a lock that may be removed can be held twice. So of an old environment an empty
folder is left.
"""

import atexit
import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

USED, LOCK = "used", "lock"
DAY_S = 86_400.0

Say = Callable[[str], None]
"""Takes one line for the person who waits."""


def use(folder: Path) -> None:
    """Have the environment kept until this process has ended. Raises ``OSError``."""
    try:
        lock = _opened(folder / USED)
    except OSError:
        if os.path.exists(folder / "venv"):  # noqa: PTH110 - in a cache that is only read nothing is removed
            return
        raise
    fcntl.flock(lock, fcntl.LOCK_SH)
    _touch(lock)
    atexit.register(_touch, lock)


def size_bytes(folder: Path) -> int:
    """What it takes on the disk, about."""
    found = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found += os.lstat(f"{parent}/{name}").st_blocks * 512
    return found


def in_words(count_bytes: int) -> str:
    return f"{count_bytes / 1e9:.1f} GB" if count_bytes >= 1e9 else f"{count_bytes / 1e6:.0f} MB"


def remove_unused(environments: Path, unused_s: float, say: Say) -> None:
    """Remove those that no process has used for so long, and say so. Others are left as they are, whatever
    goes wrong. Call it after ``use``, so that what was asked for is never among them."""
    gone, gone_bytes, left = 0, 0, []
    with contextlib.suppress(OSError):
        for folder in environments.iterdir():
            count_bytes = _removed(folder, unused_s)
            if count_bytes is None:
                left.append(folder)
            elif count_bytes:
                gone += 1
                gone_bytes += count_bytes
    if gone:
        rest = in_words(sum(map(size_bytes, left)))
        say(
            f"removed {gone} environment{'s' if gone > 1 else ''} that nobody had used for "
            f"{unused_s / DAY_S:g} days ({in_words(gone_bytes)}); {len(left)} left ({rest}) in {environments}"
        )


def _removed(folder: Path, unused_s: float) -> int | None:
    """How large it was, 0 when there was none; None when it is kept."""
    parts = [*folder.glob("venv*"), *folder.glob("tree-*")]
    if not parts:
        return 0
    try:
        with _alone(folder / USED) as used, _alone(folder / LOCK):
            if time.time() - used.st_mtime < unused_s:
                return None
            count_bytes = size_bytes(folder)
            for part in parts:  # the link first
                remove(part)
            return count_bytes
    except OSError:
        return None


def remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[os.stat_result]:
    """Hold the lock, and what its file was before. Raises ``BlockingIOError`` when somebody else has it."""
    lock = _opened(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield os.fstat(lock)
    finally:
        os.close(lock)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _touch(lock: int) -> None:
    with contextlib.suppress(OSError):
        os.utime(lock)
