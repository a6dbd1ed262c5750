"""Errors of backups.

BackupFailed            it was not made, or cannot be used: ``hint`` says what to do
├── BackupStopped       somebody asked for its end
├── NotABackup          the folder holds no whole backup
├── BackupDamaged       what is in it is not what was put there
└── BackupTooNew        written by a newer Cogflare
"""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HINTS = {
    errno.ENOSPC: "make room there, or name a folder on another disk",
    errno.EDQUOT: "the disk quota of this user is used up",
    errno.EROFS: "name a folder that this process may write; a service's unit has to list it",
    errno.EACCES: "make it writable for the user of the server, or name another folder",
    errno.EPERM: "make it writable for the user of the server, or name another folder",
    errno.ENOTDIR: "name a folder",
}


class BackupFailed(Exception):
    """Base of this package's errors."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BackupStopped(BackupFailed):
    """Somebody asked for its end."""


class NotABackup(BackupFailed):
    """The folder holds no whole backup."""


class BackupDamaged(BackupFailed):
    """What is in it is not what was put there."""


class BackupTooNew(BackupFailed):
    """Written by a newer Cogflare."""


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn the errors of disks and of SQLite into BackupFailed, which begins with ``what``."""
    try:
        yield
    except OSError as error:
        where = f": {Path(error.filename).name}" if isinstance(error.filename, str) else ""
        text = f"{what}: {error.strerror or error}{where}"
        raise BackupFailed(text, _HINTS.get(error.errno or 0, "")) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        hint = _HINTS[errno.ENOSPC] if code == sqlite3.SQLITE_FULL else "see the disk, and the kernel's log"
        raise BackupFailed(f"{what}: {error}", hint) from error
