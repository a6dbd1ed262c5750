"""Real object storage whose loads, commits and reads a test can hold back and let fail."""

import asyncio
from collections.abc import Sequence

from coordinator.actor.storage import Batch, Loaded, Read, Rows, Storage, Storages


class FaultyStorages:
    """Wraps real storages. ``batches`` has every batch that was to be committed, by object number; ``reads``
    every read that was asked for."""

    def __init__(self, real: Storages) -> None:
        self._real = real
        self.batches: list[tuple[int, Batch]] = []
        self.running = 0
        self.loads: list[int] = []
        self.reads: list[Read] = []
        self.reading = 0
        self._failures: list[tuple[int, Exception]] = []
        self._load_failures: list[Exception] = []
        self._read_failures: list[Exception] = []
        self._answering = asyncio.Event()
        self._answering.set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._loading = asyncio.Event()
        self._loading.set()

    def storage(self, number: int) -> "FaultyStorage":
        return FaultyStorage(self, self._real.storage(number), number)

    async def close(self) -> None:
        await self._real.close()

    def hold(self) -> None:
        """Commits begin, and end only after ``let_go``."""
        self._flowing.clear()

    def hold_loads(self) -> None:
        """Loads begin, and end only after ``let_go``."""
        self._loading.clear()

    def hold_reads(self) -> None:
        """Reads are done, and their rows come only after ``let_go``: by then they may be out of date."""
        self._answering.clear()

    def let_go(self) -> None:
        self._answering.set()
        self._flowing.set()
        self._loading.set()

    def fail(self, error: Exception, *, after: int = 0) -> None:
        """The next commit fails, or one later by ``after``."""
        self._failures.append((len(self.batches) + after, error))

    def fail_load(self, error: Exception) -> None:
        """The next load fails."""
        self._load_failures.append(error)

    def fail_read(self, error: Exception) -> None:
        """The next read fails."""
        self._read_failures.append(error)

    async def load(self, storage: Storage, number: int, generation: int | None) -> Loaded:
        self.loads.append(number)
        await self._loading.wait()
        if self._load_failures:
            raise self._load_failures.pop(0)
        return await storage.load(generation)

    async def commit(self, storage: Storage, number: int, batch: Batch, generation: int) -> None:
        self.batches.append((number, batch))
        index = len(self.batches) - 1
        self.running += 1
        try:
            await self._flowing.wait()
            for at, error in self._failures:
                if at == index:
                    raise error
            await storage.commit(batch, generation)
        finally:
            self.running -= 1

    async def read(self, storage: Storage, reads: Sequence[Read]) -> Sequence[Rows]:
        self.reads.extend(reads)
        self.reading += 1
        try:
            rows = await storage.read(reads)
            await self._answering.wait()
            if self._read_failures:
                raise self._read_failures.pop(0)
            return rows
        finally:
            self.reading -= 1


class FaultyStorage:
    def __init__(self, storages: FaultyStorages, real: Storage, number: int) -> None:
        self._storages = storages
        self._real = real
        self._number = number

    async def load(self, generation: int | None = None) -> Loaded:
        return await self._storages.load(self._real, self._number, generation)

    async def commit(self, batch: Batch, generation: int) -> None:
        await self._storages.commit(self._real, self._number, batch, generation)

    async def read(self, reads: Sequence[Read]) -> Sequence[Rows]:
        return await self._storages.read(self._real, reads)

    async def close(self) -> None:
        await self._real.close()
