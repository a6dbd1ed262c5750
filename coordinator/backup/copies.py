"""Durable copies of files, by hard link where nobody ever changes them."""

import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

READ_BYTES = 1024 * 1024

Spend = Callable[[int], None]
_NO_LINK = {
    errno.EXDEV,
    errno.EPERM,
    errno.EACCES,
    errno.EMLINK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
}


def digest(path: Path, spend: Spend) -> tuple[int, str]:
    """(length, SHA-256) of a file."""
    sha256, length = hashlib.sha256(), 0
    for piece in _pieces(path, spend):
        sha256.update(piece)
        length += len(piece)
    return length, sha256.hexdigest()


def copy(source: Path, target: Path, spend: Spend) -> tuple[int, str]:
    """Copy to a file of mode 0600 that is there whole, fsynced, or not at all; gives (length, SHA-256).
    Whoever calls fsyncs the folder. A file that is there already gives way."""
    draft = target.with_name(f".{secrets.token_hex(8)}")
    sha256, length = hashlib.sha256(), 0
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb", buffering=0) as file:
            for piece in _pieces(source, spend):
                sha256.update(piece)
                length += len(piece)
                _write(file.fileno(), piece)
            os.fsync(file.fileno())
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    return length, sha256.hexdigest()


class Linker:
    """Gives a file that never changes a second name, as long as the two folders allow that."""

    def __init__(self) -> None:
        self._possible = True

    def link(self, source: Path, target: Path) -> bool:
        """False when it has to be copied instead."""
        if not self._possible:
            return False
        try:
            os.link(source, target)
        except FileExistsError:
            target.unlink()
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            # Of two file systems none ever can; what is one file's own trouble costs the rest a copy.
            self._possible = False
            return False
        return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pieces(path: Path, spend: Spend) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(READ_BYTES):
            yield piece
            spend(len(piece))


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
