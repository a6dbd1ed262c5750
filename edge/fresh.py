"""A cache whose entries are trusted for a moment only, and loaded once however many ask at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Fresh(Generic[K, V]):
    """Answers from memory for ``ttl_s`` seconds after a load, then loads again. Failures are not kept.

    A value may be None; absence is as fresh as presence, or as ``absent_s`` says. At most ``size`` entries;
    the oldest loads give way.
    """

    def __init__(
        self,
        *,
        ttl_s: float,
        size: int,
        monotonic: Callable[[], float],
        absent_s: float | None = None,
    ) -> None:
        self._ttl_s = ttl_s
        self._absent_s = ttl_s if absent_s is None else absent_s
        self._size = size
        self._monotonic = monotonic
        self._entries: dict[K, tuple[float, V]] = {}
        self._loading: dict[K, asyncio.Task[V]] = {}
        self._tasks: set[asyncio.Task[V]] = set()

    async def get(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        """The value of ``key``, at most ``ttl_s`` old. Raises what ``load`` raises; cancelling is safe."""
        entry = self._entries.get(key)
        if entry is not None and entry[0] > self._monotonic():
            return entry[1]
        task = self._loading.get(key)
        if task is None:
            task = asyncio.ensure_future(self._refresh(key, load))
            self._loading[key] = task
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._loaded(key, done))
        # Shielded: one caller that goes away must not fail the others that wait for the same load.
        return await asyncio.shield(task)

    def last(self, key: K) -> V | None:
        """What was known of ``key`` last, however old; None when that is nothing."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def forget(self, matches: Callable[[V], bool]) -> None:
        """Drop the entries whose value matches; a load under way is not trusted afterwards either."""
        for key in [key for key, (_, value) in self._entries.items() if matches(value)]:
            del self._entries[key]
        self._loading.clear()

    async def _refresh(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        # The value is as old as the question, not as the answer.
        asked_at = self._monotonic()
        value = await load()
        if self._loading.get(key) is asyncio.current_task():
            self._entries.pop(key, None)
            ttl_s = self._absent_s if value is None else self._ttl_s
            self._entries[key] = (asked_at + ttl_s, value)
            while len(self._entries) > self._size:
                del self._entries[next(iter(self._entries))]
        return value

    async def stop(self) -> None:
        """Cancel the loads under way. May be repeated."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _loaded(self, key: K, task: asyncio.Task[V]) -> None:
        self._tasks.discard(task)
        if self._loading.get(key) is task:
            del self._loading[key]
        if not task.cancelled():
            task.exception()
