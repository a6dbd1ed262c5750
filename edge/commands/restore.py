"""``cogflare restore``: makes a data directory of a backup."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge.exits import CommandFailed, ExitCode
from edge.settings import RestoreSettings

if TYPE_CHECKING:
    from edge.data_dir import DataDir

SETTINGS = RestoreSettings
ABOUT = (
    "Make a data directory of what `cogflare backup` wrote: an empty or new one, on which `cogflare serve` "
    "then starts. Run it as the user of the server. What came after the backup is gone."
)
REPLACED = "replaced-"
_NO_MATTER = {"lock", "lost+found", "restoring"}
RATE_BYTES = 1 << 40
"""No server is at work on the directory: as fast as the disk is."""


def run(settings: RestoreSettings) -> int:
    from coordinator.backup.copies import sync_folder
    from coordinator.backup.manifest import read_manifest
    from coordinator.backup.pace import Pace
    from coordinator.backup.reading import restore
    from edge.data_dir import RESTORE, DataDir
    from edge.failures import backup_explained
    from edge.progress import Progress
    from edge.summaries import summary, text

    folder, progress = settings.folder.absolute(), Progress()
    data = DataDir(settings.data)
    with backup_explained():
        read_manifest(folder)
    if folder.resolve().is_relative_to(data.path.resolve()):
        raise CommandFailed(f"{folder} is inside of {data.path}", ExitCode.USAGE, "move the backup elsewhere")
    data.create()
    data.hold(RESTORE)
    try:
        with data.usable():
            _make_room(data, settings.force)
        with backup_explained():
            manifest = restore(folder, data.path, Pace(RATE_BYTES), progress.show)
        with data.usable():
            data.restoring.unlink()
            sync_folder(data.path)
    finally:
        progress.end()
        data.release()
    told = summary(manifest)
    print(json.dumps(told) if settings.json else f"{data.path} is restored\n{text(told)}")
    return ExitCode.DONE


def _make_room(data: "DataDir", force: bool) -> None:
    """Leave nothing in the directory that is in the way: what a server has made is moved aside if that was
    asked for; what a restore has made that did not come to its end is removed.

    The file ``restoring`` says which of the two it is, and keeps everybody else away until the end.
    """
    unfinished = data.restoring.read_text() if data.restoring.exists() else ""
    found = [path for path in sorted(data.path.iterdir()) if not _no_matter(path)]
    if unfinished == "writing":
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return
    if found and not force and not unfinished:
        raise CommandFailed(
            f"{data.path} is not empty: it holds {', '.join(path.name for path in found[:3])}",
            ExitCode.USAGE,
            "give a new --data, or --force to move what is there aside",
        )
    _mark(data, "moving")
    if found:
        nanoseconds = time.time_ns() % 1_000_000_000
        aside = data.path / time.strftime(f"{REPLACED}%Y%m%dT%H%M%S.{nanoseconds:09d}Z", time.gmtime())
        aside.mkdir(mode=0o700)
        for path in found:
            path.rename(aside / path.name)
    _mark(data, "writing")


def _no_matter(path: Path) -> bool:
    return path.name in _NO_MATTER or path.name.startswith((REPLACED, ".restoring"))


def _mark(data: "DataDir", text: str) -> None:
    from coordinator.backup.copies import sync_folder

    draft = data.path / ".restoring"
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(data.restoring)
    sync_folder(data.path)
