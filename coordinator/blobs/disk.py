"""Blobs in a folder: ``root/<key>`` holds the bytes, ``root/<key>,meta`` beside it what is known of them.

A comma is in no key, so the two never collide. The meta file is put in place first: a blob exists exactly
when its bytes do. All file I/O runs in threads, and a file is written, checked and fsynced in ``root/.tmp``
before it gets its name.
"""

import asyncio
import errno
import os
import shutil
import stat
import threading
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import msgspec

from coordinator.blobs.base import READ_BYTES, DirectPut, Stat, Stored
from coordinator.blobs.disk_errors import in_thread, translated
from coordinator.blobs.disk_uploads import DiskUploads
from coordinator.blobs.errors import BadKey, BlobsUnavailable, Exists, Missing, TooLarge
from coordinator.blobs.keys import check_key
from coordinator.blobs.parts import announced, bounded
from coordinator.blobs.spool import Spool

META_SUFFIX = ",meta"
TEMPORARY = ".tmp"
WRITE_BYTES = 256 * 1024
"""How much is gathered before it goes to a thread."""

_decode_meta = msgspec.json.Decoder(Stat).decode


class DiskBlobs:
    """Blobs below one folder, which belongs to this object alone: what an interrupted process left in
    ``root/.tmp`` is removed here. Raises BlobsUnavailable when the folder cannot be used."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._temporary = self._root / TEMPORARY
        # Guards names appearing and folders vanishing; never held during a write or an fsync.
        self._names = threading.Lock()
        self._postponed: list[Callable[[], None]] | None = None
        with translated():
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True, exist_ok=True)
            self.uploads = DiskUploads(self._root, self._settle)

    async def put(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        content_type: str,
        length: int | None = None,
        sha256: str | None = None,
        limit_bytes: int,
    ) -> Stored:
        path = self._path(key)
        if length is not None and length > limit_bytes:
            raise TooLarge(limit_bytes)
        spool = Spool(self._temporary)
        try:
            rest = await self._receive(spool, chunks, limit_bytes, length)
            return await in_thread(lambda: self._keep(spool, rest, path, content_type, length, sha256))
        except BaseException:
            # Waits for a write that a cancelled put left running; shielded, so that it always happens.
            await asyncio.shield(asyncio.to_thread(spool.close))
            raise

    async def _receive(
        self, spool: Spool, chunks: AsyncIterator[bytes], limit_bytes: int, length: int | None
    ) -> list[bytes]:
        gathered: list[bytes] = []
        size = 0
        async for chunk in bounded(chunks, length=length, limit_bytes=limit_bytes):
            gathered.append(chunk)
            size += len(chunk)
            if size >= WRITE_BYTES:
                await in_thread(_writer(spool, gathered))
                gathered, size = [], 0
        return gathered

    def _keep(
        self,
        spool: Spool,
        rest: list[bytes],
        path: Path,
        content_type: str,
        length: int | None,
        sha256: str | None,
    ) -> Stored:
        spool.write(rest)
        stored = announced(spool.finish(), length, sha256)
        meta = Stat(length=stored.length, sha256=stored.sha256, md5=stored.md5, content_type=content_type)
        self._settle(spool.path, meta, path)
        spool.close()
        return stored

    def _settle(self, data: Path, meta: Stat, path: Path) -> None:
        """Make a blob of a file that is durable and right, or leave the file where the same blob is there."""
        known = self._stat(path)
        if known is None:
            with Spool(self._temporary) as beside:
                beside.write([msgspec.json.encode(meta)])
                beside.finish()
                known = self._name(data, beside.path, path)
        if known is not None and known.sha256 != meta.sha256:
            raise Exists("the key holds other content")
        self._sync_folders(path.parent)

    def _name(self, data: Path, meta: Path, path: Path) -> Stat | None:
        """Give both files their names, unless a blob came first: then the answer is that blob."""
        with self._names:
            known = self._stat(path)
            if known is not None:
                return known
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except (NotADirectoryError, FileExistsError):
                raise BadKey("the key lies below another blob") from None
            if path.is_dir():
                raise BadKey("the key lies above another blob")
            meta.rename(_meta(path))
            data.rename(path)
        return None

    def _sync_folders(self, folder: Path) -> None:
        # Another put may have made a folder and not synced it yet: so each put syncs its whole chain.
        while True:
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                pass  # Deleted since: nothing to keep.
            else:
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            if folder == self._root:
                return
            folder = folder.parent

    async def stat(self, key: str) -> Stat | None:
        path = self._path(key)
        return await in_thread(lambda: self._stat(path))

    def _stat(self, path: Path) -> Stat | None:
        try:
            if not path.is_file():
                return None
            return _decode_meta(_meta(path).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except msgspec.DecodeError as error:
            raise OSError(errno.EIO, f"the meta file of a blob is damaged: {error}") from error

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        path = self._path(key)
        file = _OpenFile(path, start, end)
        loop = asyncio.get_running_loop()
        step: asyncio.Future[bytes] | None = None
        try:
            while True:
                step = loop.run_in_executor(None, file.next)
                # Shielded: a cancelled reader must not close the file under the thread that reads it.
                with translated():
                    data = await asyncio.shield(step)
                if data:
                    yield data
                if file.left == 0:
                    return
        finally:
            if step is None or step.done():
                file.close()
            else:
                step.add_done_callback(file.close_after)

    async def delete(self, key: str) -> None:
        path = self._path(key)
        await self._remove(lambda: self._delete(path))

    async def delete_many(self, keys: Collection[str]) -> None:
        paths = [self._path(key) for key in keys]

        def remove() -> None:
            for path in paths:
                self._delete(path)

        await self._remove_now(remove)

    async def delete_prefix(self, prefix: str, keep: Collection[str] = ()) -> None:
        path, kept = self._path(prefix), {self._path(key) for key in keep}
        await self._remove_now(lambda: self._delete_tree(path, kept))

    async def put_url(
        self, key: str, *, length: int, sha256: str, content_type: str, ttl_s: float
    ) -> DirectPut | None:
        check_key(key)
        return None

    async def get_url(self, key: str, *, name: str, content_type: str, ttl_s: float) -> str | None:
        check_key(key)
        return None

    async def clear(self, older_s: float) -> int:
        return await self.uploads.clear(older_s)

    async def close(self) -> None:
        """Files are closed as they are read."""

    def postpone_deletions(self) -> None:
        """What is deleted from now on stays until ``catch_up``, so that a copy of the folder has it. What a
        process does not come to delete stays for good; nobody finds it."""
        if self._postponed is None:
            self._postponed = []

    async def catch_up(self) -> None:
        """Delete what was postponed, and at once again from now on. Raises BlobsUnavailable."""
        postponed, self._postponed = self._postponed or [], None
        for removal in postponed:
            await in_thread(removal)

    async def _remove(self, removal: Callable[[], None]) -> None:
        if self._postponed is None:
            await in_thread(removal)
        else:
            self._postponed.append(removal)

    async def _remove_now(self, removal: Callable[[], None]) -> None:
        if self._postponed is not None:
            raise BlobsUnavailable("files stay as long as a backup is being made", "it goes on after that")
        await in_thread(removal)

    def _delete(self, path: Path) -> None:
        with self._names:
            # Bytes first: without them there is no blob, whatever happens next.
            for victim in (path, _meta(path)):
                try:
                    victim.unlink()
                except (FileNotFoundError, NotADirectoryError):
                    pass
                except (IsADirectoryError, PermissionError):
                    if not victim.is_dir():
                        raise
            self._prune(path.parent)

    def _delete_tree(self, path: Path, kept: Collection[Path]) -> None:
        if not kept:
            self._delete(path)
            with self._names:
                if path.is_dir():
                    shutil.rmtree(path)
                self._prune(path.parent)
            return
        for folder, _, names in os.walk(path):
            for each in (Path(folder, name) for name in names if not name.endswith(META_SUFFIX)):
                if each not in kept:
                    self._delete(each)

    def _prune(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return  # Not empty.
            folder = folder.parent

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*check_key(key).split("/"))


class _OpenFile:
    """A part of one file, read piece by piece; opened by the first ``next``, which saves a trip."""

    def __init__(self, path: Path, start: int, end: int | None) -> None:
        if start < 0 or (end is not None and end < start):
            raise ValueError(f"no range: {start} to {end}")
        self._path = path
        self._position = start
        self._end = end
        self._descriptor = -1
        self.left = -1

    def next(self) -> bytes:
        if self._descriptor < 0:
            self._open()
        data = os.pread(self._descriptor, min(self.left, READ_BYTES), self._position) if self.left else b""
        if self.left and not data:
            raise OSError(errno.EIO, "the file is shorter than it was")
        self._position += len(data)
        self.left -= len(data)
        return data

    def _open(self) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY)
            opened = os.fstat(self._descriptor)
        except (FileNotFoundError, NotADirectoryError):
            raise Missing("there is no such file") from None
        if not stat.S_ISREG(opened.st_mode):
            raise Missing("there is no such file")
        end = opened.st_size if self._end is None else min(self._end, opened.st_size)
        self.left = max(0, end - self._position)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def close_after(self, step: asyncio.Future[bytes]) -> None:
        # Asked for, so that asyncio does not report an error that nobody waits for any more.
        step.exception()
        self.close()


def _meta(path: Path) -> Path:
    return path.with_name(path.name + META_SUFFIX)


def _writer(spool: Spool, chunks: list[bytes]) -> Callable[[], None]:
    return lambda: spool.write(chunks)
