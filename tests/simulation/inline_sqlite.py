"""``aiosqlite`` without its threads: what one would do is done on the simulation's loop, a moment later."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import aiosqlite.core

from tests.simulation.loop import PROCESS

_Work = tuple["asyncio.Future[Any] | None", Callable[[], Any]]


class _Thread:
    """Stands in for a connection's thread."""

    daemon = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def start(self) -> None:
        pass


class _Inbox:
    """What a connection's thread is given, done in its order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Work] = deque()
        self._busy = False

    def put_nowait(self, work: _Work) -> None:
        self._waiting.append(work)
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            future, function = self._waiting.popleft()
            doing = self._loop.run_in_executor(None, function)
            doing.add_done_callback(lambda done: self._done(done, future))

    def _done(self, done: asyncio.Future[Any], future: asyncio.Future[Any] | None) -> None:
        error = done.exception()
        if future is not None and not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())
        self._next()


_connect = aiosqlite.core.Connection._connect


async def _connect_in_process(connection: aiosqlite.core.Connection) -> aiosqlite.core.Connection:
    """Its process takes it with it: what it had not committed is not there."""
    await _connect(connection)
    process = PROCESS.get()
    if process is not None:
        process.at_end.append(lambda: _lose(connection))
    return connection


def _lose(connection: aiosqlite.core.Connection) -> None:
    raw, connection._connection = connection._connection, None
    connection._running = False
    if raw is not None:
        with suppress(sqlite3.Error):
            raw.rollback()  # a cursor that is still known keeps a closed connection's locks
        raw.close()


@contextmanager
def inline_sqlite() -> Iterator[None]:
    """Connections that are made inside have no threads."""
    with (
        patch.object(aiosqlite.core, "SimpleQueue", _Inbox),
        patch.object(aiosqlite.core, "Thread", _Thread),
        patch.object(aiosqlite.core.Connection, "_connect", _connect_in_process),
    ):
        yield
