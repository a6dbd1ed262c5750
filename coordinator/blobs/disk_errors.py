"""Errors of the file system, in words for who runs the server; and its work, off the event loop."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from coordinator.blobs.errors import BlobsUnavailable

T = TypeVar("T")

_HINTS = {
    errno.ENOSPC: "free some space on the disk of the files",
    errno.EDQUOT: "the quota of this user is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "make the folder of the files writable for this user",
    errno.EPERM: "make the folder of the files writable for this user",
    errno.EMFILE: "raise the limit of open files",
}


async def in_thread(work: Callable[[], T]) -> T:
    """What ``work`` gives. Raises BlobsUnavailable for its OSError."""
    with translated():
        return await asyncio.to_thread(work)


@contextmanager
def translated() -> Iterator[None]:
    """OSError leaves as BlobsUnavailable."""
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "check the disk and the kernel's log")
        raise BlobsUnavailable(f"file storage: {error.strerror or error}", hint) from error
