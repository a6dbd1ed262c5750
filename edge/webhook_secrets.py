"""The secrets that sign an account's webhooks: made on first use, sealed, exchanged with overlap."""

from collections.abc import Callable
from functools import partial

from coordinator.actor.clock import Clock
from coordinator.store.webhook_secrets import SealedSecrets, WebhookSecrets
from coordinator.webhooks.signing import make_secret
from edge.fresh import Fresh
from edge.provider_keys import ProviderKeys

LABEL = "webhook secrets"
"""What the data directory derives the encrypting key for (``DataDir.key``)."""
OVERLAP_S = 86_400.0
"""How long webhooks carry a signature by the secret before, too."""
_TTL_S = 1.0
_CACHED = 10_000


class Secrets:
    """Raises NotFound for an account that there is not, NotOurs for what another data directory sealed."""

    def __init__(self, stored: WebhookSecrets, seal: ProviderKeys, now: Callable[[], int]) -> None:
        self._stored = stored
        self._seal = seal
        self._now = now

    async def secret(self, account: str) -> str:
        """The account's secret."""
        return (await self.keys(account))[0]

    async def keys(self, account: str) -> tuple[str, ...]:
        """The secrets to sign with, the newest first."""
        found = await self._stored.get(account)
        if found is None:
            found = await self._stored.ensure(account, self._seal.seal(make_secret()))
        return self._open(found)

    async def rotate(self, account: str) -> tuple[str, int]:
        """A new secret, and until when the old one signs, too."""
        until = self._now() + int(OVERLAP_S * 1e6)
        found = await self._stored.rotate(account, self._seal.seal(make_secret()), until)
        return self._seal.open(found.secret), found.previous_until or self._now()

    def _open(self, found: SealedSecrets) -> tuple[str, ...]:
        secret = self._seal.open(found.secret)
        if found.previous is None or (found.previous_until or 0) <= self._now():
            return (secret,)
        return (secret, self._seal.open(found.previous))


class CachedKeys:
    """``Secrets.keys`` for who signs much: at most a second old."""

    def __init__(self, secrets: Secrets, clock: Clock) -> None:
        self._secrets = secrets
        self._fresh: Fresh[str, tuple[str, ...]] = Fresh(
            ttl_s=_TTL_S, size=_CACHED, monotonic=clock.monotonic
        )

    async def keys(self, account: str) -> tuple[str, ...]:
        return await self._fresh.get(account, partial(self._secrets.keys, account))

    async def stop(self) -> None:
        await self._fresh.stop()
