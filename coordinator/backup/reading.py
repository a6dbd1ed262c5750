"""Checks a backup, and makes a data directory of it again."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from coordinator.backup.blobs import Report, bring_back, meta
from coordinator.backup.copies import copy, digest, sync_folder
from coordinator.backup.errors import BackupDamaged, told
from coordinator.backup.manifest import BLOB_LIST, BLOBS, CONTROL, Content, Manifest, listed, reading
from coordinator.backup.pace import Pace
from coordinator.store.copies import prepare_restored, read_only


def verify(folder: Path, pace: Pace, report: Report) -> tuple[Manifest, list[str]]:
    """Read every byte of a backup: what it is, and a line for each thing that is wrong with it.

    Raises BackupFailed when it cannot be read at all.
    """
    with told(f"the backup in {folder} cannot be read"), reading(folder) as manifest:
        state = folder / manifest.state
        wrong = [*_wrong_files(state, manifest, pace, report)]
        if not wrong:  # the list of blobs is one of them
            wrong += _wrong_blobs(folder, state, manifest, pace, report)
    return manifest, wrong


def _wrong_files(state: Path, manifest: Manifest, pace: Pace, report: Report) -> Iterator[str]:
    for done, (name, content) in enumerate(manifest.files.items()):
        report("files of the state", done, len(manifest.files))
        path = state / name
        if not path.is_file():
            yield f"{name} is missing"
        elif Content(*digest(path, pace.spend)) != content:
            yield f"{name} is not what was written"
        elif path.suffix in (".db", ".sqlite3") and (trouble := _integrity(path)):
            yield f"{name}: {trouble}"


def _integrity(path: Path) -> str:
    """What SQLite finds wrong with a database; empty when nothing is."""
    try:
        with closing(read_only(path)) as db:
            (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return "" if found == "ok" else str(found)


def _wrong_blobs(folder: Path, state: Path, manifest: Manifest, pace: Pace, report: Report) -> Iterator[str]:
    count = 0
    for blob in listed(state):
        report("files", count, manifest.blobs)
        count += 1
        path = folder / BLOBS / blob.key
        if not path.is_file() or not meta(path).is_file():
            yield f"the file {blob.key} is missing"
        elif digest(path, pace.spend) != (blob.length, blob.sha256):
            yield f"the file {blob.key} is not what was written"
    if count != manifest.blobs:
        yield f"{count} files are listed instead of {manifest.blobs}"


def restore(folder: Path, data: Path, pace: Pace, report: Report) -> Manifest:
    """Fill an empty data directory, which the caller holds, with what a backup has.

    The control database comes last. Raises BackupFailed; the directory is then not one to start a server on.
    """
    with told(f"the backup in {folder} was not restored"), reading(folder) as manifest:
        state = folder / manifest.state
        (data / "objects").mkdir(mode=0o700)
        if not _same(state, BLOB_LIST, manifest.files, pace):
            raise BackupDamaged(f"{state / BLOB_LIST} is not what was written", "use another backup")
        bring_back(folder / BLOBS, state, data / "blobs", pace, report, manifest.blobs)
        names = sorted(manifest.files.keys() - {BLOB_LIST}, key=lambda name: (name == CONTROL, name))
        for done, name in enumerate(names):
            report("databases and secrets", done, len(names))
            if Content(*copy(state / name, data / name, pace.spend)) != manifest.files[name]:
                raise BackupDamaged(f"{state / name} is not what was written", "use another backup")
        prepare_restored(data / CONTROL)
        for path in (data / "objects", data):
            sync_folder(path)
    return manifest


def _same(state: Path, name: str, files: dict[str, Content], pace: Pace) -> bool:
    return name in files and Content(*digest(state / name, pace.spend)) == files[name]
