"""What a backup holds, and how its folder is laid out.

manifest.json   written last, in one step: without it there is no backup; names the state folder
state-HEX/      control.db, objects/NUMBER.sqlite3, secrets, and blobs.jsonl: a line for each blob
blobs/          stored files as in a data directory; shared by all backups that this folder ever held
lock            held by whoever writes or reads the folder

A new backup makes a new state folder beside the old one, adds the blobs that are new, and then replaces the
manifest: whatever happens before leaves the old backup whole.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from coordinator.backup.copies import sync_folder
from coordinator.backup.errors import BackupDamaged, BackupFailed, BackupTooNew, NotABackup

FORMAT = 1
MANIFEST, LOCK, BLOBS, BLOB_LIST = "manifest.json", "lock", "blobs", "blobs.jsonl"
STATE, DRAFT = "state-", ".manifest-"
CONTROL = "control.db"


class Content(msgspec.Struct, frozen=True):
    """A file's length in bytes and SHA-256."""

    length: int
    sha256: str


class ListedBlob(msgspec.Struct, frozen=True):
    """A line of ``blobs.jsonl``."""

    key: str
    length: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    software: str
    """Version of Cogflare that wrote it."""
    server: str
    """Id of the server whose backup it is."""
    schema: str
    """Revision of the control database."""
    begun_at: int
    """Microseconds since the epoch: everything accepted before is in it."""
    ended_at: int
    state: str
    """Name of the folder with the files."""
    files: dict[str, Content]
    """By path below the state folder."""
    objects: int
    predictions: int
    """In the control index."""
    tokens: int
    uploads: int
    blobs: int
    blob_bytes: int
    elsewhere: str = ""
    """The bucket that has the files: they are not copied, and not counted."""


class _Format(msgspec.Struct):
    format: int


_decode = msgspec.json.Decoder(Manifest).decode
_decode_format = msgspec.json.Decoder(_Format).decode
decode_blob = msgspec.json.Decoder(ListedBlob).decode


def read_manifest(folder: Path) -> Manifest:
    """What the folder holds. Raises NotABackup, BackupTooNew, BackupDamaged, OSError."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotABackup(
            f"there is no backup in {folder}: it has no {MANIFEST}",
            "name the folder that `cogflare backup` has written to its end",
        ) from None
    try:
        format = _decode_format(text).format
        if format > FORMAT:
            raise BackupTooNew(
                f"the backup in {folder} has format {format}, newer than this version of Cogflare knows",
                "upgrade Cogflare",
            )
        return _decode(text)
    except msgspec.DecodeError as error:
        raise BackupDamaged(f"{path} is damaged: {error}", "use another backup") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """From here on this is the folder's backup. Raises OSError."""
    draft = folder / f"{DRAFT}{manifest.state}"
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(text + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / MANIFEST)
    sync_folder(folder)


def listed(state: Path) -> Iterator[ListedBlob]:
    """The blobs of a backup, one after the other. Raises BackupDamaged, OSError."""
    with (state / BLOB_LIST).open("rb") as lines:
        for line in lines:
            try:
                yield decode_blob(line)
            except msgspec.DecodeError as error:
                raise BackupDamaged(
                    f"{state / BLOB_LIST} is damaged: {error}", "use another backup"
                ) from error


@contextmanager
def writing(folder: Path) -> Iterator[Manifest | None]:
    """Have the folder for oneself, made if need be; gives the backup that it holds. Raises as ``reading``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    strange = sorted(path.name for path in folder.iterdir() if not _is_ours(path.name))
    if strange:
        raise BackupFailed(
            f"{folder} holds something else: {', '.join(strange[:3])}",
            "name an empty folder, a new one, or one that holds a backup",
        )
    with _locked(folder, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX):
        yield read_manifest(folder) if (folder / MANIFEST).exists() else None


@contextmanager
def reading(folder: Path) -> Iterator[Manifest]:
    """Keep the folder as it is for a while. Raises BackupFailed, OSError."""
    manifest = read_manifest(folder)
    if not (folder / LOCK).exists():  # copied by hand, without what looked like nothing
        yield manifest
        return
    with _locked(folder, os.O_RDONLY, fcntl.LOCK_SH):
        yield read_manifest(folder)


@contextmanager
def _locked(folder: Path, flags: int, operation: int) -> Iterator[None]:
    lock = os.open(folder / LOCK, flags | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFailed(
                f"{folder} is in use by another backup or restore", "wait for its end"
            ) from None
        yield
    finally:
        os.close(lock)


def _is_ours(name: str) -> bool:
    return name in (MANIFEST, LOCK, BLOBS, "lost+found") or name.startswith((STATE, DRAFT))
