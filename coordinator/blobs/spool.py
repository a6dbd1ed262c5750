"""One file on its way into storage: written under a temporary name and hashed as it grows."""

import hashlib
import os
import secrets
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from coordinator.blobs.base import Stored


class Spool:
    """A temporary file. Each method may block and belongs in a thread; ``close`` may come at any time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / secrets.token_hex(16)
        self._descriptor = -1
        self._closed = False
        self._length = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        # A cancelled caller closes while its last write still runs in a thread.
        self._lock = threading.Lock()

    def write(self, chunks: list[bytes]) -> None:
        with self._lock:
            self._open()
            for chunk in chunks:
                self._sha256.update(chunk)
                self._md5.update(chunk)
                self._length += len(chunk)
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> Stored:
        """Make the bytes durable under the temporary name; the caller renames the file."""
        with self._lock:
            self._open()
            os.fsync(self._descriptor)
            return Stored(length=self._length, sha256=self._sha256.hexdigest(), md5=self._md5.hexdigest())

    def close(self) -> None:
        """Close the file, and remove it if it is still under its temporary name. Idempotent."""
        with self._lock:
            self._closed = True
            if self._descriptor < 0:
                return
            os.close(self._descriptor)
            self._descriptor = -1
            self.path.unlink(missing_ok=True)

    def _open(self) -> None:
        if self._closed:
            raise OSError("this file was given up")
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
