"""Object storage on SQLite: one file per object, WAL, every commit fsynced.

A commit is one function on one of a few writer threads, however many rows it carries. Connections are kept
open up to a limit, the least recently used closed first. The lock mode is exclusive: the process that has the
file open is its only reader and writer, and no shared-memory file is needed.
"""

import asyncio
import itertools
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.dialects import sqlite as dialect
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from coordinator.actor.copying import Between, copy_database
from coordinator.actor.errors import ActorError, CommitFailed, Fenced, ReadFailed, StorageBroken
from coordinator.actor.storage import Batch, Loaded, Read, Rows, Schema, Write
from coordinator.actor.writers import Writers

T = TypeVar("T")

CHECKPOINT_BYTES = 4 * 1024 * 1024
"""WAL growth after which the next idle moment of a writer thread checkpoints."""
_PAGE_BYTES = 4096
_MOVED_ROWS = 1000
"""Rows of an earlier release's table that are in memory at once while they move."""
_DIALECT = dialect.dialect(paramstyle="qmark")
_REORDER = Callable[[tuple[Any, ...]], tuple[Any, ...]]

_CREATE_OBJECT = """CREATE TABLE IF NOT EXISTS _object (
    id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, alarm_at INTEGER
)"""
_GUARD = "SELECT alarm_at FROM _object WHERE id = 1 AND generation = ?"
_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
_SET_ALARM = "UPDATE _object SET alarm_at = ? WHERE id = 1"
_TAKE_OVER = (
    "INSERT INTO _object VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET generation = excluded.generation"
)
_BROKEN = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""Primary result codes after which nobody knows what is on the disk; after the others it is as before."""
_NOT_LOCKED = {sqlite3.SQLITE_IOERR_LOCK, sqlite3.SQLITE_IOERR_RDLOCK}
"""Extended codes of a file that cannot be locked, because the disk is read-only for example."""


class SqliteStorages:
    """The storages of all objects below one directory."""

    def __init__(
        self, root: Path, schema: Schema, *, threads: int, open_limit: int, commit_delay_s: float = 0.0
    ) -> None:
        self._root = root
        self._plan = _plan(schema)
        self._writers = Writers(threads, "object-storage")
        self._open_limit = open_limit
        self._commit_delay_s = commit_delay_s
        self._files: OrderedDict[int, _File] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def storage(self, number: int) -> "SqliteStorage":
        return SqliteStorage(self, number)

    async def close(self) -> None:
        """Close every file once what is being written is written. Safe twice."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._close_all)

    async def run(self, function: Callable[[], T]) -> T:
        """Run on a writer thread; it runs to its end even when the caller is cancelled."""
        return await self._writers.run(function)

    def load(self, number: int, generation: int | None) -> Loaded:
        with self._using(number) as file:
            return _told(partial(file.load, generation), CommitFailed)

    def commit(self, number: int, batch: Batch, generation: int) -> None:
        with self._using(number) as file:
            _told(partial(file.commit, batch, generation), CommitFailed)
            due = file.written_bytes >= CHECKPOINT_BYTES
        if self._commit_delay_s:
            time.sleep(self._commit_delay_s)
        if due:
            self._writers.post(partial(self._checkpoint, number))

    def read(self, number: int, reads: Sequence[Read]) -> Sequence[Rows]:
        with self._using(number) as file:
            return _told(partial(file.read, reads), ReadFailed)

    def copy(self, number: int, target: Path, between: Between) -> bool:
        """Copy an object's database to a new file, as it is at the end of the copy; False when it has none.

        For any thread but the writers'. Commits of the object go on whenever ``between`` is called; what that
        raises ends the copy. Raises OSError, sqlite3.Error, and ReadFailed once the storages are closed.
        """
        if not self._path(number).exists():
            return False

        def turn(count: int) -> None:
            between(count)
            if self._closed:
                raise ReadFailed("object storage: it is closed")

        with self._kept_open(number) as file:
            file.copy(target, turn)
        return True

    def close_file(self, number: int) -> None:
        with self._lock:
            file = self._files.get(number)
            if file is None or file.users:  # it is being copied: it closes as the least recently used
                return
            del self._files[number]
        file.close()

    def _path(self, number: int) -> Path:
        return self._root / f"{number:09d}.sqlite3"

    @contextmanager
    def _using(self, number: int) -> Iterator["_File"]:
        """An object's open file, for this thread alone."""
        with self._kept_open(number) as file, file.lock:
            yield file

    @contextmanager
    def _kept_open(self, number: int) -> Iterator["_File"]:
        """An object's file, which stays open. Closes files over the limit that nobody uses."""
        with self._lock:
            file = self._files.get(number)
            if file is None:
                file = self._files[number] = _File(self._path(number), self._plan)
            self._files.move_to_end(number)
            file.users += 1
            over = max(len(self._files) - self._open_limit, 0)
            idle = list(itertools.islice((key for key, one in self._files.items() if not one.users), over))
            closing = [self._files.pop(key) for key in idle]
        try:
            for other in closing:
                other.close()
            yield file
        finally:
            with self._lock:
                file.users -= 1

    def _checkpoint(self, number: int) -> None:
        with self._lock:
            file = self._files.get(number)
        if file is not None and file.written_bytes >= CHECKPOINT_BYTES:
            file.checkpoint()

    def _close_all(self) -> None:
        """The threads first: a commit whose caller was cancelled may still be on its way to its file."""
        self._writers.close()
        for file in self._files.values():
            if not file.users:  # a copy whose disk hangs must not keep the process from leaving
                file.close()
        self._files.clear()


