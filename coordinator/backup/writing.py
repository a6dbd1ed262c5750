"""Writes a backup of a data directory, whether a server is at work on it or not.

What makes it one state of the server, although it is copied bit by bit:

1. Before the first step coordinators are kept from removing rows (``Projector.hold_rows``), and blobs from
   being deleted. So what the control index takes over from now on is in two places until it was copied.
2. The control database is copied as it is at one moment. Everything accepted before the backup began is, at
   this moment, a row of a coordinator, or has ended and is in the index.
3. Every coordinator that this copy lists is copied, later than the index, so it is never behind it: what the
   index has ended, the coordinator has ended or has handed over before the backup began. It may be ahead, and
   a restored coordinator tells the index what it ended. Its rows may go as soon as it is copied.
4. Blobs come last: a prediction succeeds after its files are stored, so each file of each success is there.
5. The manifest makes it a backup.

An accepted prediction is therefore in it; none has ended in one place and runs in the other; and after a
restore no object gets a number that another one may have had (``prepare_restored``). A prediction that ended
after the backup runs again: a backup goes back in time.
"""

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coordinator.actor.copying import Between
from coordinator.backup.blobs import BlobCopy, drop_deleted
from coordinator.backup.copies import copy, digest, sync_folder
from coordinator.backup.errors import BackupFailed, told
from coordinator.backup.manifest import (
    BLOB_LIST,
    BLOBS,
    CONTROL,
    DRAFT,
    STATE,
    Content,
    Manifest,
    write_manifest,
    writing,
)
from coordinator.backup.pace import Pace
from coordinator.store.copies import Facts, copy_control, facts

SPARE_BYTES = 64 * 1024 * 1024
"""Room that must be left on the disk of the backup, beyond what its databases need."""

Report = Callable[[str, int, int], None]
"""(what is being copied, how many of them are, how many there are or 0 when that is not known)."""


@dataclass(frozen=True)
class Source:
    """A data directory."""

    control: Path
    objects: Path
    blobs: Path | None
    """None: they are in a bucket, which is not copied."""
    secrets: Sequence[Path]
    """Those that are missing are left out, but for the first."""
    copy_object: Callable[[int, Path, Between], bool]
    """``SqliteStorages.copy``."""
    copied: Callable[[int | None], object]
    """This coordinator is copied; None: all are."""
    elsewhere: str = ""
    """The bucket, where there is one."""


def back_up(
    source: Source, target: Path, pace: Pace, *, hold_s: float, software: str, report: Report
) -> Manifest:
    """Make ``target`` the backup of the source; what backup it held is replaced once this one is whole.

    Blocking: for a thread of its own. Raises BackupFailed.
    """
    with told(f"the backup in {target} was not made"), writing(target) as previous:
        state = target / f"{STATE}{secrets.token_hex(8)}"
        _clear_states(target, previous)
        _check_room(source, target)
        try:
            manifest = _write(source, target, state, pace, hold_s, software, report, previous)
            write_manifest(target, manifest)
        except BaseException:
            shutil.rmtree(state, ignore_errors=True)
            raise
        _clear_states(target, manifest)
        if source.blobs is not None:
            drop_deleted(source.blobs, target / BLOBS)
    return manifest


def _write(
    source: Source,
    target: Path,
    state: Path,
    pace: Pace,
    hold_s: float,
    software: str,
    report: Report,
    previous: Manifest | None,
) -> Manifest:
    begun_at = time.time_ns() // 1000
    (state / "objects").mkdir(mode=0o700, parents=True)
    said = f"coordinators would have to keep what has ended for longer than {hold_s:g} s"
    pace.limit(hold_s, said, "let it go faster with --rate-bytes, or take longer with --hold-s")
    known = _control(source, state, pace, report)
    if previous is not None and previous.server != known.server:
        raise BackupFailed(f"{target} holds the backup of another server", "name another folder")
    _objects(source, state, known.objects, pace, report)
    pace.unlimited()
    with BlobCopy(source.blobs, target / BLOBS, state / BLOB_LIST, pace) as blobs:
        blobs.run(report)
    _secrets(source, state, pace)
    files = dict(_contents(state, pace, report))
    for folder in (state / "objects", state, target):
        sync_folder(folder)
    return Manifest(
        software=software,
        server=known.server,
        schema=known.schema,
        begun_at=begun_at,
        ended_at=time.time_ns() // 1000,
        state=state.name,
        files=files,
        objects=sum(name.startswith("objects/") for name in files),
        predictions=known.predictions,
        tokens=known.tokens,
        uploads=known.uploads,
        blobs=blobs.count,
        blob_bytes=blobs.length,
        elsewhere=source.elsewhere,
    )


def _control(source: Source, state: Path, pace: Pace, report: Report) -> Facts:
    report("control database", 0, 1)
    copy_control(source.control, state / CONTROL, pace.spend)
    return facts(state / CONTROL)


def _objects(source: Source, state: Path, numbers: Sequence[int], pace: Pace, report: Report) -> None:
    for done, number in enumerate(numbers):
        report("coordinators", done, len(numbers))
        source.copy_object(number, state / "objects" / f"{number:09d}.sqlite3", pace.spend)
        source.copied(number)
    report("coordinators", len(numbers), len(numbers))
    source.copied(None)


def _secrets(source: Source, state: Path, pace: Pace) -> None:
    for position, path in enumerate(source.secrets):
        if position == 0 or path.exists():
            copy(path, state / path.name, pace.spend)


def _contents(state: Path, pace: Pace, report: Report) -> Iterable[tuple[str, Content]]:
    paths = [path for path in sorted(state.rglob("*")) if path.is_file()]
    for done, path in enumerate(paths):
        report("checksums", done, len(paths))
        yield path.relative_to(state).as_posix(), Content(*digest(path, pace.spend))


def _check_room(source: Source, target: Path) -> None:
    """Tell of too small a disk before anything is copied, and leave a server its room where both share it."""
    sizes = [path.stat().st_size for path in _databases(source)]
    needed, free = sum(sizes) + SPARE_BYTES, shutil.disk_usage(target).free
    if needed > free:
        raise BackupFailed(
            f"the disk of {target} has {free >> 20} MiB left, the databases alone need {needed >> 20} MiB",
            "make room there, or name a folder on another disk",
        )


def _databases(source: Source) -> Iterable[Path]:
    yield source.control
    if source.objects.is_dir():
        yield from (path for path in source.objects.iterdir() if path.suffix == ".sqlite3")


def _clear_states(target: Path, kept: Manifest | None) -> None:
    """Remove what interrupted backups and the one before have left."""
    for path in target.iterdir():
        if path.name.startswith(STATE) and (kept is None or path.name != kept.state):
            shutil.rmtree(path)
        elif path.name.startswith(DRAFT):
            path.unlink()
