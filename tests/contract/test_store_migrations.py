"""Migrating makes exactly the schema of the code, once, and knows what it must not touch."""

import sqlite3
import threading
from pathlib import Path

import msgspec
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from coordinator.store.database import migrate
from coordinator.store.errors import SchemaTooNew, StoreUnavailable
from coordinator.store.schema import metadata

ROOT = Path(__file__).parents[2]


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(sql).fetchall()
        connection.commit()
        return rows
    finally:
        connection.close()


def at_revision(path: Path, revision: str) -> None:
    """A database as an older release has left it."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()


def schema_of(path: Path) -> list[tuple[object, ...]]:
    rows = ask(
        path, "SELECT type, name, sql FROM sqlite_master WHERE tbl_name NOT LIKE 'alembic%' ORDER BY 1, 2"
    )
    # Constraints may come in any order.
    return [(kind, name, sorted(str(sql).replace(",", " ").split())) for kind, name, sql in rows]


def test_a_migrated_database_has_the_schema_of_the_code(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    migrate(url_of(path))
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    finally:
        engine.dispose()


def test_indexes_and_constraints_are_the_same_too(tmp_path: Path) -> None:
    migrate(url_of(tmp_path / "migrated.db"))
    engine = create_engine(f"sqlite:///{tmp_path / 'created.db'}")
    try:
        metadata.create_all(engine)
    finally:
        engine.dispose()
    assert schema_of(tmp_path / "migrated.db") == schema_of(tmp_path / "created.db")


def test_the_schema_can_be_said_in_postgresql() -> None:
    dialect = postgresql.dialect()
    for table in metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))


def test_migrating_again_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    migrate(url_of(path))
    before = ask(path, "SELECT * FROM meta")
    migrate(url_of(path))
    assert ask(path, "SELECT * FROM meta") == before
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]


def test_files_of_before_are_counted_and_stay(tmp_path: Path) -> None:
    """Retention came with 0010: it knows which files there are, and removes none of what had ended before."""
    path = tmp_path / "control.db"
    at_revision(path, "0009")
    stored = {"name": "a", "content_type": "a/b", "sha256": "0" * 64}
    of_before: list[dict[str, object]] = [
        {"id": "1", "files": [{"key": "outputs/1/k/0/a", "length": 30, **stored}], "status": "succeeded"},
        {"id": "2", "input_files": {"u": "uploads/f/a"}, "status": "failed"},
        {"id": "3", "input_files": {"u": "uploads/f/a", "v": "uploads/f/a"}},
    ]
    common = {"account": "acme", "token": "t", "pool": "p", "model": "a/m", "created_at": 1, "input": b"{}"}
    connection = sqlite3.connect(path)
    for document in of_before:
        ended = 2 if "status" in document else None
        packed = msgspec.msgpack.encode(common | document | ({"completed_at": 2} if ended else {}))
        connection.execute(
            "INSERT INTO predictions "
            "(id, account, model, status, created_at, completed_at, sequence, document) "
            "VALUES (?, 'acme', 'a/m', ?, 1, ?, 1, ?)",
            (document["id"], document.get("status", "starting"), ended, packed),
        )
    connection.execute(
        "INSERT INTO files VALUES ('f', 'acme', 'uploads/f/a', 'a', 'a/b', 7, 's', 'm', '{}', 1, NULL)"
    )
    connection.commit()
    connection.close()
    migrate(url_of(path))
    assert ask(path, "SELECT * FROM storage_use") == [("acme", 30, 0, 7)]
    assert ask(path, "SELECT id, file_bytes, sweep_at FROM predictions ORDER BY id") == [
        ("1", 30, None),
        ("2", 0, None),
        ("3", 0, None),
    ]
    assert ask(path, "SELECT * FROM input_uses") == [("uploads/f/a", "3")]


def test_every_database_has_its_own_server_id(tmp_path: Path) -> None:
    ids = set()
    for name in ("a.db", "b.db"):
        migrate(url_of(tmp_path / name))
        ids.update(ask(tmp_path / name, "SELECT value FROM meta WHERE key = 'server_id'"))
    assert len(ids) == 2


def test_two_that_migrate_at_once_do_it_once(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    errors: list[BaseException] = []

    def run() -> None:
        try:
            migrate(url_of(path))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert len(ask(path, "SELECT * FROM meta")) == 1


def test_a_newer_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    migrate(url_of(path))
    ask(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNew, match="9999") as caught:
        migrate(url_of(path))
    assert "upgrade Cogflare" in caught.value.hint
    assert ask(path, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_place_that_takes_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be opened") as caught:
        migrate(url_of(tmp_path / "missing" / "control.db"))
    assert caught.value.hint
    (tmp_path / "text.db").write_bytes(b"this is no database " * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        migrate(url_of(tmp_path / "text.db"))
