"""Backups of the running server: one at a time, on a thread of its own."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec

from coordinator.actor.sqlite import SqliteStorages
from coordinator.actor.writers import Writers
from coordinator.backup.errors import BackupFailed
from coordinator.backup.manifest import Manifest
from coordinator.backup.pace import Pace
from coordinator.backup.writing import Source, back_up
from coordinator.blobs.base import Blobs
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.place import FilePlace, Place
from coordinator.errors import Unavailable
from coordinator.projector import Projector
from edge.control import AskBackup, BackupOrder, StartBackup
from edge.data_dir import DataDir

log = logging.getLogger(__name__)


class BackupStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a backup is, as ``cogflare backup`` hears it."""

    state: Literal["running", "done", "failed"]
    step: str = ""
    done: int = 0
    total: int = 0
    """0 when that is not known."""
    message: str = ""
    hint: str = ""
    manifest: Manifest | None = None


class Backups:
    """``stop`` ends a backup that is being made, which leaves the one before whole; safe twice."""

    def __init__(
        self,
        data: DataDir,
        storages: SqliteStorages,
        blobs: Blobs,
        place: Place,
        projector: Projector,
    ) -> None:
        self._data = data
        self._storages = storages
        self._blobs = blobs if isinstance(blobs, DiskBlobs) else None
        self._place = place
        self._projector = projector
        self._task: asyncio.Task[None] | None = None
        self._pace: Pace | None = None
        self._to = ""
        self._status = BackupStatus(state="failed", message="no backup was made since the server started")

    async def carry_out(self, order: BackupOrder) -> Any:
        """How the backup is doing. Raises BackupFailed when another one is being made."""
        if isinstance(order, StartBackup):
            self._start(order)
        elif isinstance(order, AskBackup):
            if self._task is not None and not self._task.done():
                await asyncio.wait((self._task,), timeout=order.wait_s)
        elif self._pace is not None and order.to == self._to:
            self._pace.stop()
        return msgspec.to_builtins(self._status)

    async def stop(self) -> None:
        if self._pace is not None:
            self._pace.stop()
        if self._task is not None:
            await asyncio.wait((self._task,))

    def _start(self, order: StartBackup) -> None:
        if self._task is not None and not self._task.done():
            raise BackupFailed("a backup is being made already", "wait for its end")
        self._status = BackupStatus(state="running")
        self._pace, self._to = Pace(order.rate_bytes), order.to
        self._task = asyncio.get_running_loop().create_task(self._run(order, self._pace))

    async def _run(self, order: StartBackup, pace: Pace) -> None:
        log.info("backup to %s: begun", order.to)
        try:
            manifest = await self._back_up(order, pace)
        except BackupFailed as error:
            log.error("%s", error)  # noqa: TRY400
            self._status = BackupStatus(state="failed", message=error.message, hint=error.hint)
        except Exception:
            log.exception("a backup failed")
            self._status = BackupStatus(
                state="failed", message="the backup was not made", hint="see the server's log"
            )
        else:
            log.info("backup to %s: done, %d bytes moved", order.to, pace.moved_bytes)
            self._status = BackupStatus(state="done", manifest=manifest)

    async def _back_up(self, order: StartBackup, pace: Pace) -> Manifest:
        loop = asyncio.get_running_loop()

        def copied(number: int | None) -> None:
            asyncio.run_coroutine_threadsafe(self._projector.let_rows_go(number), loop)

        def report(step: str, done: int, total: int) -> None:
            self._status = BackupStatus(state="running", step=step, done=done, total=total)

        source = source_of(self._data, self._place, self._storages, copied)
        thread = Writers(1, "backup")
        if self._blobs is not None:
            self._blobs.postpone_deletions()
        self._projector.hold_rows()
        work = partial(
            back_up,
            source,
            Path(order.to),
            pace,
            hold_s=order.hold_s,
            software=version("cogflare"),
            report=report,
        )
        done = thread.run(work)
        try:
            return await done
        finally:
            if not done.cancelled():  # else the thread may hang on a disk: nobody waits for it
                thread.close()
            await self._projector.let_rows_go()
            try:
                if self._blobs is not None:
                    await self._blobs.catch_up()
            except Unavailable as error:
                log.warning("files could not be deleted after the backup: %s", error)


def source_of(
    data: DataDir, place: Place, storages: SqliteStorages, copied: Callable[[int | None], object]
) -> Source:
    """A data directory as the source of a backup; its files, too, unless they are in a bucket."""
    return Source(
        control=data.database,
        objects=data.objects,
        blobs=place.folder or data.blobs if isinstance(place, FilePlace) else None,
        secrets=(data.secret_key, data.admin_token),
        copy_object=storages.copy,
        copied=copied,
        elsewhere="" if isinstance(place, FilePlace) else str(place),
    )
