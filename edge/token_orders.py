"""What an operator may order of tokens, carried out on an open control store."""

from collections.abc import Awaitable, Callable
from typing import Any

from coordinator.store.database import Store
from coordinator.store.tokens import Token
from edge.control import (
    CreateToken,
    ImportTokens,
    ListTokens,
    RevokeToken,
    SetToken,
    TokenOrder,
)
from edge.provider_keys import ProviderKeys
from edge.times import rfc3339
from edge.token_import import TokenImport


class TokenOrders:
    """Raises StoreError for what cannot be done. ``on_revoked`` is told the id of a token whose secret, or
    rights, are others now; ``settle`` has written down when tokens were used once it returns."""

    def __init__(
        self,
        store: Store,
        *,
        provider_keys: ProviderKeys,
        now: Callable[[], int],
        on_revoked: Callable[[str], object],
        on_changed: Callable[[str], object],
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self._tokens = store.tokens
        self._changes = store.token_changes
        self._provider_keys = provider_keys
        self._now = now
        self._on_revoked = on_revoked
        self._on_changed = on_changed
        self._settle = settle

    async def carry_out(self, order: TokenOrder) -> Any:
        if isinstance(order, CreateToken):
            return await self._create(order)
        if isinstance(order, ImportTokens):
            taking_over = TokenImport(self._tokens, self._provider_keys, order.account, self._now())
            return await taking_over.run(order.entries, skip_bad=order.skip_bad, dry_run=order.dry_run)
        if isinstance(order, ListTokens):
            return [described(token) for token in await self._list(order)]
        if isinstance(order, RevokeToken):
            token = await self._tokens.revoke(order.token, order.account)
            self._on_revoked(token.id)
            return described(token)
        if isinstance(order, SetToken):
            token = await self._changes.change(order.token, self._changed(order), order.account)
            self._on_changed(token.id)
            return described(token)
        token, secret = await self._changes.rotate(order.token, order.overlap_s, order.account)
        self._on_changed(token.id)
        return {"token": secret, **described(token)}

    async def _create(self, order: CreateToken) -> dict[str, Any]:
        token, secret = await self._tokens.create(
            name=order.name,
            account=order.account,
            scopes=order.scopes,
            pools=order.pools,
            models=order.models,
            expires_at=None if order.expire_s is None else self._in(order.expire_s),
            worker=order.worker,
            share=order.share,
            max_running=order.max_running,
            creations_per_min=order.creations_per_min,
            requests_per_min=order.requests_per_min,
            retention_s=order.retention_s,
            daily_predictions=order.daily_predictions,
            daily_run_s=order.daily_run_s,
            daily_budget=order.daily_budget,
            overflow_per_day=order.overflow_per_day,
            overflow_cost_per_day=order.overflow_cost_per_day,
            replicate=None if order.replicate is None else self._provider_keys.seal(order.replicate),
        )
        return {"token": secret, **described(token)}

    async def _list(self, order: ListTokens) -> list[Token]:
        await self._settle()
        if order.token is not None:
            return [await self._changes.get(order.token, order.account)]
        if order.limit is None:
            return await self._tokens.list(order.account)
        return await self._changes.page(account=order.account, after=order.after, limit=order.limit)

    def _changed(self, order: SetToken) -> dict[str, Any]:
        changes = dict(order.changes)
        if "expire_s" in changes:
            expire_s = changes.pop("expire_s")
            changes["expires_at"] = None if expire_s is None else self._in(expire_s)
        return changes

    def _in(self, seconds: float) -> int:
        return self._now() + round(seconds * 1_000_000)


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
        "daily_predictions": token.daily_predictions,
        "daily_run_s": token.daily_run_s,
        "daily_budget": token.daily_budget,
        "overflow_per_day": token.overflow_per_day,
        "overflow_cost_per_day": token.overflow_cost_per_day,
        "prefix": token.prefix,
        "allow": token.allow,
        "api": token.api,
        "replicate": token.replicate is not None,
        "made_by": token.parent,
        "created_at": rfc3339(token.created_at),
        "last_used_at": _time(token.last_used_at),
        "expires_at": _time(token.expires_at),
        "previous_until": _time(token.previous_until),
        "revoked_at": _time(token.revoked_at),
    }


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
