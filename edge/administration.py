"""Gives an operator's order to the running server, here or over HTTP; when none runs here, carries it out on
the files."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from edge.control import Answer, AskStatus, BackupOrder, FleetOrder, Order, Refusal, Status, ask
from edge.data_dir import BRIEF_USE_S, DataDir
from edge.exits import CommandFailed, ExitCode
from edge.where import Where


def ordered(where: Where, order: Order, purpose: str) -> Any:
    """What the order gave: of the server that the command names, or of the one of the data directory. Raises
    CommandFailed."""
    if not where.server:
        if where.token:
            raise CommandFailed("--token is for --server, which is not given", ExitCode.USAGE)
        return carry_out(DataDir(where.data), order, purpose)
    from edge.remote import give

    if not where.token:
        raise CommandFailed("--server needs --token, of scope admin", ExitCode.USAGE)
    return give(where.server, _secret(where.token), order)


def _secret(given: str) -> str:
    """The token itself, or what the file holds. Raises CommandFailed; no message repeats it."""
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).expanduser().read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise CommandFailed(f"--token: {given[1:]} cannot be read: {reason}", ExitCode.USAGE) from None


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
    from coordinator.protocol.limits import ServerLimits
    from coordinator.store.database import Store, migrate, wall_clock
    from edge.audit import Acts, By
    from edge.control import user
    from edge.failures import explained
    from edge.key_orders import KeyOrders
    from edge.orders import Orders
    from edge.provider_keys import LABEL, ProviderKeys
    from edge.records import Records
    from edge.token_orders import TokenOrders
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
            TokenOrders(
                store,
                provider_keys=ProviderKeys(lambda: data.key(LABEL)),
                now=wall_clock,
                on_revoked=_nobody,
                on_changed=_nobody,
                settle=_nothing,
            ),
            KeyOrders(
                store,
                most=ServerLimits().keys_per_token,
                now=wall_clock,
                on_revoked=_nobody,
                on_changed=_nobody,
                settle=_nothing,
            ),
            acts=Acts(store.audit),
            status=_stopped,
            records=Records(store, secrets),
            fleet=_no_fleet,
            backups=_no_fleet,
        )
        return await orders.carry_out(order, By(door="files", who=user(os.getuid())))
    finally:
        await store.close()


def _nobody(token: str) -> None:
    """No server runs, so no connection depends on the token."""


async def _nothing() -> None:
    """No server runs, so no token is in use."""


def _stopped() -> Status:
    raise CommandFailed("no server runs on this data directory", ExitCode.NOT_FOUND, "start `cogflare serve`")


async def _no_fleet(order: FleetOrder | BackupOrder) -> Any:
    _stopped()
