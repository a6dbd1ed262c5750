"""The control store on SQLite: the contract of all, and what only a file can do wrong."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.errors import Unavailable
from coordinator.prediction import Status
from coordinator.store.database import Store, migrate
from coordinator.store.errors import NotMigrated, StoreUnavailable, UnsupportedDatabase
from coordinator.store.index import page_of
from tests.contract.suites.store_aliases import AliasesContract
from tests.contract.suites.store_edits import DeploymentsContract, ModelEditsContract
from tests.contract.suites.store_index import FilesContract, IndexContract, document
from tests.contract.suites.store_models import ModelsContract
from tests.contract.suites.store_providers import ProviderVersionsContract
from tests.contract.suites.store_tokens import ObjectsContract, StoreClock, TokensContract
from tests.contract.suites.store_usage import UsageContract
from tests.contract.suites.store_webhooks import WebhookSecretsContract


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy: migrating each would be most of the tests' time."""
    path = tmp_path_factory.mktemp("store") / "control.db"
    migrate(url_of(path))
    return path


@pytest.fixture
def path(migrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(migrated, tmp_path / "control.db"))


@pytest.fixture
def clock() -> StoreClock:
    return StoreClock()


@pytest.fixture
async def store(path: Path, clock: StoreClock) -> AsyncIterator[Store]:
    store = await Store.open(url_of(path), clock=clock)
    yield store
    await store.close()