class SqliteStorage:
    """One object's storage."""

    def __init__(self, storages: SqliteStorages, number: int) -> None:
        self._storages = storages
        self._number = number

    async def load(self, generation: int | None = None) -> Loaded:
        return await self._storages.run(partial(self._storages.load, self._number, generation))

    async def commit(self, batch: Batch, generation: int) -> None:
        await self._storages.run(partial(self._storages.commit, self._number, batch, generation))

    async def read(self, reads: Sequence[Read]) -> Sequence[Rows]:
        return await self._storages.run(partial(self._storages.read, self._number, reads))

    async def close(self) -> None:
        await self._storages.run(partial(self._storages.close_file, self._number))


@cache
def _plan(schema: Schema) -> "_Plan":
    return _Plan(schema)


class _Plan:
    """The schema as SQL text, made once for all objects."""

    def __init__(self, schema: Schema) -> None:
        self.create = [_CREATE_OBJECT]
        for table in schema.metadata.sorted_tables:
            self.create.append(str(CreateTable(table, if_not_exists=True).compile(dialect=_DIALECT)))
            self.create += [
                str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECT))
                for index in table.indexes
            ]
        self.writes = {name: _positional(s.sql, s.parameters) for name, s in schema.writes.items()}
        self.loads = {name: _constant(load) for name, load in schema.loads.items()}
        self.reads = {name: _positional(s.sql, s.parameters) for name, s in schema.reads.items()}
        self.copied = [_constant(statement) for statement in schema.copied]
        self.moves = [
            (
                move.table.name,
                str(select(move.table).compile(dialect=_DIALECT)),
                str(DropTable(move.table).compile(dialect=_DIALECT)),
                move,
            )
            for move in schema.moves
        ]

    def grouped(self, writes: Sequence[Write]) -> Iterable[tuple[str, list[tuple[Any, ...]]]]:
        """Runs of the same statement, in order, each one ``executemany``."""
        for name, run in itertools.groupby(writes, key=itemgetter(0)):
            sql, reorder = self.writes[name]
            rows = [write.parameters for write in run]
            yield sql, rows if reorder is None else [reorder(row) for row in rows]

    def move(self, db: sqlite3.Connection) -> None:
        """Bring over what an earlier release wrote."""
        for name, rows, drop, move in self.moves:
            if db.execute(_HAS_TABLE, (name,)).fetchone() is None:
                continue
            sql, reorder = self.writes[move.into]
            cursor = db.execute(rows)
            while old := cursor.fetchmany(_MOVED_ROWS):
                new = map(move.convert, old)
                db.executemany(sql, new if reorder is None else map(reorder, new))
            db.execute(drop)

    def ask(self, db: sqlite3.Connection, read: Read) -> Rows:
        sql, reorder = self.reads[read.statement]
        parameters = read.parameters if reorder is None else reorder(read.parameters)
        return db.execute(sql, parameters).fetchall()


