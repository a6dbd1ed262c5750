"""Brings a control database to this code's schema. Everything here is synchronous: it runs before the server.

The migrations lie in ``migrations/`` beside this package, in a checkout as in an installed wheel.
"""

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

import coordinator
from coordinator.store.connections import check_url, translated
from coordinator.store.errors import SchemaTooNew

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

BUSY_S = 30.0
"""How long to wait for another process that is at work on the database."""


def migrate(url: str) -> None:
    """Make or upgrade the database at ``url``; does nothing when it is up to date.

    One transaction: it is all done or not at all, and a second process doing the same waits for the first.
    Raises SchemaTooNew, StoreUnavailable, UnsupportedDatabase.
    """
    check_url(url)
    engine = _engine(url)
    try:
        with translated():
            _upgrade(engine)
            _use_wal(engine)
    finally:
        engine.dispose()


def revisions(url: str) -> tuple[str | None, str | None]:
    """The schema that the database has, and this code's; changes nothing. Raises as ``migrate``."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    check_url(url)
    script = ScriptDirectory.from_config(_config())
    engine = create_engine(make_url(url).set(drivername="sqlite+pysqlite"), poolclass=NullPool)
    try:
        with translated(), engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    if current is not None:
        _check_known(script, current)
    return current, script.get_current_head()


def _upgrade(engine: Engine) -> None:
    # Alembic takes a tenth of a second to import: only those who migrate pay it.
    from alembic import command
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = _config()
    script = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current == script.get_current_head():
            return
        if current is not None:
            _check_known(script, current)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _use_wal(engine: Engine) -> None:
    """Set the journal mode, which the file keeps. SQLite does not wait here for others, as it does for a
    transaction, so we do."""
    deadline = time.monotonic() + BUSY_S
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
        finally:
            connection.close()


def _check_known(script: "ScriptDirectory", revision: str) -> None:
    if revision not in {known.revision for known in script.walk_revisions()}:
        raise SchemaTooNew(
            f"the database has schema {revision}, newer than this version of Cogflare knows",
            "upgrade Cogflare, or restore the backup made before the upgrade",
        )


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    return config


def _folder() -> Path:
    return Path(coordinator.__path__[0]).parent / "migrations"


def _engine(url: str) -> Engine:
    target = make_url(url).set(drivername="sqlite+pysqlite")
    # Python's sqlite3 must not begin transactions by itself: it would leave DDL outside of them.
    options = {"isolation_level": None, "timeout": BUSY_S}
    engine = create_engine(target, poolclass=NullPool, connect_args=options)

    @event.listens_for(engine, "connect")
    def _durable(connection: object, _: object) -> None:
        connection.execute("PRAGMA synchronous=FULL")  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def _begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

    return engine
