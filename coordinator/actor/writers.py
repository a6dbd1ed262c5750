"""A few threads that do the blocking work of storage for an event loop.

Leaner than an executor, whose futures cost as much as a small commit: one queue, one wake-up for each answer.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Work = tuple[Callable[[], Any], "asyncio.Future[Any] | None", asyncio.AbstractEventLoop | None]


class Writers:
    """``close`` lets the threads finish what was given to them, and is safe twice."""

    def __init__(self, threads: int, name: str) -> None:
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Run on a thread. Cancelling the future does not stop it. Raises RuntimeError once closed."""
        if not self._threads:
            raise RuntimeError("the writers have ended")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put((function, future, loop))
        return future

    def post(self, function: Callable[[], object]) -> None:
        """Run on a thread some time; nobody waits. The function handles its own errors."""
        self._queue.put((function, None, None))

    def close(self) -> None:
        """Return when all threads have ended."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            function, future, loop = work
            try:
                result, error = function(), None
            except BaseException as raised:
                result, error = None, raised
            if future is not None and loop is not None:
                with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                    loop.call_soon_threadsafe(_answer, future, result, error)
            del work, function, future, result, error


def _answer(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
