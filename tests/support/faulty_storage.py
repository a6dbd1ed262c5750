"""Real object storage whose commits a test can hold back and let fail."""

import asyncio

from coordinator.actor.storage import Batch, Loaded, Storage, Storages


class FaultyStorages:
    """Wraps real storages. ``batches`` has every batch that was to be committed, by object number."""

    def __init__(self, real: Storages) -> None:
        self._real = real
        self.batches: list[tuple[int, Batch]] = []
        self.running = 0
        self.loads: list[int] = []
        self._failures: list[tuple[int, Exception]] = []
        self._load_failures: list[Exception] = []
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

    def let_go(self) -> None:
        self._flowing.set()
        self._loading.set()

    def fail(self, error: Exception, *, after: int = 0) -> None:
        """The next commit fails, or one later by ``after``."""
        self._failures.append((len(self.batches) + after, error))

    def fail_load(self, error: Exception) -> None:
        """The next load fails."""
        self._load_failures.append(error)

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


class FaultyStorage:
    def __init__(self, storages: FaultyStorages, real: Storage, number: int) -> None:
        self._storages = storages
        self._real = real
        self._number = number

    async def load(self, generation: int | None = None) -> Loaded:
        return await self._storages.load(self._real, self._number, generation)

    async def commit(self, batch: Batch, generation: int) -> None:
        await self._storages.commit(self._real, self._number, batch, generation)

    async def close(self) -> None:
        await self._real.close()
