"""What an operator may order of accounts and models, carried out on an open control store."""

from typing import Any

import msgspec

from coordinator.store.accounts import Account
from coordinator.store.database import Store
from coordinator.store.models import ModelRow
from edge.control import ListAccounts, ListModels, RecordOrder, RotateWebhookSecret, SetAccount, SetModel
from edge.times import rfc3339
from edge.webhook_secrets import Secrets


class Records:
    """Raises StoreError for what cannot be done."""

    def __init__(self, store: Store, secrets: Secrets) -> None:
        self._store = store
        self._secrets = secrets

    async def carry_out(self, order: RecordOrder) -> Any:
        if isinstance(order, SetAccount):
            return _account(await self._store.accounts.set_share(order.account, order.share))
        if isinstance(order, ListAccounts):
            return [_account(account) for account in await self._store.accounts.list()]
        if isinstance(order, RotateWebhookSecret):
            key, until = await self._secrets.rotate(order.account)
            return {"account": order.account, "key": key, "previous_until": rfc3339(until)}
        if isinstance(order, SetModel):
            return _model(await self._store.models.configure(order.model, order.changes))
        if isinstance(order, ListModels) and order.model is not None:
            return [_model(await self._store.models.any(order.model))]
        return [_model(row) for row in await self._store.models.all()]


def _account(account: Account) -> dict[str, Any]:
    return {"account": account.name, "share": account.share, "created_at": rfc3339(account.created_at)}


def _model(row: ModelRow) -> dict[str, Any]:
    latest = row.latest_version
    return {
        "model": row.model,
        "account": row.account,
        "visibility": row.visibility,
        "created_at": rfc3339(row.created_at),
        "runs": row.run_count,
        "pools": list(row.pools),
        "latest_version": None if latest is None else latest.id,
        "settings": msgspec.to_builtins(row.config),
    }
