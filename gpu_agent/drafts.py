"""Files that are written whole and then renamed into a model process's directory.

To make a file costs more than to write a short one, so what was read is written to again: an answer of the
process becomes the draft of a later request.
"""

# Plain strings and descriptors, as objects for them would be a fifth of the time of a short prediction.
# ruff: noqa: PTH104, PTH108

import contextlib
import itertools
import os

MOST = 32
"""Files kept for later."""
LONGEST_BYTES = 1 << 16
"""A longer one is not worth its place on the disk."""


class Draft:
    """A file of ours at ``path``, open at its beginning, with ``length`` bytes that are of no use."""

    def __init__(self, path: str, descriptor: int, length: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._length = length

    def write(self, data: bytes, path: str) -> None:
        """The file's whole content; then it appears under ``path``. Once."""
        written = os.write(self._descriptor, data)
        while written < len(data):
            written += os.write(self._descriptor, memoryview(data)[written:])
        if written < self._length:
            os.ftruncate(self._descriptor, written)
        self.close()
        os.rename(self.path, path)

    def discard(self) -> None:
        """It is not needed after all."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Drafts:
    """Those of one process, in ``folder``, which is on the file system of its directory."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._kept: list[Draft] = []

    def take(self) -> Draft:
        if self._kept:
            return self._kept.pop()
        path = self._new_path()
        return Draft(path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), 0)

    def keep(self, path: str, descriptor: int, length: int) -> None:
        """A file that was read: it is a draft from now on, or removed."""
        with contextlib.suppress(OSError):  # the model has removed it, or it is a pipe of the model's
            if length <= LONGEST_BYTES and len(self._kept) < MOST:
                os.lseek(descriptor, 0, os.SEEK_SET)
                draft = Draft(self._new_path(), descriptor, length)
                os.rename(path, draft.path)
                self._kept.append(draft)
                return
            os.unlink(path)
        os.close(descriptor)

    def _new_path(self) -> str:
        return f"{self._folder}/request-{next(self._numbers)}.draft"

    def close(self) -> None:
        """The files stay for whoever removes the folder. Idempotent."""
        for draft in self._kept:
            draft.close()
        self._kept.clear()
