"""Who ordered what: each order that changes something is noted before it is carried out, and how it went."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from coordinator.store.audit import DONE, Audit, AuditRow
from coordinator.store.errors import StoreError
from edge.control import (
    AskBackup,
    AskStatus,
    AskUsage,
    ImportTokens,
    ListAccounts,
    ListAudit,
    ListDead,
    ListKeys,
    ListModels,
    ListQueues,
    ListTokens,
    ListWorkers,
    MarkWorker,
    Order,
    ReadLogs,
)
from edge.times import rfc3339

log = logging.getLogger(__name__)

_LOOKS = (
    AskBackup
    | AskStatus
    | AskUsage
    | ListAccounts
    | ListAudit
    | ListDead
    | ListKeys
    | ListModels
    | ListQueues
    | ListTokens
    | ListWorkers
    | ReadLogs
)
_SECRETS = ("replicate",)
_TIMES = ("created_before",)
_TARGETS = ("token", "key", "worker", "model", "account", "to")
"""Fields of orders that say what they are about; the first that one has counts."""


class By(msgspec.Struct, frozen=True, kw_only=True):
    """Who orders: ``door`` is ``http``, ``socket`` or ``files``; ``token`` the id of the one used."""

    door: str
    who: str
    token: str | None = None
    account: str | None = None


class Acts:
    """Writes the log of acts."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def begin(self, order: Order, by: By) -> int | None:
        """The row's number for ``end``; None for what only looks. Raises StoreUnavailable."""
        if isinstance(order, _LOOKS) or getattr(order, "dry_run", False):
            return None
        return await self.note(by, act_of(order), target_of(order), detail_of(order))

    async def note(self, by: By, act: str, target: str, detail: dict[str, Any]) -> int:
        return await self._audit.begin(
            door=by.door,
            who=by.who,
            token=by.token,
            account=by.account,
            act=act,
            target=target,
            detail=msgspec.json.encode(detail),
        )

    @asynccontextmanager
    async def doing(self, by: By, act: str, target: str, **detail: Any) -> AsyncIterator[None]:
        """Notes what is done inside, and how it went. What is raised there is why it was refused."""
        number = await self.note(by, act, target, detail)
        try:
            yield
        except Exception as error:
            await self.end(number, refused=f"refused: {str(error) or type(error).__name__}")
            raise
        await self.end(number)

    async def end(self, number: int | None, result: Any = None, refused: str = "") -> None:
        """What came of it. That the log cannot be written now does not undo what was done."""
        if number is None:
            return
        id = result.get("id") if isinstance(result, dict) else None
        try:
            await self._audit.end(number, refused or DONE, id)
        except StoreError as error:
            log.warning("the outcome of act %d was not noted: %s", number, error)

    async def page(self, order: ListAudit) -> list[dict[str, Any]]:
        rows = await self._audit.page(
            before=order.before, act=order.act, target=order.target, token=order.token, limit=order.limit
        )
        return [_shown(row) for row in rows]


def act_of(order: Order) -> str:
    return f"worker.{order.mark}" if isinstance(order, MarkWorker) else str(order.__struct_config__.tag)


def target_of(order: Any) -> str:
    """What an order is about, by the name that it gives it."""
    if ids := getattr(order, "ids", ()):
        return ",".join(ids)
    if name := getattr(order, "name", ""):
        return f"{order.account}/{name}" if hasattr(order, "account") else str(name)
    return next((str(value) for field in _TARGETS if (value := getattr(order, field, None))), "")


def detail_of(order: Any) -> dict[str, Any]:
    """What an order says, without secrets and without what it leaves out."""
    if isinstance(order, ImportTokens):
        return {"account": order.account, "tokens": len(order.entries)}
    said: dict[str, Any] = msgspec.to_builtins(order)
    return {
        name: _plain(name, value)
        for name, value in said.items()
        if name != "order" and value is not None and value is not False and value not in ([], ())
    }


def _plain(name: str, value: Any) -> Any:
    if name in _SECRETS:
        return "***"
    return rfc3339(value) if name in _TIMES else value


def _shown(row: AuditRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": rfc3339(row.at),
        "door": row.door,
        "who": row.who,
        "token": row.token,
        "account": row.account,
        "act": row.act,
        "target": row.target,
        "detail": msgspec.json.decode(row.detail),
        "outcome": row.outcome,
    }
