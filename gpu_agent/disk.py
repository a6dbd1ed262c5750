"""File I/O off the event loop: saving streams, reading in pieces, checksums and durable writes."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterable, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from coordinator.protocol.limits import PARTS

CHUNK_BYTES = 256 * 1024
READ_BYTES = 1024 * 1024
MEASURE_BYTES = 4 * 1024 * 1024


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


async def read(path: Path, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
    """The bytes of a file, or ``length`` of them from ``start`` on, piece by piece."""
    handle = await asyncio.to_thread(path.open, "rb")
    try:
        handle.seek(start)
        left = length
        while left is None or left:
            wanted = READ_BYTES if left is None else min(left, READ_BYTES)
            chunk = await asyncio.to_thread(handle.read, wanted)
            if not chunk:
                return
            left = None if left is None else left - len(chunk)
            yield chunk
    finally:
        handle.close()


class Measured(NamedTuple):
    """A file's length and SHA-256, and that of each part where it is longer than one."""

    length: int
    sha256: str
    part_bytes: int = 0
    parts: tuple[str, ...] = ()


async def measure(path: Path, part_bytes: int = 0) -> Measured:
    """Read a file once. A file longer than ``part_bytes``, unless that is 0, is measured in parts, too, which
    are larger where they would be more than ``PARTS``."""
    return await asyncio.to_thread(_measure, path, part_bytes)


def _measure(path: Path, part_bytes: int) -> Measured:
    with path.open("rb", 0) as handle:
        length = os.fstat(handle.fileno()).st_size
        if not 0 < part_bytes < length:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            return Measured(handle.tell(), digest)
        part_bytes = max(part_bytes, -(-length // PARTS))
        whole, parts, total = hashlib.sha256(), [], 0
        buffer = memoryview(bytearray(MEASURE_BYTES))
        # Both over the same bytes, so that they agree whoever writes to the file meanwhile. hashlib lets
        # other threads run: the second one costs no time where there is another core.
        with ThreadPoolExecutor(1) as beside:
            part = hashlib.sha256()
            while size := handle.readinto(buffer[: min(MEASURE_BYTES, part_bytes - total % part_bytes)]):
                hashed = beside.submit(part.update, buffer[:size])
                whole.update(buffer[:size])
                hashed.result()
                total += size
                if total % part_bytes == 0:
                    parts.append(part.hexdigest())
                    part = hashlib.sha256()
        if total % part_bytes:
            parts.append(part.hexdigest())
        return Measured(total, whole.hexdigest(), part_bytes, tuple(parts))


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
