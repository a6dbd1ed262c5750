"""How many requests may be on their way: in all, of an account, to a receiver, so that none takes all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """A number of slots for each name; what nobody uses is forgotten."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._named: dict[str, tuple[asyncio.Semaphore, int]] = {}

    def __len__(self) -> int:
        """How many names are in use."""
        return len(self._named)

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Wait for a slot of this name. Cancelling is safe."""
        free, users = self._named.get(name) or (asyncio.Semaphore(self._each), 0)
        self._named[name] = (free, users + 1)
        try:
            async with free:
                yield
        finally:
            free, users = self._named[name]
            if users > 1:
                self._named[name] = (free, users - 1)
            else:
                del self._named[name]


class Room:
    """Slots of a receiver, then of an account, then of all: who waits for the narrow keeps nothing wide."""

    def __init__(self, *, receiver: int, account: int, total: int) -> None:
        self._receivers = Slots(receiver)
        self._accounts = Slots(account)
        self._all = asyncio.Semaphore(total)

    @asynccontextmanager
    async def hold(self, account: str, receiver: str) -> AsyncIterator[None]:
        async with self._receivers.hold(receiver), self._accounts.hold(account), self._all:
            yield