async def pragma(store: Store, setting: str) -> None:
    """Change a setting of the connection that writes."""

    async def change(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql(f"PRAGMA {setting}")

    await store._connections.write(change)


class TestTokens(TokensContract):
    async def test_the_secret_is_nowhere_in_the_files(self, store: Store, path: Path) -> None:
        token, secret = await store.tokens.create(name="bot")
        content = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert token.id.encode() in content
        assert secret.encode() not in content
        assert secret[8:].encode() not in content


class TestObjects(ObjectsContract):
    pass


class TestModels(ModelsContract):
    pass


class TestModelEdits(ModelEditsContract):
    pass


class TestDeployments(DeploymentsContract):
    pass


class TestIndex(IndexContract):
    pass


class TestFiles(FilesContract):
    pass


class TestAliases(AliasesContract):
    pass


class TestProviderVersions(ProviderVersionsContract):
    pass


class TestUsage(UsageContract):
    @pytest.fixture
    async def reopened(self, path: Path, clock: StoreClock) -> AsyncIterator[Callable[[], Awaitable[Store]]]:
        opened = []

        async def again() -> Store:
            opened.append(await Store.open(url_of(path), clock=clock))
            return opened[-1]

        yield again
        for store in opened:
            await store.close()


class TestWebhookSecrets(WebhookSecretsContract):
    pass


class TestSqliteFile:
    async def test_what_was_written_is_there_after_reopening(self, store: Store, path: Path) -> None:
        _, secret = await store.tokens.create(name="bot")
        await store.index.upsert([document()])
        again = await Store.open(url_of(path))
        try:
            assert again.server_id == store.server_id
            assert len(store.server_id) == 32
            assert await again.tokens.by_secret(secret) is not None
            assert await again.index.get("p1", "acme") == document()
        finally:
            await again.close()

    async def test_each_connection_is_durable_and_strict(self, store: Store) -> None:
        async def ask(connection: AsyncConnection) -> list[object]:
            pragmas = ("journal_mode", "synchronous", "foreign_keys")
            return [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in pragmas]

        assert await store._connections.write(ask) == ["wal", 2, 1]
        assert await store._connections.read(ask) == ["wal", 2, 1]

    @pytest.mark.parametrize(
        ("model", "status", "wanted"),
        [
            (None, None, "ix_predictions_account_created_at_id (account=?)"),
            (None, Status.SUCCEEDED, "ix_predictions_account_created_at_id (account=?)"),
            (None, Status.FAILED, "ix_predictions_missed (account=? AND status=?)"),
            (None, Status.CANCELED, "ix_predictions_missed (account=? AND status=?)"),
            (None, Status.STARTING, "ix_predictions_unended (account=?)"),
            ("me/m", None, "ix_predictions_account_model_created_at_id (account=? AND model=?)"),
            ("me/m", Status.SUCCEEDED, "ix_predictions_account_model_created_at_id (account=? AND model=?)"),
            ("me/m", Status.FAILED, "ix_predictions_missed_of_model (account=? AND model=? AND status=?)"),
            ("me/m", Status.PROCESSING, "ix_predictions_unended_of_model (account=? AND model=?)"),
        ],
    )
    async def test_a_list_reads_what_it_shows_and_sorts_nothing(
        self, store: Store, model: str | None, status: Status | None, wanted: str
    ) -> None:
        await self.is_read_by(store, page_of("acme", model=model, status=status, limit=9), wanted)

    async def test_a_list_of_trainings_reads_nothing_else(self, store: Store) -> None:
        page = page_of("acme", trainings=True, limit=9)
        await self.is_read_by(store, page, "ix_predictions_training (account=?)")

    async def is_read_by(self, store: Store, page: Select[Any], wanted: str) -> None:
        sql = page.compile(dialect=store._connections.dialect, compile_kwargs={"literal_binds": True})

        async def ask(connection: AsyncConnection) -> list[str]:
            steps = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")
            return [str(step[-1]) for step in steps.all()]

        (step,) = await store._connections.read(ask)
        assert step == f"SEARCH predictions USING INDEX {wanted}"

    async def test_a_full_disk_is_one_clear_error(self, store: Store) -> None:
        await store.index.upsert([document("before")])
        # Below the pages in use, SQLite takes as many as are in use: the file cannot grow.
        await pragma(store, "max_page_count = 1")
        many = [document(f"p{i}") for i in range(500)]
        with pytest.raises(StoreUnavailable, match="the disk is full") as caught:
            await store.index.upsert(many)
        assert caught.value.hint
        assert isinstance(caught.value, Unavailable)
        assert await store.index.get("p0", "acme") is None
        assert await store.index.get("before", "acme") is not None
        await pragma(store, "max_page_count = 100000")
        await store.index.upsert(many)

    async def test_a_read_only_database_is_one_clear_error(self, store: Store) -> None:
        await pragma(store, "query_only = ON")
        with pytest.raises(StoreUnavailable, match="read-only"):
            await store.objects.number("default", "acme/hello")

    async def test_another_writer_is_waited_for(self, store: Store, path: Path) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            task = asyncio.create_task(store.index.upsert([document()]))
            # Reads go on meanwhile.
            assert await store.index.get("p1", "acme") is None
            assert await store.tokens.list() == []
            assert not task.done()
            other.execute("COMMIT")
            await asyncio.wait_for(task, 10)
        finally:
            other.close()

    async def test_a_closed_store_says_so(self, path: Path) -> None:
        store = await Store.open(url_of(path))
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.index.upsert([document()])
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.index.get("p1", "acme")
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.tokens.count()

    async def test_what_is_no_database_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(NotMigrated):
            await Store.open(url_of(tmp_path / "missing.db"))
        assert not (tmp_path / "missing.db").exists()
        (tmp_path / "empty.db").write_bytes(b"")
        with pytest.raises(NotMigrated):
            await Store.open(url_of(tmp_path / "empty.db"))
        (tmp_path / "text.db").write_bytes(b"this is no database " * 100)
        with pytest.raises(StoreUnavailable, match="not a database"):
            await Store.open(url_of(tmp_path / "text.db"))

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite+aiosqlite://",
            "sqlite+aiosqlite:///:memory:",
            "postgresql+asyncpg://localhost/x",
            "control.db",
            "",
        ],
    )
    async def test_other_databases_are_refused(self, url: str) -> None:
        with pytest.raises(UnsupportedDatabase):
            await Store.open(url)
        with pytest.raises(UnsupportedDatabase):
            migrate(url)
