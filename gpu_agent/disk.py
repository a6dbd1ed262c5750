"""File I/O off the event loop: saving streams, reading in pieces, checksums and durable writes."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 256 * 1024


class TooLarge(Exception):
    """A stream went over its limit; nothing of it was kept."""


async def save(chunks: AsyncIterable[bytes], path: Path, limit_bytes: int) -> None:
    """Write a stream to a new file. Raises ``TooLarge``; then, and when cancelled, no file stays."""
    length = 0
    pending = bytearray()
    handle = await asyncio.to_thread(path.open, "wb")
    try:
        async for chunk in chunks:
            length += len(chunk)
            if length > limit_bytes:
                raise TooLarge
            pending += chunk
            if len(pending) >= CHUNK_BYTES:
                await asyncio.to_thread(handle.write, bytes(pending))
                pending.clear()
        await asyncio.to_thread(handle.write, bytes(pending))
        await asyncio.to_thread(handle.close)
    except BaseException:
        _discard(handle, path)
        raise


def _discard(handle: BinaryIO, path: Path) -> None:
    with contextlib.suppress(OSError):
        handle.close()
    path.unlink(missing_ok=True)


async def read(path: Path) -> AsyncIterator[bytes]:
    """The bytes of a file, piece by piece."""
    handle = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(handle.read, CHUNK_BYTES):
            yield chunk
    finally:
        handle.close()


async def measure(path: Path) -> tuple[int, str]:
    """Length and SHA-256 (hex) of a file."""
    return await asyncio.to_thread(_measure, path)


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return handle.tell(), digest


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file so that after a crash it is the old one or the new one. Blocks: call it in a thread."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_directory(path: Path) -> None:
    """Make names that were added to a directory survive a crash."""
    sync_file(path)
