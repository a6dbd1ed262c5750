"""What an operator may order, and how it is carried out on an open control store.

The orders travel as JSON lines over the running server's control socket (``control.py``), come as requests
to ``/v1/admin`` (``routes/admin``), or are carried out directly on the files when no server runs
(``administration.py``).
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from coordinator.backup.errors import BackupFailed
from coordinator.store.errors import Ambiguous, Invalid, NameTaken, NotAllowed, NotFound, StoreError
from edge.audit import Acts, By
from edge.control import (
    AskStatus,
    BackupOrder,
    Done,
    FleetOrder,
    KeyOrder,
    ListAudit,
    Order,
    RecordOrder,
    Refusal,
    Status,
    TokenOrder,
)
from edge.exits import ExitCode
from edge.key_orders import KeyOrders
from edge.records import Records
from edge.token_orders import TokenOrders

_CODES: dict[type[StoreError], ExitCode] = {
    NotFound: ExitCode.NOT_FOUND,
    Ambiguous: ExitCode.NOT_FOUND,
    Invalid: ExitCode.USAGE,
    NameTaken: ExitCode.USAGE,
    NotAllowed: ExitCode.USAGE,
}


class Orders:
    """Carries out orders, and notes who gave them. ``status`` says how we are, ``fleet`` does what is about
    workers and predictions, ``backups`` what is about backups."""

    def __init__(
        self,
        tokens: TokenOrders,
        keys: KeyOrders,
        *,
        acts: Acts,
        status: Callable[[], Status],
        records: Records,
        fleet: Callable[[FleetOrder], Awaitable[Any]],
        backups: Callable[[BackupOrder], Awaitable[Any]],
    ) -> None:
        self.acts = acts
        self._records = records
        self._tokens = tokens
        self._keys = keys
        self._status = status
        self._fleet = fleet
        self._backups = backups

    async def on_socket(self, order: Order, who: str) -> Done | Refusal:
        """An order of a user of this machine."""
        return await self.carry_out(order, By(door="socket", who=who))

    async def carry_out(self, order: Order, by: By) -> Done | Refusal:
        """What the order gave, or why not. Raises only what is our own mistake."""
        number = None
        try:
            number = await self.acts.begin(order, by)
            result = await self._result(order)
        except BackupFailed as error:
            refusal = Refusal(error.message, error.hint, int(ExitCode.STORAGE))
        except StoreError as error:
            code = _CODES.get(type(error), ExitCode.STORAGE)
            refusal = Refusal(str(error), error.hint, int(code))
        else:
            await self.acts.end(number, result)
            return Done(result)
        # What failed may have been done, or be done in part.
        word = "failed" if refusal.code == ExitCode.STORAGE else "refused"
        await self.acts.end(number, refused=f"{word}: {refusal.message}")
        return refusal

    async def _result(self, order: Order) -> Any:
        if isinstance(order, TokenOrder):
            return await self._tokens.carry_out(order)
        if isinstance(order, KeyOrder):
            return await self._keys.carry_out(order)
        if isinstance(order, RecordOrder):
            return await self._records.carry_out(order)
        if isinstance(order, ListAudit):
            return await self.acts.page(order)
        if isinstance(order, AskStatus):
            return msgspec.to_builtins(self._status())
        if isinstance(order, BackupOrder):
            return await self._backups(order)
        return await self._fleet(order)
