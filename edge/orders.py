"""What an operator may order, and how it is carried out on an open control store.

The orders travel as JSON lines over the running server's control socket (``control.py``), or are carried out
directly on the files when no server runs (``administration.py``).
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from coordinator.backup.errors import BackupFailed
from coordinator.store.errors import Ambiguous, Invalid, NameTaken, NotAllowed, NotFound, StoreError
from coordinator.store.tokens import Token, Tokens
from edge.control import (
    AskStatus,
    BackupOrder,
    CreateToken,
    Done,
    FleetOrder,
    ImportTokens,
    ListTokens,
    Order,
    RecordOrder,
    Refusal,
    RevokeToken,
    Status,
)
from edge.exits import ExitCode
from edge.provider_keys import ProviderKeys
from edge.records import Records
from edge.times import rfc3339
from edge.token_import import TokenImport

_CODES: dict[type[StoreError], ExitCode] = {
    NotFound: ExitCode.NOT_FOUND,
    Ambiguous: ExitCode.NOT_FOUND,
    Invalid: ExitCode.USAGE,
    NameTaken: ExitCode.USAGE,
    NotAllowed: ExitCode.USAGE,
}


class Orders:
    """Carries out orders. ``on_revoked`` is told the id of an ended token; ``status`` says how we are,
    ``fleet`` does what is about workers and what they failed, ``backups`` what is about backups."""

    def __init__(
        self,
        tokens: Tokens,
        *,
        provider_keys: ProviderKeys,
        now: Callable[[], int],
        on_revoked: Callable[[str], object],
        status: Callable[[], Status],
        records: Records,
        fleet: Callable[[FleetOrder], Awaitable[Any]],
        backups: Callable[[BackupOrder], Awaitable[Any]],
    ) -> None:
        self._records = records
        self._tokens = tokens
        self._provider_keys = provider_keys
        self._now = now
        self._on_revoked = on_revoked
        self._status = status
        self._fleet = fleet
        self._backups = backups

    async def carry_out(self, order: Order) -> Done | Refusal:
        """What the order gave, or why not. Raises only what is our own mistake."""
        try:
            return Done(await self._result(order))
        except BackupFailed as error:
            return Refusal(error.message, error.hint, int(ExitCode.STORAGE))
        except StoreError as error:
            code = _CODES.get(type(error), ExitCode.STORAGE)
            return Refusal(str(error), error.hint, int(code))

    async def _result(self, order: Order) -> Any:
        if isinstance(order, CreateToken):
            expires_at = None
            if order.expire_s is not None:
                expires_at = self._now() + round(order.expire_s * 1_000_000)
            token, secret = await self._tokens.create(
                name=order.name,
                account=order.account,
                scopes=order.scopes,
                pools=order.pools,
                models=order.models,
                expires_at=expires_at,
                worker=order.worker,
                share=order.share,
                max_running=order.max_running,
                creations_per_min=order.creations_per_min,
                requests_per_min=order.requests_per_min,
                retention_s=order.retention_s,
                replicate=None if order.replicate is None else self._provider_keys.seal(order.replicate),
            )
            return {"token": secret, **described(token)}
        if isinstance(order, ImportTokens):
            return await self._import(order)
        if isinstance(order, ListTokens):
            return [described(token) for token in await self._tokens.list(order.account)]
        if isinstance(order, RevokeToken):
            token = await self._tokens.revoke(order.token, order.account)
            self._on_revoked(token.id)
            return described(token)
        if isinstance(order, RecordOrder):
            return await self._records.carry_out(order)
        if isinstance(order, AskStatus):
            return msgspec.to_builtins(self._status())
        if isinstance(order, BackupOrder):
            return await self._backups(order)
        return await self._fleet(order)

    async def _import(self, order: ImportTokens) -> dict[str, Any]:
        taking_over = TokenImport(self._tokens, self._provider_keys, order.account, self._now())
        return await taking_over.run(order.entries, skip_bad=order.skip_bad, dry_run=order.dry_run)


def described(token: Token) -> dict[str, Any]:
    """A token's record as operators see it: never its secret."""
    return {
        "id": token.id,
        "name": token.name,
        "account": token.account,
        "scopes": sorted(token.scopes),
        "pools": list(token.pools),
        "models": list(token.models),
        "share": token.share,
        "max_running": token.max_running,
        "creations_per_min": token.creations_per_min,
        "requests_per_min": token.requests_per_min,
        "retention_s": token.retention_s,
        "prefix": token.prefix,
        "allow": token.allow,
        "api": token.api,
        "replicate": token.replicate is not None,
        "created_at": rfc3339(token.created_at),
        "expires_at": None if token.expires_at is None else rfc3339(token.expires_at),
        "revoked_at": None if token.revoked_at is None else rfc3339(token.revoked_at),
    }
