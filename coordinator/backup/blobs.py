"""Blobs in a backup: linked where the disk allows, copied and checked where not, and listed."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from coordinator.backup.copies import Linker, copy, sync_folder
from coordinator.backup.errors import BackupDamaged
from coordinator.backup.manifest import ListedBlob, listed
from coordinator.backup.pace import Pace
from coordinator.blobs.base import Stat
from coordinator.blobs.disk import META_SUFFIX, TEMPORARY

ENTRY_BYTES = 4096
"""What a file costs that is only given a name."""
REPORT_EVERY = 100
SYNC_EVERY = 1000
"""Folders whose names are made durable together."""

Report = Callable[[str, int, int], None]
_decode_meta = msgspec.json.Decoder(Stat).decode


class BlobCopy:
    """Brings all blobs of a folder into a backup; those that it has already stay as they are. No folder: none
    of them."""

    def __init__(self, root: Path | None, target: Path, listing: Path, pace: Pace) -> None:
        self.count = 0
        self.length = 0
        self._root = root
        self._pace = pace
        self._carrier = Carrier(target, pace)
        handle = os.open(listing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._listing = os.fdopen(handle, "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listing.close()

    def _sources(self) -> Iterator[tuple[str, Path]]:
        if self._root is not None:
            for key in keys(self._root):
                yield key, self._root / key

    def run(self, report: Report) -> None:
        """Copy. Raises BackupFailed, OSError."""
        for key, source in self._sources():
            if self.count % REPORT_EVERY == 0:
                report("files", self.count, 0)
            if _length(source) is None:
                continue  # its deletion had begun before the backup did
            try:
                stat = _decode_meta(meta(source).read_bytes())
            except FileNotFoundError:
                continue  # bytes without a name for them: no blob
            except msgspec.DecodeError as error:
                raise BackupDamaged(f"the meta file of {source} is damaged: {error}") from error
            self._carrier.bring(source, ListedBlob(key, stat.length, stat.sha256))
            self._listing.write(msgspec.json.encode(ListedBlob(key, stat.length, stat.sha256)) + b"\n")
            self.count += 1
            self.length += stat.length
        self._carrier.sync()
        self._listing.flush()
        os.fsync(self._listing.fileno())
        report("files", self.count, self.count)


class Carrier:
    """Puts blobs below one folder. Call ``sync`` at the end: then their names are durable."""

    def __init__(self, root: Path, pace: Pace) -> None:
        self._root = root
        self._pace = pace
        self._linker = Linker()
        self._unsynced: set[Path] = set()
        root.mkdir(mode=0o700, exist_ok=True)

    def bring(self, source: Path, blob: ListedBlob) -> None:
        """Have this blob, too. Raises BackupDamaged when it is not what it should be."""
        target = self._root / blob.key
        self._pace.spend(ENTRY_BYTES)
        if _length(source) != blob.length:
            raise BackupDamaged(f"{source} has not the {blob.length} bytes that it should have")
        if _length(target) == blob.length and meta(target).exists():
            return
        self._make(target.parent)
        # As in storage: the blob is there once its bytes are.
        if not self._linker.link(meta(source), meta(target)):
            copy(meta(source), meta(target), self._pace.spend)
        if not self._linker.link(source, target) and copy(source, target, self._pace.spend)[1] != blob.sha256:
            target.unlink()
            raise BackupDamaged(f"{source} is not the file that was stored: its SHA-256 is another one")
        if len(self._unsynced) >= SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        for folder in self._unsynced:
            sync_folder(folder)
        self._unsynced.clear()

    def _make(self, folder: Path) -> None:
        self._unsynced.add(folder)
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(mode=0o700)


def keys(root: Path) -> Iterator[str]:
    """The keys of all files below a folder of blobs."""
    folders = [root] if root.is_dir() else []
    while folders:
        with suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    if path != root / TEMPORARY:
                        folders.append(path)
                elif not entry.name.endswith(META_SUFFIX):
                    yield path.relative_to(root).as_posix()


def drop_deleted(root: Path, copies: Path) -> None:
    """Remove from a backup what its server has no longer, and drafts of an interrupted backup."""
    for key in keys(copies):
        if not (root / key).exists():
            for path in (copies / key, meta(copies / key)):
                path.unlink(missing_ok=True)
            _prune(copies, (copies / key).parent)


def meta(path: Path) -> Path:
    return path.with_name(path.name + META_SUFFIX)


def bring_back(backup: Path, state: Path, target: Path, pace: Pace, report: Report, count: int) -> None:
    """Bring the blobs of a backup into a data directory. Raises BackupFailed, OSError."""
    carrier = Carrier(target, pace)
    for done, blob in enumerate(listed(state)):
        if done % REPORT_EVERY == 0:
            report("files", done, count)
        carrier.bring(backup / blob.key, blob)
    carrier.sync()


def _length(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _prune(root: Path, folder: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                return
            raise
        folder = folder.parent
