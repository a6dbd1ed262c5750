"""Blobs that come to a folder in parts: ``root/.uploads/<id>/data`` is the file as it grows, with holes where
parts are missing, and an empty file beside it, named after its number, for each part that is there.

A part is written at its place while it is hashed, synced once its SHA-256 is right, and only then marked. So
a whole upload becomes its blob by a rename, without reading or copying it.
"""

import asyncio
import hashlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from coordinator.blobs.base import DirectPut, Part, Plan, Stat
from coordinator.blobs.disk_errors import in_thread
from coordinator.blobs.errors import ChecksumMismatch, Missing
from coordinator.blobs.keys import check_key

FOLDER = ".uploads"
WRITE_BYTES = 1024 * 1024
"""How much is gathered before it goes to a thread."""
_ID = re.compile(r"[0-9a-f]{32}")

Settle = Callable[[Path, Stat, Path], None]
"""Makes a blob of a durable file: (file, what is known of it, its path)."""


class DiskUploads:
    """Those below one storage's root. One process at a time writes there."""

    def __init__(self, root: Path, settle: Settle) -> None:
        self._root = root
        self._folder = root / FOLDER
        self._settle = settle
        self._writers: dict[tuple[str, int], _Writer] = {}

    async def begin(self, key: str, plan: Plan) -> str:
        check_key(key)
        id = secrets.token_hex(16)
        await in_thread(lambda: self._begin(id))
        return id

    def _begin(self, id: str) -> None:
        folder = self._folder / id
        folder.mkdir(mode=0o700, parents=True)
        (folder / "data").touch(0o600)

    async def present(self, key: str, id: str, plan: Plan) -> set[int]:
        folder = self._of(key, id)
        return await in_thread(lambda: _present(folder))

    async def put_url(self, key: str, id: str, part: Part, ttl_s: float) -> DirectPut | None:
        self._of(key, id)
        return None

    async def put(self, key: str, id: str, part: Part, chunks: AsyncIterator[bytes]) -> None:
        writer = _Writer(self._of(key, id), part)
        # Who sends a part again does not hear of the first time any more: that one must not write later.
        before = self._writers.get((id, part.number))
        self._writers[id, part.number] = writer
        try:
            if before is not None:
                await in_thread(before.close)
            if await in_thread(writer.open):
                await _receive(writer, chunks)
                await in_thread(writer.finish)
            else:
                async for _ in chunks:  # whoever sends it reads the answer afterwards
                    pass
        finally:
            if self._writers.get((id, part.number)) is writer:
                del self._writers[id, part.number]
            # Waits for a write that a cancelled put left running; shielded, so that it always happens.
            await asyncio.shield(asyncio.to_thread(writer.close))

    async def complete(self, key: str, id: str, plan: Plan) -> None:
        folder = self._of(key, id)
        await in_thread(lambda: self._complete(folder, key, plan))

    def _complete(self, folder: Path, key: str, plan: Plan) -> None:
        if len(_present(folder)) < len(plan.parts):
            raise Missing("a part is missing")
        stat = Stat(length=plan.length, sha256=plan.sha256, md5="", content_type=plan.content_type)
        try:
            self._settle(folder / "data", stat, self._root.joinpath(*key.split("/")))
        except FileNotFoundError:
            raise Missing("the upload has ended") from None
        shutil.rmtree(folder, ignore_errors=True)

    async def abort(self, key: str, id: str) -> None:
        folder = self._of(key, id)
        await in_thread(lambda: shutil.rmtree(folder, ignore_errors=True))

    async def clear(self, older_s: float) -> int:
        """Remove uploads to which nothing has come for so long; gives how many."""
        return await in_thread(lambda: self._clear(time.time() - older_s))

    def _clear(self, before: float) -> int:
        count = 0
        for folder in list(self._folder.iterdir()) if self._folder.is_dir() else ():
            try:
                if folder.stat().st_mtime <= before:
                    shutil.rmtree(folder)
                    count += 1
            except FileNotFoundError:
                continue
        return count

    def _of(self, key: str, id: str) -> Path:
        check_key(key)
        if not _ID.fullmatch(id):
            raise Missing("there is no such upload")
        return self._folder / id


class _Writer:
    """One part on its way to its place. Each method may block and belongs in a thread; ``close`` may come at
    any time, and then nothing is written any more."""

    def __init__(self, folder: Path, part: Part) -> None:
        self._folder = folder
        self._part = part
        self._position = part.start
        self._left = part.length
        self._sha256 = hashlib.sha256()
        self._lock = threading.Lock()
        self._descriptor = -1
        self._closed = False

    def open(self) -> bool:
        """Whether there is anything to write: False when the part is there already. First, and once."""
        with self._lock:
            self._check()
            if (self._folder / str(self._part.number)).exists():
                return False
            try:
                self._descriptor = os.open(self._folder / "data", os.O_WRONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise Missing("the upload has ended") from None
            return True

    def write(self, chunks: list[bytes]) -> None:
        with self._lock:
            self._check()
            for chunk in chunks:
                self._left -= len(chunk)
                if self._left < 0:
                    raise ChecksumMismatch("more bytes than the part has")
                self._sha256.update(chunk)
                rest = memoryview(chunk)
                while rest:
                    written = os.pwrite(self._descriptor, rest, self._position)
                    self._position += written
                    rest = rest[written:]

    def finish(self) -> None:
        """Make the part durable and mark it as there."""
        with self._lock:
            self._check()
            if self._left:
                raise ChecksumMismatch(f"the part lacks {self._left} bytes")
            if self._sha256.hexdigest() != self._part.sha256:
                raise ChecksumMismatch(f"SHA-256 is {self._sha256.hexdigest()}, not {self._part.sha256}")
            os.fsync(self._descriptor)
            try:
                (self._folder / str(self._part.number)).touch(0o600)
                _sync(self._folder)
            except FileNotFoundError:
                raise Missing("the upload has ended") from None

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _check(self) -> None:
        if self._closed:
            raise ChecksumMismatch("the part was sent again meanwhile")


async def _receive(writer: _Writer, chunks: AsyncIterator[bytes]) -> None:
    gathered: list[bytes] = []
    size = 0
    async for chunk in chunks:
        gathered.append(chunk)
        size += len(chunk)
        if size >= WRITE_BYTES:
            await in_thread(_writing(writer, gathered))
            gathered, size = [], 0
    await in_thread(_writing(writer, gathered))


def _writing(writer: _Writer, chunks: list[bytes]) -> Callable[[], None]:
    return lambda: writer.write(chunks)


def _present(folder: Path) -> set[int]:
    try:
        return {int(each.name) for each in folder.iterdir() if each.name.isdecimal()}
    except FileNotFoundError:
        raise Missing("the upload has ended") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
