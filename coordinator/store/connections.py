"""Connections to the control database: one that writes, a few that read, and one kept open for hot reads.

SQLite has one writer at a time, so the write pool has one connection and callers queue for it in order. All
database errors leave here as ``StoreUnavailable``; a mistake in our own SQL stays what it is.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import aiosqlite
from sqlalchemy import Select, Table, event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from coordinator.store.errors import StoreUnavailable, UnsupportedDatabase

BUSY_S = 10
"""How long a statement waits for another process's lock before it fails."""
READERS = 2

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
"""What is to be done with a connection."""

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_S * 1000}")

_PROBLEMS = {
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space: accepted work is kept, new work is refused"),
    sqlite3.SQLITE_READONLY: ("the database is read-only", "make the data directory writable for this user"),
    sqlite3.SQLITE_PERM: ("no permission for the database", "make the data directory writable for this user"),
    sqlite3.SQLITE_CANTOPEN: (
        "the database cannot be opened",
        "check that its directory exists and is writable",
    ),
    sqlite3.SQLITE_IOERR: ("the disk fails or is full", "check free space and the kernel's log"),
    sqlite3.SQLITE_BUSY: ("another process holds the database", "end the other process, or wait for it"),
    sqlite3.SQLITE_CORRUPT: ("the database is damaged", "restore a backup"),
    sqlite3.SQLITE_NOTADB: ("the file is not a database", "check the database URL"),
}


def check_url(url: str) -> None:
    """Raise UnsupportedDatabase unless ``url`` names an SQLite file."""
    try:
        target = make_url(url)
    except exc.ArgumentError:
        raise UnsupportedDatabase("the database URL cannot be read", "use sqlite+aiosqlite:///PATH") from None
    in_memory = not target.database or target.database == ":memory:" or "mode=memory" in target.database
    if target.drivername != "sqlite+aiosqlite" or in_memory:
        raise UnsupportedDatabase(
            f"the database {target.render_as_string(hide_password=True)} is not supported",
            "use sqlite+aiosqlite:///PATH with a file",
        )


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors about disk, locks and permissions into ``StoreUnavailable``."""
    try:
        yield
    except exc.TimeoutError as error:
        raise StoreUnavailable("the database is busy", "it has more to write than the disk takes") from error
    except (exc.DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", None)
        problem = None if code is None else _PROBLEMS.get(code & 0xFF)
        if problem is None:
            raise
        raise StoreUnavailable(f"control store: {problem[0]} ({cause})", problem[1]) from error


class Connections:
    """The database behind a store. ``start`` opens it; ``close`` may be called at any time and twice."""

    def __init__(self, url: str) -> None:
        check_url(url)
        self._writer = create_async_engine(
            url, pool_size=1, max_overflow=0, pool_timeout=30, connect_args={"isolation_level": None}
        )
        event.listen(self._writer.sync_engine, "begin", _begin_immediate)
        self._reader = create_async_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=READERS + 1,
            max_overflow=0,
            pool_timeout=30,
            pool_reset_on_return=None,
        )
        event.listen(self._writer.sync_engine, "connect", _set_pragmas)
        event.listen(self._reader.sync_engine, "connect", _set_pragmas)
        self._kept: AsyncConnection | None = None
        self._hot: aiosqlite.Connection | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def start(self) -> None:
        """Open the connection for hot reads, which proves that the database can be opened at all."""
        with translated():
            self._kept = await self._reader.connect()
            raw = await self._kept.get_raw_connection()
        self._hot = cast(aiosqlite.Connection, raw.driver_connection)

    async def close(self) -> None:
        """Refuse new work, wait for what runs (statements have time limits), and close all connections."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks)
        kept, self._kept, self._hot = self._kept, None, None
        if kept is not None:
            await asyncio.shield(kept.close())
        await self._reader.dispose()
        await self._writer.dispose()

    def insert(self, table: Table) -> sqlite.Insert:
        """An INSERT that knows ON CONFLICT, in the dialect of this database."""
        if self._writer.dialect.name == "postgresql":
            # Both dialects' inserts have the same methods; only their common base lacks them.
            return cast(sqlite.Insert, postgresql.insert(table))
        return sqlite.insert(table)

    async def write(self, work: Work[T]) -> T:
        """Do ``work`` in one write transaction: it commits when that returns, and rolls back when it raises.

        Cancelling the caller does not stop it: a connection given back in the middle of a statement would
        keep its lock. ``work`` never asks for a second transaction: it would wait for the first.
        """
        return await self._owned(self._transaction(work))

    async def read(self, work: Work[T]) -> T:
        """Do ``work`` with a connection to read from; each statement sees its own snapshot."""
        return await self._owned(self._reading(work))

    async def _transaction(self, work: Work[T]) -> T:
        with translated():
            async with self._writer.begin() as connection:
                return await work(connection)

    async def _reading(self, work: Work[T]) -> T:
        with translated():
            async with self._reader.connect() as connection:
                return await work(connection)

    async def _owned(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise StoreUnavailable("the control store is closed")
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Asked for, so that asyncio does not report what a cancelled caller no longer waits for.
            task.exception()

    async def rows(self, statement: Select[Any], params: dict[str, Any] | None = None) -> Sequence[Any]:
        """All rows of one SELECT, as tuples."""

        async def work(connection: AsyncConnection) -> Sequence[Any]:
            rows: Sequence[Any] = (await connection.execute(statement, params)).all()
            return rows

        return await self.read(work)

    def prepare(self, statement: Select[Any]) -> "HotRead":
        """A SELECT with plain bind parameters that is run so often that its overhead counts."""
        return HotRead(self, statement)

    @property
    def hot(self) -> aiosqlite.Connection:
        if self._hot is None:
            raise StoreUnavailable("the control store is closed")
        return self._hot

    @property
    def dialect(self) -> Any:
        return self._writer.dialect


class HotRead:
    """A SELECT, compiled when it is first asked. One trip to the database's thread, where SQLAlchemy's own
    execution takes four.

    Values come as the driver gives them: a boolean is 0 or 1.
    """

    __slots__ = ("_connections", "_names", "_sql", "_statement")

    def __init__(self, connections: Connections, statement: Select[Any]) -> None:
        self._connections = connections
        self._statement = statement
        self._sql = ""
        self._names: tuple[str, ...] = ()

    async def rows(self, **params: Any) -> list[Any]:
        """All rows, as tuples. Cancelling is safe."""
        if not self._sql:
            compiled = self._statement.compile(dialect=self._connections.dialect)
            self._sql, self._names = str(compiled), tuple(compiled.positiontup or ())
        with translated():
            return list(
                await self._connections.hot.execute_fetchall(
                    self._sql, [params[name] for name in self._names]
                )
            )

    async def first(self, **params: Any) -> Any | None:
        """The first row as a tuple, or None."""
        rows = await self.rows(**params)
        return rows[0] if rows else None


def _begin_immediate(connection: Any) -> None:
    # A deferred transaction that reads first can fail when it comes to write; this one waits its turn.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _set_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
