"""What every control store must do with the secrets of webhooks. ``store`` is the implementation's."""

import asyncio

import pytest

from coordinator.store.database import Store
from coordinator.store.errors import NotFound
from coordinator.store.webhook_secrets import SealedSecrets


class WebhookSecretsContract:
    async def test_the_first_one_stays(self, store: Store) -> None:
        await store.tokens.create(name="bot", account="acme")
        assert await store.webhook_secrets.get("acme") is None
        made = await asyncio.gather(*(store.webhook_secrets.ensure("acme", b"%d" % n) for n in range(5)))
        assert len({one.secret for one in made}) == 1
        assert await store.webhook_secrets.get("acme") == made[0]

    async def test_a_rotation_keeps_the_one_before(self, store: Store) -> None:
        await store.tokens.create(name="bot", account="acme")
        await store.webhook_secrets.ensure("acme", b"1")
        assert await store.webhook_secrets.rotate("acme", b"2", 7) == SealedSecrets(b"2", b"1", 7)
        assert await store.webhook_secrets.rotate("acme", b"3", 9) == SealedSecrets(b"3", b"2", 9)
        assert await store.webhook_secrets.get("acme") == SealedSecrets(b"3", b"2", 9)

    async def test_a_rotation_may_be_the_first(self, store: Store) -> None:
        await store.tokens.create(name="bot", account="acme")
        assert await store.webhook_secrets.rotate("acme", b"1", 7) == SealedSecrets(b"1", None, None)

    async def test_accounts_are_apart_and_must_be_there(self, store: Store) -> None:
        await store.tokens.create(name="bot", account="acme")
        await store.tokens.create(name="bot", account="other")
        await store.webhook_secrets.ensure("acme", b"1")
        assert await store.webhook_secrets.get("other") is None
        with pytest.raises(NotFound):
            await store.webhook_secrets.ensure("nobody", b"1")
        with pytest.raises(NotFound):
            await store.webhook_secrets.rotate("nobody", b"1", 7)
