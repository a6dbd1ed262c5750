"""``cogflare backup``: a copy of all of a server's data, made while it runs, and the check of one."""

import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.exits import CommandFailed, ExitCode
from edge.settings import BackupSettings

if TYPE_CHECKING:
    from coordinator.backup.manifest import Manifest
    from edge.data_dir import DataDir
    from edge.progress import Progress

SETTINGS = BackupSettings
ABOUT = (
    "Copy everything that a server keeps in --data to a folder, while it runs or while it does not. The "
    "running server writes the folder itself. A folder that holds a backup already gets the new one in its "
    "place once that is whole; files that it has are not copied again. `cogflare restore` makes a data "
    "directory of it."
)
ASK_S = 0.5


def run(settings: BackupSettings) -> int:
    from edge.progress import Progress

    folder, progress = settings.folder.absolute(), Progress()
    try:
        if settings.verify:
            return _verify(settings, folder, progress)
        manifest = _make(settings, folder, progress)
    finally:
        progress.end()
    _tell(settings, manifest, f"the backup is in {folder}")
    if manifest.elsewhere:
        print(f"cogflare: files in {manifest.elsewhere} are not in the backup", file=sys.stderr)
    return ExitCode.DONE


def _make(settings: BackupSettings, folder: Path, progress: "Progress") -> "Manifest":
    from edge.data_dir import BRIEF_USE_S, DataDir

    data = DataDir(settings.data)
    if not data.database.exists():
        raise CommandFailed(
            f"there is no Cogflare data in {data.path}", ExitCode.STORAGE, "give the server's --data"
        )
    if folder.resolve().is_relative_to(data.path.resolve()):
        raise CommandFailed(
            f"{folder} is inside of the data directory", ExitCode.USAGE, "name a folder that outlives it"
        )
    deadline = time.monotonic() + BRIEF_USE_S
    while not data.try_hold("backup"):
        if data.holder().endswith(" serve") or time.monotonic() > deadline:
            return _through_the_server(settings, data, folder, progress)
        time.sleep(0.02)
    try:
        return _on_files(settings, data, folder, progress)
    finally:
        data.release()


def _through_the_server(
    settings: BackupSettings, data: "DataDir", folder: Path, progress: "Progress"
) -> "Manifest":
    import msgspec

    from edge.administration import carry_out
    from edge.backups import BackupStatus
    from edge.control import StartBackup, StopBackup

    start = StartBackup(to=str(folder), rate_bytes=settings.rate_bytes, hold_s=settings.hold_s)
    try:
        carry_out(data, start, "backup")
        while True:
            status = msgspec.convert(_asked(data), BackupStatus)
            if status.state != "running":
                break
            progress.show(status.step or "begun", status.done, status.total)
    except KeyboardInterrupt:
        carry_out(data, StopBackup(to=start.to), "backup")
        raise
    if status.manifest is None:
        raise CommandFailed(status.message, ExitCode.STORAGE, status.hint)
    return status.manifest


def _asked(data: "DataDir") -> Any:
    from edge.administration import carry_out
    from edge.control import AskBackup

    try:
        return carry_out(data, AskBackup(wait_s=ASK_S), "backup")
    except CommandFailed as failure:
        if failure.code != ExitCode.NOT_FOUND:
            raise
        raise CommandFailed("the server has ended before the backup was made", hint="make it again") from None


def _on_files(settings: BackupSettings, data: "DataDir", folder: Path, progress: "Progress") -> "Manifest":
    import asyncio
    from importlib.metadata import version

    from coordinator.actor.sqlite import SqliteStorages
    from coordinator.backup.pace import Pace
    from coordinator.backup.writing import back_up
    from coordinator.model_schema import MODEL_SCHEMA
    from edge.backups import source_of
    from edge.failures import backup_explained
    from edge.storage import storage_place

    storages = SqliteStorages(data.objects, MODEL_SCHEMA, threads=1, open_limit=1)
    try:
        with backup_explained():
            return back_up(
                source_of(data, storage_place(settings.storage), storages, lambda number: None),
                folder,
                Pace(settings.rate_bytes),
                hold_s=math.inf,  # there is no coordinator that would have to wait
                software=version("cogflare"),
                report=progress.show,
            )
    finally:
        asyncio.run(storages.close())


def _verify(settings: BackupSettings, folder: Path, progress: "Progress") -> int:
    from coordinator.backup.pace import Pace
    from coordinator.backup.reading import verify
    from edge.failures import backup_explained

    with backup_explained():
        manifest, wrong = verify(folder, Pace(settings.rate_bytes), progress.show)
    progress.end()
    _tell(settings, manifest, f"{'DAMAGED' if wrong else 'whole'}: the backup in {folder}", wrong)
    for line in wrong:
        print(f"cogflare: {line}", file=sys.stderr)
    return ExitCode.STORAGE if wrong else ExitCode.DONE


def _tell(settings: BackupSettings, manifest: "Manifest", first: str, wrong: list[str] | None = None) -> None:
    from edge.summaries import summary, text

    told = summary(manifest)
    if settings.json:
        print(json.dumps(told if wrong is None else {**told, "wrong": wrong}))
    else:
        print(f"{first}\n{text(told)}")
