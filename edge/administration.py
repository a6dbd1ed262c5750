"""Gives an operator's order to the running server or, when none runs, carries it out on the files."""

import asyncio
import time
from typing import Any

from edge.control import Answer, AskStatus, BackupOrder, FleetOrder, Order, Refusal, Status, ask
from edge.data_dir import BRIEF_USE_S, DataDir
from edge.exits import CommandFailed, ExitCode


def carry_out(data: DataDir, order: Order, purpose: str) -> Any:
    """What the order gave. Raises CommandFailed."""
    if not data.database.exists():
        raise CommandFailed(
            f"there is no Cogflare data in {data.path}",
            ExitCode.STORAGE,
            "give the server's --data, or start `cogflare serve` or `cogflare migrate` with it first",
        )
    answer = _answer(data, order, purpose)
    if isinstance(answer, Refusal):
        raise CommandFailed(answer.message, ExitCode(answer.code), answer.hint)
    return answer.result


def _answer(data: DataDir, order: Order, purpose: str) -> Answer:
    deadline = time.monotonic() + BRIEF_USE_S
    while True:
        if data.try_hold(purpose):
            try:
                return asyncio.run(_on_files(data, order))
            finally:
                data.release()
        try:
            return ask(data.control_socket, order)
        except TimeoutError:
            raise CommandFailed(
                f"the server on {data.path} does not answer", ExitCode.LOCKED, "see its log"
            ) from None
        except OSError as error:
            # It is starting, stopping, or another command: the lock or the socket will be free in a moment.
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"the data directory {data.path} is in use by {data.holder() or 'another process'}, "
                    f"which takes no orders ({error.strerror or error})",
                    ExitCode.LOCKED,
                ) from None
        time.sleep(0.02)


async def _on_files(data: DataDir, order: Order) -> Answer:
    from coordinator.store.database import Store, migrate, wall_clock
    from edge.failures import explained
    from edge.orders import Orders
    from edge.provider_keys import LABEL, ProviderKeys
    from edge.records import Records
    from edge.webhook_secrets import LABEL as WEBHOOK_SECRETS
    from edge.webhook_secrets import Secrets

    if isinstance(order, AskStatus | FleetOrder | BackupOrder):
        _stopped()
    with explained(data):
        migrate(data.database_url)
        store = await Store.open(data.database_url)
    try:
        seal = ProviderKeys(lambda: data.key(WEBHOOK_SECRETS))
        secrets = Secrets(store.webhook_secrets, seal, wall_clock)
        orders = Orders(
            store.tokens,
            provider_keys=ProviderKeys(lambda: data.key(LABEL)),
            now=wall_clock,
            on_revoked=_nobody,
            status=_stopped,
            records=Records(store, secrets),
            fleet=_no_fleet,
            backups=_no_fleet,
        )
        return await orders.carry_out(order)
    finally:
        await store.close()


def _nobody(token: str) -> None:
    """No server runs, so no connection depends on the token."""


def _stopped() -> Status:
    raise CommandFailed("no server runs on this data directory", ExitCode.NOT_FOUND, "start `cogflare serve`")


async def _no_fleet(order: FleetOrder | BackupOrder) -> Any:
    _stopped()
