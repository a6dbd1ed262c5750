"""Files that are written whole and then renamed into their places.

To make a file costs more than to write a short one, so a request that was read becomes the draft of an
answer.
"""

import itertools
import os
import stat
from typing import List, NamedTuple, Tuple

MOST = 8
"""Files kept for later."""
LONGEST_BYTES = 1 << 16
"""A longer one is not worth its place on the disk."""
_PRIVATE = stat.S_IFREG | 0o600


class Draft(NamedTuple):
    """A file of ours, open at its beginning."""

    path: str
    descriptor: int
    length: int
    """Bytes in it that are of no use any more."""

    def write(self, data: bytes, path: str) -> None:
        """The file's whole content; then it appears under ``path``. Once."""
        try:
            write_all(self.descriptor, data)
            if len(data) < self.length:
                os.ftruncate(self.descriptor, len(data))
        finally:
            os.close(self.descriptor)
        os.rename(self.path, path)


class Drafts:
    """Those of one process, in ``folder``, which is on the file system of the places."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._free: List[Draft] = []

    def take(self) -> Draft:
        try:
            return self._free.pop()
        except IndexError:
            return self._made()

    def prepare(self) -> None:
        """Have one for the next answer while there is time: that is most of the cost of writing it."""
        if not self._free:
            self._free.append(self._made())

    def take_over(self, path: str) -> bytes:
        """What is in the file, which is gone then. Raises ``FileNotFoundError`` when it is not there."""
        taken = self._new_path()
        os.rename(path, taken)  # first: whatever appears there from now on is another file
        descriptor, ours = _open(taken)
        data = os.read(descriptor, LONGEST_BYTES)
        if len(data) == LONGEST_BYTES:
            data = b"".join([data, *iter(lambda: os.read(descriptor, 1 << 20), b"")])
        elif ours and len(self._free) < MOST:
            os.lseek(descriptor, 0, os.SEEK_SET)
            self._free.append(Draft(taken, descriptor, len(data)))
            return data
        os.close(descriptor)
        os.unlink(taken)
        return data

    def _made(self) -> Draft:
        path = self._new_path()
        return Draft(path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), 0)

    def _new_path(self) -> str:
        return f"{self._folder}/{next(self._numbers)}.draft"

    def close(self) -> None:
        """Leave nothing empty behind."""
        for draft in self._free:
            os.close(draft.descriptor)
            os.unlink(draft.path)
        self._free.clear()


def _open(path: str) -> Tuple[int, bool]:
    """And whether it is like one that we made: a file that nobody else may read, under this name alone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # a link, or not ours to write to
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
    found = os.fstat(descriptor)
    return descriptor, found.st_nlink == 1 and found.st_mode == _PRIVATE


def write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])
