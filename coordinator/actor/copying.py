"""Copies an SQLite database that is in use, a step at a time."""

import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

STEP_PAGES = 256

Between = Callable[[int], None]
"""Called with the bytes that were copied since the last time, where others may have their turn. What it
raises ends the copy."""


def copy_database(
    source: sqlite3.Connection, target: Path, between: Between, statements: Iterable[str] = ()
) -> None:
    """Write a new file (0600, fsynced) with what ``source`` sees, then run ``statements`` on the copy.

    Pages that ``source`` itself commits between two steps are brought into the copy by SQLite: the copy is
    that of its end. For the state of its beginning, have a read transaction open on ``source``.
    Raises OSError, sqlite3.Error; what is there of the file then is worth nothing.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    (page_bytes,) = source.execute("PRAGMA page_size").fetchone()
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        # Until it is whole nobody needs the file after a crash.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        source.backup(copy, pages=STEP_PAGES, progress=_counted(between, page_bytes))
    finally:
        copy.close()
    _finish(target, statements)


def _counted(between: Between, page_bytes: int) -> Callable[[int, int, int], None]:
    left: int | None = None

    def progress(status: int, remaining: int, total: int) -> None:
        nonlocal left
        copied = (total if left is None else left) - remaining
        left = remaining
        between(max(copied, 0) * page_bytes)  # what was added meanwhile may be more than was copied

    return progress


def _finish(target: Path, statements: Iterable[str]) -> None:
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        # One file that can be read from a disk that cannot be written: no WAL.
        copy.execute("PRAGMA journal_mode = DELETE")
        for statement in statements:
            copy.execute(statement)
    finally:
        copy.close()
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
