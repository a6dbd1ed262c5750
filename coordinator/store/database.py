"""The control store: what is known of accounts, tokens, models, objects, ended predictions and files."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from sqlalchemy import select
from sqlalchemy.engine import make_url

from coordinator.store.accounts import Accounts
from coordinator.store.aliases import Aliases
from coordinator.store.audit import Audit
from coordinator.store.connections import Connections, check_url, translated
from coordinator.store.deployments import Deployments
from coordinator.store.errors import NotMigrated, StoreUnavailable
from coordinator.store.expiry import Expiry
from coordinator.store.files import Files
from coordinator.store.index import Index
from coordinator.store.migration import migrate
from coordinator.store.model_edits import ModelEdits
from coordinator.store.models import Models
from coordinator.store.objects import Objects
from coordinator.store.overflow_days import OverflowDays
from coordinator.store.provider_versions import ProviderVersions
from coordinator.store.schema import meta
from coordinator.store.storage_use import StorageUse
from coordinator.store.token_changes import TokenChanges
from coordinator.store.tokens import Tokens
from coordinator.store.usage import Usage
from coordinator.store.webhook_secrets import WebhookSecrets
from coordinator.today import Today

__all__ = ["Store", "migrate"]

Clock = Callable[[], int]
"""Gives the time in microseconds since the epoch."""


def wall_clock() -> int:
    return time.time_ns() // 1000


class Store:
    """One open control database. Its parts share its connections; ``close`` when done.

    Every method of every part may raise StoreUnavailable, and may be repeated after it.
    """

    def __init__(self, connections: Connections, server_id: str, clock: Clock) -> None:
        self._connections = connections
        self.server_id = server_id
        self.accounts = Accounts(connections)
        self.tokens = Tokens(connections, clock)
        self.token_changes = TokenChanges(connections, clock)
        self.audit = Audit(connections, clock)
        self.models = Models(connections)
        self.model_edits = ModelEdits(connections)
        self.deployments = Deployments(connections)
        self.objects = Objects(connections)
        self.storage_use = StorageUse(connections)
        self.usage = Usage(connections, Today(clock))
        self.index = Index(connections, self.storage_use, self.usage)
        self.expiry = Expiry(connections, self.storage_use)
        self.files = Files(connections, self.storage_use)
        self.aliases = Aliases(connections)
        self.webhook_secrets = WebhookSecrets(connections)
        self.overflow_days = OverflowDays(connections)
        self.provider_versions = ProviderVersions(connections)

    @classmethod
    async def open(cls, url: str, *, clock: Clock = wall_clock) -> Self:
        """Open a database that ``migrate`` has made.

        Raises NotMigrated, StoreUnavailable, UnsupportedDatabase.
        """
        check_url(url)
        _must_exist(url)
        connections = Connections(url)
        try:
            await connections.start()
            store = cls(connections, await _server_id(connections), clock)
            await store.usage.load()
        except BaseException:
            await connections.close()
            raise
        return store

    async def close(self) -> None:
        """Close all connections. Calls after it raise StoreUnavailable."""
        await self._connections.close()


def _must_exist(url: str) -> None:
    # SQLite would make an empty file, and the next start would find a database without a schema.
    path = Path(make_url(url).database or "")
    if not path.is_file():
        raise NotMigrated(f"there is no database at {path}", "run `cogflare migrate`")


async def _server_id(connections: Connections) -> str:
    with translated():
        tables = await connections.hot.execute_fetchall("SELECT name FROM sqlite_master WHERE name = 'meta'")
    if not list(tables):
        raise NotMigrated("the database has no schema", "run `cogflare migrate`")
    rows = await connections.rows(select(meta.c.value).where(meta.c.key == "server_id"))
    if not rows:
        raise StoreUnavailable("control store: the server's id is missing", "restore a backup")
    return str(rows[0][0])
