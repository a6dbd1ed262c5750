"""A stream cut into the parts of a multipart upload, each in memory alone, and the checksums of the whole."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from coordinator.blobs.base import Stored
from coordinator.blobs.errors import ChecksumMismatch, TooLarge

PART_BYTES = 8 * 1024 * 1024
"""A store takes 10,000 parts of one object, each but the last of 5 MiB or more."""


async def bounded(
    chunks: AsyncIterator[bytes], *, length: int | None, limit_bytes: int
) -> AsyncIterator[bytes]:
    """The same chunks. Raises TooLarge, and ChecksumMismatch as soon as there is more than ``length``."""
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > limit_bytes:
            raise TooLarge(limit_bytes)
        if length is not None and total > length:
            raise ChecksumMismatch(f"more than the {length} bytes announced")
        yield chunk


def announced(stored: Stored, length: int | None, sha256: str | None) -> Stored:
    """The same. Raises ChecksumMismatch when that was not announced."""
    if length is not None and stored.length != length:
        raise ChecksumMismatch(f"{stored.length} bytes instead of the {length} announced")
    if sha256 is not None and stored.sha256 != sha256:
        raise ChecksumMismatch(f"SHA-256 is {stored.sha256} instead of the {sha256} announced")
    return stored


async def parts_of(
    chunks: AsyncIterator[bytes], *, length: int | None, limit_bytes: int
) -> AsyncIterator[tuple[bytes, bool]]:
    """(part, whether it is the last); there is always one. Raises as ``bounded`` does."""
    buffer = bytearray()
    async for chunk in bounded(chunks, length=length, limit_bytes=limit_bytes):
        buffer += chunk
        while len(buffer) > PART_BYTES:
            part = bytes(memoryview(buffer)[:PART_BYTES])
            del buffer[:PART_BYTES]
            yield part, False
    yield bytes(buffer), True


class Digest:
    """Length and checksums of what has gone by."""

    def __init__(self) -> None:
        self._length = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)

    async def add(self, part: bytes) -> None:
        """Count it in, off the loop where that takes long."""
        self._length += len(part)
        if len(part) > 64 * 1024:
            await asyncio.to_thread(self._add, part)
        else:
            self._add(part)

    def _add(self, part: bytes) -> None:
        self._sha256.update(part)
        self._md5.update(part)

    def stored(self, length: int | None, sha256: str | None) -> Stored:
        """What has gone by. Raises ChecksumMismatch when that was not announced."""
        stored = Stored(length=self._length, sha256=self._sha256.hexdigest(), md5=self._md5.hexdigest())
        return announced(stored, length, sha256)
