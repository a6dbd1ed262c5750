"""The control database in a backup: copied while a server uses it, and made ready for the one after."""

import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from coordinator.actor.copying import Between, copy_database
from coordinator.store.connections import BUSY_S

GAP = 1 << 16
"""Objects' numbers that a restored server leaves out, at least: some may have been used since the backup."""
_COPIED = (
    # Its coordinators are copied later than this database: each may have work that its row does not tell of.
    "UPDATE objects SET active = 1",
)
_SEQUENCE = (
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'objects', 0 "
    "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'objects')",
    "UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'objects'",
)


@dataclass(frozen=True)
class Facts:
    """What a control database says of its server."""

    server: str
    schema: str
    objects: tuple[int, ...]
    predictions: int
    tokens: int
    uploads: int


def copy_control(path: Path, target: Path, between: Between) -> None:
    """Copy the database as it is now, whoever writes meanwhile. Raises OSError, sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S)) as source:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        copy_database(source, target, between, _COPIED)


def facts(path: Path) -> Facts:
    """Of a copy, which nobody writes. Raises sqlite3.Error."""
    with closing(read_only(path)) as db:

        def one(sql: str) -> str | int:
            row = db.execute(sql).fetchone()
            if row is None:
                raise sqlite3.DatabaseError(f"nothing is found by {sql}")
            value: str | int = row[0]
            return value

        return Facts(
            server=str(one("SELECT value FROM meta WHERE key = 'server_id'")),
            schema=str(one("SELECT version_num FROM alembic_version")),
            objects=tuple(row[0] for row in db.execute("SELECT number FROM objects ORDER BY number")),
            predictions=int(one("SELECT count(*) FROM predictions")),
            tokens=int(one("SELECT count(*) FROM tokens")),
            uploads=int(one("SELECT count(*) FROM files")),
        )


def prepare_restored(path: Path) -> None:
    """Before a server starts on it: no object gets a number that one may have had since the backup."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN")
        db.execute(_SEQUENCE[0])
        db.execute(_SEQUENCE[1], (GAP + secrets.randbelow(GAP),))
        db.execute("COMMIT")


def read_only(path: Path) -> sqlite3.Connection:
    """A database file that nobody writes, on whatever disk."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
