"""What an operator may order of accounts and models, carried out on an open control store."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from coordinator.keeping import shown
from coordinator.prediction import Document
from coordinator.store.accounts import Account
from coordinator.store.database import Store, wall_clock
from coordinator.store.errors import Invalid
from coordinator.store.models import ModelRow
from coordinator.store.storage_use import Use
from edge.aliases import is_own_id
from edge.control import (
    AskUsage,
    ListAccounts,
    ListModels,
    RecordOrder,
    RotateWebhookSecret,
    SetAccount,
    SetModel,
)
from edge.examples import chosen
from edge.model_settings import checked
from edge.times import rfc3339
from edge.usage import report
from edge.webhook_secrets import Secrets


class Records:
    """Raises StoreError for what cannot be done."""

    def __init__(self, store: Store, secrets: Secrets, currency: str = "") -> None:
        self._store = store
        self._currency = currency
        self._secrets = secrets

    async def carry_out(self, order: RecordOrder) -> Any:
        if isinstance(order, SetAccount):
            return await self._set_account(order)
        if isinstance(order, AskUsage):
            return msgspec.to_builtins(await report(self._store, order, self._currency))
        if isinstance(order, ListAccounts):
            if order.account is not None:
                account = await self._store.accounts.get(order.account)
                return [_account(account, await self._store.storage_use.get(account.name))]
            use = await self._store.storage_use.all()
            return [
                _account(account, use.get(account.name, Use()))
                for account in await self._store.accounts.list()
            ]
        if isinstance(order, RotateWebhookSecret):
            key, until = await self._secrets.rotate(order.account)
            return {"account": order.account, "key": key, "previous_until": rfc3339(until)}
        if isinstance(order, SetModel):
            return _model(await self._set_model(order), await self._paused(order.model))
        if isinstance(order, ListModels) and order.model is not None:
            return [_model(await self._store.models.any(order.model), await self._paused(order.model))]
        paused = await self._paused(None)
        return [_model(row, paused) for row in await self._store.models.all()]

    async def _paused(self, model: str | None) -> Mapping[str, list[str]]:
        """The pools in which models are paused."""
        found: dict[str, list[str]] = {}
        for row in await self._store.objects.all(model):
            if row.paused:
                found.setdefault(row.model, []).append(row.pool)
        return found

    async def _set_model(self, order: SetModel) -> ModelRow:
        changes = checked(order.changes)
        if ids := changes.get("examples"):
            account = (await self._store.models.any(order.model)).account
            changes["examples"] = await chosen(order.model, account, ids, partial(self._indexed, account))
        return await self._store.models.configure(order.model, changes)

    async def _indexed(self, account: str, id: str) -> Document | None:
        """A prediction that has ended, by our id or by its client's own, as it may be shown now."""
        now = wall_clock()
        if is_own_id(id):
            alias = await self._store.aliases.get(account, "id", id, now)
            id = id if alias is None else alias.ids[0]
        document = await self._store.index.get(id, account)
        return None if document is None else shown(document, now)

    async def _set_account(self, order: SetAccount) -> dict[str, Any]:
        accounts, account = self._store.accounts, None
        if order.share is not None:
            account = await accounts.set_share(order.account, order.share)
        if order.storage_at_most is not None:
            account = await accounts.set_storage(order.account, order.storage_at_most)
        daily = (order.daily_predictions, order.daily_run_s, order.daily_budget)
        if any(value is not None for value in daily):
            account = await accounts.set_daily(
                order.account, predictions=daily[0], run_s=daily[1], budget=daily[2]
            )
        if account is None:
            raise Invalid("nothing to change was given", "see cogflare account set --help")
        return _account(account, await self._store.storage_use.get(account.name))


def _account(account: Account, use: Use) -> dict[str, Any]:
    return {
        "account": account.name,
        "share": account.share,
        "created_at": rfc3339(account.created_at),
        "outputs_bytes": use.outputs,
        "inputs_bytes": use.inputs,
        "uploads_bytes": use.uploads,
        "storage_at_most_bytes": account.storage_at_most,
        "daily_predictions": account.daily_predictions,
        "daily_run_s": account.daily_run_s,
        "daily_budget": account.daily_budget,
    }


def _model(row: ModelRow, paused: Mapping[str, list[str]]) -> dict[str, Any]:
    latest = row.latest_version
    return {
        "model": row.model,
        "account": row.account,
        "visibility": row.visibility,
        "created_at": rfc3339(row.created_at),
        "runs": row.run_count,
        "pools": list(row.pools),
        "paused": paused.get(row.model, []),
        "latest_version": None if latest is None else latest.id,
        "settings": msgspec.to_builtins(row.config),
    }