def _constant(sql: Any) -> str:
    return str(sql.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


def _positional(sql: Any, parameters: tuple[str, ...]) -> tuple[str, _REORDER | None]:
    compiled = sql.compile(dialect=_DIALECT)
    order = tuple(compiled.positiontup or ())
    constants = {name: compiled.params[name] for name in order if not compiled.binds[name].required}
    if {*order} - {*constants} != {*parameters}:
        raise ValueError(f"statement takes {order}, the schema declares {parameters}")
    if order == parameters:
        return str(compiled), None
    # Where each value comes from: a parameter's position, or what the statement itself says.
    sources = [
        (parameters.index(name), None) if name in parameters else (-1, constants[name]) for name in order
    ]
    return str(compiled), lambda row: tuple(
        constant if position < 0 else row[position] for position, constant in sources
    )


class _File:
    """An object's database file. Used by one writer thread at a time."""

    def __init__(self, path: Path, plan: _Plan) -> None:
        self._path = path
        self._plan = plan
        self._connection: sqlite3.Connection | None = None
        self.lock = threading.Lock()
        self.users = 0
        self.written_bytes = 0

    def load(self, generation: int | None) -> Loaded:
        db = self._open()
        _begin(db)
        try:
            for statement in self._plan.create:
                db.execute(statement)
            self._plan.move(db)
            row = db.execute("SELECT generation, alarm_at FROM _object WHERE id = 1").fetchone()
            stored, alarm_at = row or (0, None)
            taken = stored + 1 if generation is None else generation
            if taken <= stored:
                raise Fenced(f"generation {stored} owns the object, {taken} is older")
            db.execute(
                _TAKE_OVER,
                (taken, alarm_at),
            )
            rows = {name: db.execute(sql).fetchall() for name, sql in self._plan.loads.items()}
            db.execute("COMMIT")
        except BaseException:
            _rollback(db)
            raise
        return Loaded(taken, alarm_at, rows)

    def commit(self, batch: Batch, generation: int) -> None:
        db = self._open()
        _begin(db)
        try:
            owned = db.execute(_GUARD, (generation,)).fetchone()
            if owned is None:
                raise Fenced(f"generation {generation} no longer owns the object")
            if owned[0] != batch.alarm_at:
                db.execute(_SET_ALARM, (batch.alarm_at,))
            for sql, rows in self._plan.grouped(batch.writes):
                db.executemany(sql, rows)
                self.written_bytes += sum(len(v) for row in rows for v in row if isinstance(v, bytes))
            db.execute("COMMIT")
        except BaseException:
            _rollback(db)
            raise
        self.written_bytes += 3 * _PAGE_BYTES

    def read(self, reads: Sequence[Read]) -> Sequence[Rows]:
        db = self._open()  # for this thread alone: nothing is committed between two statements
        _rollback(db)  # what a failed commit may have left
        return [self._plan.ask(db, read) for read in reads]

    def copy(self, target: Path, between: Between) -> None:
        with self.lock:
            db = self._open()
            _rollback(db)

            def let_others(count: int) -> None:
                self.lock.release()
                try:
                    between(count)
                finally:
                    self.lock.acquire()
                    _rollback(db)

            copy_database(db, target, let_others, self._plan.copied)

    def checkpoint(self) -> None:
        """Move the WAL into the database. A failure loses nothing: the WAL stays until the next one."""
        with self.lock:
            if self._connection is None:
                return
            try:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self.written_bytes = 0
            except sqlite3.Error:
                self.written_bytes = CHECKPOINT_BYTES // 2

    def close(self) -> None:
        with self.lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5.0)
            try:
                db.execute("PRAGMA locking_mode = EXCLUSIVE")
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA wal_autocheckpoint = 0")
            except BaseException:
                db.close()
                raise
            self._connection = db
        return self._connection


def _begin(db: sqlite3.Connection) -> None:
    if db.in_transaction:  # a commit that failed half-way left it open
        db.execute("ROLLBACK")
    db.execute("BEGIN IMMEDIATE")


def _rollback(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


def _told(work: Callable[[], T], otherwise: type[ActorError]) -> T:
    """Run, turning SQLite's errors into ours: ``otherwise``, unless the device is broken."""
    try:
        return work()
    except OSError as error:
        raise otherwise(f"object storage: {error}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF in _BROKEN and code not in _NOT_LOCKED:
            raise StorageBroken(f"object storage: {error}") from error
        raise otherwise(f"object storage: {error}") from error
