"""Secrets that sign an account's webhooks, sealed: the one of now, and for a while the one before."""

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.store.connections import Connections
from coordinator.store.errors import NotFound
from coordinator.store.schema import accounts, webhook_secrets


class SealedSecrets(msgspec.Struct, frozen=True):
    """``previous`` is good until ``previous_until``."""

    secret: bytes
    previous: bytes | None
    previous_until: int | None


class WebhookSecrets:
    """One row for each account that has ever needed one."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def get(self, account: str) -> SealedSecrets | None:
        c = webhook_secrets.c
        rows = await self._connections.rows(
            select(c.secret, c.previous, c.previous_until).where(c.account == account)
        )
        return SealedSecrets(*rows[0]) if rows else None

    async def ensure(self, account: str, sealed: bytes) -> SealedSecrets:
        """The account's secrets; ``sealed`` is the first one, if there is none. Raises NotFound."""

        async def work(connection: AsyncConnection) -> SealedSecrets:
            return await _ensure(connection, account, sealed)

        return await self._connections.write(work)

    async def rotate(self, account: str, sealed: bytes, previous_until: int) -> SealedSecrets:
        """From now on ``sealed`` is the secret; the one before is good until then. Raises NotFound."""
        c = webhook_secrets.c

        async def work(connection: AsyncConnection) -> SealedSecrets:
            known = await _ensure(connection, account, sealed)
            if known.secret == sealed:
                return known
            await connection.execute(
                update(webhook_secrets)
                .where(c.account == account)
                .values(secret=sealed, previous=known.secret, previous_until=previous_until)
            )
            return SealedSecrets(sealed, known.secret, previous_until)

        return await self._connections.write(work)


async def _ensure(connection: AsyncConnection, account: str, sealed: bytes) -> SealedSecrets:
    c = webhook_secrets.c
    found = select(c.secret, c.previous, c.previous_until).where(c.account == account)
    row = (await connection.execute(found)).first()
    if row is not None:
        return SealedSecrets(*row)
    known = select(accounts.c.name).where(accounts.c.name == account)
    if (await connection.execute(known)).first() is None:
        raise NotFound(f"there is no account {account}", "an account is made with its first token")
    await connection.execute(insert(webhook_secrets).values(account=account, secret=sealed))
    return SealedSecrets(sealed, None, None)
