"""Keys that an account's token makes for users of its own, within what it may do itself."""

import fnmatch
from collections.abc import Awaitable, Callable
from typing import Any

from coordinator.store.database import Store
from coordinator.store.errors import Invalid, NotAllowed
from coordinator.store.tokens import KEY_SCOPES, Token
from edge.control import CreateKey, KeyOrder, ListKeys, RotateKey
from edge.token_orders import described

_UNSHOWN = ("account", "made_by", "allow", "api", "replicate", "share", "max_running", "retention_s")
"""What is not a key's own, or what its maker has no use for."""


class KeyOrders:
    """Raises StoreError. A maker sees, changes and ends the keys alone that it has made."""

    def __init__(
        self,
        store: Store,
        *,
        most: int,
        now: Callable[[], int],
        on_revoked: Callable[[str], object],
        on_changed: Callable[[str], object],
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        """``most`` live keys may one token have."""
        self._tokens = store.tokens
        self._changes = store.token_changes
        self._most = most
        self._now = now
        self._on_revoked = on_revoked
        self._on_changed = on_changed
        self._settle = settle

    async def carry_out(self, order: KeyOrder) -> Any:
        if isinstance(order, CreateKey):
            return await self._create(order)
        if isinstance(order, ListKeys):
            await self._settle()
            if order.key is not None:
                return [_shown(await self._changes.get(order.key, parent=order.maker))]
            found = await self._changes.page(parent=order.maker, after=order.after, limit=order.limit)
            return [_shown(key) for key in found]
        if isinstance(order, RotateKey):
            key, secret = await self._changes.rotate(order.key, order.overlap_s, parent=order.maker)
            self._on_changed(key.id)
            return {"key": secret, **_shown(key)}
        key = await self._tokens.revoke(order.key, parent=order.maker)
        self._on_revoked(key.id)
        return _shown(key)

    async def _create(self, order: CreateKey) -> dict[str, Any]:
        maker = await self._tokens.by_id(order.maker)
        if maker is None:
            raise NotAllowed("the token that makes the key is gone")
        now = self._now()
        expires_at = maker.expires_at
        if order.expire_s is not None:
            expires_at = now + round(order.expire_s * 1_000_000)
        _check(order, maker, expires_at)
        if await self._changes.count_keys(maker.id, now) >= self._most:
            raise Invalid(f"this token has {self._most} keys (keys_per_token)", "revoke some first")
        key, secret = await self._tokens.create(
            name=order.name,
            account=maker.account,
            scopes=order.scopes,
            pools=order.pools or maker.pools,
            models=order.models,
            expires_at=expires_at,
            creations_per_min=order.creations_per_min,
            requests_per_min=order.requests_per_min,
            parent=maker.id,
        )
        return {"key": secret, **_shown(key)}


def _check(order: CreateKey, maker: Token, expires_at: int | None) -> None:
    """Raises Invalid for what goes beyond what the maker may. What it may is looked at again whenever the key
    is used: this is for who makes it to hear of it."""
    own = KEY_SCOPES if "admin" in maker.scopes else [each for each in KEY_SCOPES if each in maker.scopes]
    if beyond := [each for each in order.scopes if each not in own]:
        raise Invalid(
            f"scopes: a key of this token cannot have {', '.join(beyond)}", f"only {', '.join(own)}"
        )
    if beyond := [each for each in order.pools if each not in maker.pools]:
        raise Invalid(f"pools: {', '.join(beyond)} is none of this token's", f"only {', '.join(maker.pools)}")
    for pattern in order.models if maker.models else ():
        if not any(fnmatch.fnmatchcase(pattern, own) for own in maker.models):
            raise Invalid(f"models: {pattern} is not within this token's", f"only {', '.join(maker.models)}")
    if maker.expires_at is not None and (expires_at is None or expires_at > maker.expires_at):
        raise Invalid("expire_s: the key would outlive the token that makes it", "give a shorter time")
    for name in ("creations_per_min", "requests_per_min"):
        wanted, most = getattr(order, name), getattr(maker, name)
        if wanted is not None and most and not 0 < wanted <= most:
            raise Invalid(f"{name}: the token that makes the key has {most} itself", f"use 1 to {most}")


def _shown(key: Token) -> dict[str, Any]:
    return {name: value for name, value in described(key).items() if name not in _UNSHOWN}
