"""Backups of a server's coordinators at work, and servers that are restored from them."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test looks at files

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from coordinator.backup.manifest import Manifest
from coordinator.backup.pace import Pace
from coordinator.backup.reading import restore
from coordinator.backup.writing import Source, back_up
from tests.support.coordination import Coordination

RATE = 1 << 40
Hook = Callable[[], Awaitable[object]]


async def nothing() -> None:
    pass


class Backing:
    """Makes backups of a server; ``before_objects`` runs once the control database is copied, and
    ``before_files`` once all coordinators are."""

    def __init__(self, server: Coordination, folder: Path, data: Path) -> None:
        self.server = server
        self.folder = folder
        self.data = data
        self.before_objects: Hook = nothing
        self.before_files: Hook = nothing

    async def make(self) -> Manifest:
        loop = asyncio.get_running_loop()
        server, projector = self.server, self.server.coordinators.projector

        def run(work: Awaitable[object]) -> None:
            async def wait() -> None:
                await work

            asyncio.run_coroutine_threadsafe(wait(), loop).result(20)

        def report(step: str, done: int, total: int) -> None:
            if done == 0 and step == "coordinators":
                run(self.before_objects())
            if done == 0 and step == "files":
                run(self.before_files())

        (self.data / "secret.key").write_bytes(b"k" * 32)
        source = Source(
            control=self.data / "control.db",
            objects=self.data / "objects",
            blobs=self.data / "blobs",
            secrets=(self.data / "secret.key", self.data / "admin-token"),
            copy_object=server.files.copy,
            copied=lambda number: run(projector.let_rows_go(number)),
        )
        server.blobs.postpone_deletions()
        projector.hold_rows()
        try:
            return await asyncio.to_thread(
                back_up, source, self.folder, Pace(RATE), hold_s=60, software="1", report=report
            )
        finally:
            await projector.let_rows_go()
            await server.blobs.catch_up()

    async def copied(self, into: Path) -> Coordination:
        """Restored, and not started yet."""
        into.mkdir()
        restore(self.folder, into, Pace(RATE), lambda *_: None)
        return Coordination(into, self.server.clock, self.server.limits)

    async def restored(self, into: Path) -> Coordination:
        other = await self.copied(into)
        await other.start()
        return other
