"""A few threads that do the blocking work of storage for an event loop.

Leaner than an executor, whose futures cost as much as a small commit: one queue, and one wake-up of the loop
for all answers that come before it has looked.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Work = tuple[Callable[[], Any], "asyncio.Future[Any] | None", "_Answers | None"]


class Writers:
    """``close`` lets the threads finish what was given to them, and is safe twice."""

    def __init__(self, threads: int, name: str) -> None:
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._answers: _Answers | None = None
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
        if self._answers is None or self._answers.loop is not loop:
            self._answers = _Answers(loop)
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put((function, future, self._answers))
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
            function, future, answers = work
            try:
                result, error = function(), None
            except BaseException as raised:
                result, error = None, raised
            if future is not None and answers is not None:
                answers.give(future, result, error)
            del work, function, future, answers, result, error


class _Answers:
    """What threads have to tell an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._given: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._woken = False
        """The loop will look, and has not yet begun to."""

    def give(self, future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        """From any thread."""
        self._given.append((future, result, error))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                self.loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._woken = False  # first: what is given from now on may be overlooked here
        while self._given:
            future, result, error = self._given.popleft()
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
