"""The control socket: orders and answers between two ends, with a real store behind."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.store.database import Store, migrate, wall_clock
from edge.administration import carry_out
from edge.audit import Acts
from edge.control import (
    AskStatus,
    ControlServer,
    CreateToken,
    Done,
    ListTokens,
    Refusal,
    RevokeToken,
    Status,
    ask,
)
from edge.data_dir import DataDir
from edge.exits import CommandFailed, ExitCode
from edge.key_orders import KeyOrders
from edge.orders import Orders
from edge.provider_keys import ProviderKeys
from edge.records import Records
from edge.token_orders import TokenOrders
from edge.webhook_secrets import Secrets

STATUS = Status(version="1", process=2, url="u", data="d", started_at="t", state="ready")


class Running:
    """A store with a control server on it, as ``serve`` has them."""

    def __init__(self, path: Path) -> None:
        self.path = path / "control.sock"
        self.revoked: list[str] = []

    async def settle(self) -> None:
        pass

    async def fleet(self, order: object) -> object:
        return repr(order)

    async def start(self, store: Store) -> None:
        orders = Orders(
            TokenOrders(
                store,
                provider_keys=ProviderKeys(lambda: b"p" * 32),
                now=wall_clock,
                on_revoked=self.revoked.append,
                on_changed=self.revoked.append,
                settle=self.settle,
            ),
            KeyOrders(
                store,
                most=2,
                now=wall_clock,
                on_revoked=self.revoked.append,
                on_changed=self.revoked.append,
                settle=self.settle,
            ),
            acts=Acts(store.audit),
            status=lambda: STATUS,
            records=Records(
                store, Secrets(store.webhook_secrets, ProviderKeys(lambda: b"w" * 32), wall_clock)
            ),
            fleet=self.fleet,
            backups=self.fleet,
        )
        self.server = ControlServer(self.path, orders.on_socket)
        await self.server.start()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    data = DataDir(tmp_path)
    await asyncio.to_thread(migrate, data.database_url)
    store = await Store.open(data.database_url)
    running = Running(tmp_path)
    await running.start(store)
    yield running
    await running.server.stop()
    await running.server.stop()
    assert not running.path.exists()
    await store.close()


async def test_a_token_lives_from_create_to_revoke(running: Running) -> None:
    made = await asyncio.to_thread(ask, running.path, CreateToken(name="bot", expire_s=60.0))
    assert isinstance(made, Done)
    assert made.result["token"].startswith("cf_")
    assert made.result["expires_at"] > made.result["created_at"]
    listed = await asyncio.to_thread(ask, running.path, ListTokens())
    assert isinstance(listed, Done)
    assert [(row["name"], row["scopes"]) for row in listed.result] == [("bot", ["read", "submit"])]
    assert made.result["token"] not in str(listed)
    ended = await asyncio.to_thread(ask, running.path, RevokeToken(token="bot"))
    assert isinstance(ended, Done)
    assert running.revoked == [made.result["id"]]
    status = await asyncio.to_thread(ask, running.path, AskStatus())
    assert isinstance(status, Done)
    assert status.result["state"] == "ready"


async def test_refusals_carry_a_hint_and_a_code(running: Running) -> None:
    await asyncio.to_thread(ask, running.path, CreateToken(name="bot"))
    twice = await asyncio.to_thread(ask, running.path, CreateToken(name="bot"))
    assert isinstance(twice, Refusal)
    assert (twice.code, bool(twice.hint)) == (ExitCode.USAGE, True)
    unknown = await asyncio.to_thread(ask, running.path, RevokeToken(token="nobody"))
    assert isinstance(unknown, Refusal)
    assert unknown.code == ExitCode.NOT_FOUND


async def test_only_the_owner_may_open_the_socket(running: Running) -> None:
    assert stat.S_IMODE(running.path.stat().st_mode) == 0o600


async def test_a_stranger_on_the_socket_gets_an_answer_and_harms_nobody(running: Running) -> None:
    for line in (b"{}\n", b"not json\n", b'{"order":"fly"}\n'):
        reader, writer = await asyncio.open_unix_connection(running.path)
        writer.write(line)
        assert b'"refusal"' in await reader.readline()
        writer.close()
    reader, writer = await asyncio.open_unix_connection(running.path)
    writer.close()
    assert isinstance(await asyncio.to_thread(ask, running.path, AskStatus()), Done)


async def test_a_path_too_long_for_a_socket_works_all_the_same(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    running = Running(deep)

    async def answer(order: object, who: str) -> Done:
        return Done(type(order).__name__)

    running.server = ControlServer(running.path, answer)
    await running.server.start()
    assert await asyncio.to_thread(ask, running.path, AskStatus()) == Done("AskStatus")
    await running.server.stop()


async def test_a_socket_file_left_behind_is_replaced(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control.sock"))
    left.close()
    with pytest.raises(OSError, match="refused"):
        ask(tmp_path / "control.sock", AskStatus())

    async def answer(_: object, who: str) -> Done:
        return Done(None)

    server = ControlServer(tmp_path / "control.sock", answer)
    await server.start()
    assert await asyncio.to_thread(ask, tmp_path / "control.sock", AskStatus()) == Done(None)
    await server.stop()


def test_without_a_server_orders_are_carried_out_on_the_files(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    with pytest.raises(CommandFailed, match="there is no Cogflare data"):
        carry_out(data, ListTokens(), "token list")
    migrate(data.database_url)
    made = carry_out(data, CreateToken(name="bot"), "token create")
    assert made["token"].startswith("cf_")
    assert len(carry_out(data, ListTokens(), "token list")) == 1
    with pytest.raises(CommandFailed, match="no server runs") as raised:
        carry_out(data, AskStatus(), "status")
    assert raised.value.code == ExitCode.NOT_FOUND
