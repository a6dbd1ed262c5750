"""A gateway on real parts behind a real server, and agents' sockets to it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from coordinator import calls
from coordinator.actor.clock import SystemClock
from coordinator.actor.placement import LocalPlacement
from coordinator.actor.sqlite import SqliteStorages
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.signing import Signer
from coordinator.host import Coordinators
from coordinator.ids import Ids
from coordinator.model_schema import MODEL_SCHEMA
from coordinator.prediction import Document
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits, WireLimits
from coordinator.store.database import Store
from edge.auth import Authenticator
from edge.gateway import Gateway
from edge.legacy.door import LegacyDoor
from edge.sockets import AllSockets
from tests.support.control_store import open_store
from tests.support.faulty_storage import FaultyStorages
from tests.support.waiting import until

M = TypeVar("M", bound=wire.Message)
PATIENCE_S = 5.0


class AgentSocket:
    """One agent's connection, step by step."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.welcome: wire.Welcome

    async def say(self, message: wire.AgentMessage) -> None:
        await self.connection.send(wire.encode(message), text=True)

    async def next(self, kind: type[M]) -> M:
        """The next message, which must be of this kind; beats do not count."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = wire.decode_from_server(await self.connection.recv())
                if not isinstance(message, wire.Beat):
                    assert isinstance(message, kind), message
                    return message

    async def greet(
        self, agent: str = "agent-1", incarnation: str = "i1", gpus: tuple[wire.Gpu, ...] = ()
    ) -> None:
        hello = wire.Hello(protocol=1, agent=agent, incarnation=incarnation, name="box", slots=4, gpus=gpus)
        await self.say(hello)
        self.welcome = await self.next(wire.Welcome)

    async def ask_attach(
        self, model: str = "acme/m", channel: int = 0, granted: int = 1, held: tuple[wire.Held, ...] = ()
    ) -> None:
        await self.say(
            wire.Attach(
                channel=channel,
                model=model,
                version=hashlib.sha256(model.encode()).hexdigest(),
                openapi_schema=msgspec.Raw(b'{"openapi":"3.0.2"}'),
                cog_version="0.1",
                concurrency=1,
                granted=granted,
                held=held,
            )
        )

    async def attach(self, *args: Any, **fields: Any) -> wire.Attached:
        await self.ask_attach(*args, **fields)
        return await self.next(wire.Attached)

    async def take(self) -> wire.Dispatch:
        dispatch = await self.next(wire.Dispatch)
        await self.say(
            wire.Accepted(
                channel=dispatch.channel,
                prediction=dispatch.prediction,
                attempt=dispatch.attempt,
                started_at=1,
            )
        )
        return dispatch

    async def finish(self, dispatch: wire.Dispatch) -> None:
        await self.say(
            wire.Finished(
                channel=dispatch.channel,
                prediction=dispatch.prediction,
                attempt=dispatch.attempt,
                secret=dispatch.secret,
                status="succeeded",
                output=msgspec.Raw(b'"done"'),
            )
        )

    async def closed(self) -> int | None:
        """Wait until the server has closed it; gives the code. Messages before are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            await self.connection.wait_closed()
        return self.connection.close_code


class Gatehouse:
    """One server's door for agents, and all that is behind it."""

    def __init__(self, store: Store, folder: Path, limits: ServerLimits, wire_limits: WireLimits) -> None:
        clock = SystemClock()
        self.store = store
        self.ids = Ids(b"i" * 32)
        self.storages = FaultyStorages(
            SqliteStorages(folder / "objects", MODEL_SCHEMA, threads=2, open_limit=8)
        )
        self.coordinators = Coordinators(
            store=store,
            storages=self.storages,
            placement=LocalPlacement(),
            blobs=(blobs := DiskBlobs(folder / "blobs")),
            signer=Signer(b"s" * 32),
            clock=clock,
            limits=limits,
            on_fatal=self._fatal,
        )
        self.authenticator = Authenticator(store.tokens, limits.token_recheck_s, clock)
        self.gateway = Gateway(
            store=store,
            models=self.coordinators.models,
            authenticator=self.authenticator,
            wire_limits=wire_limits,
            clock=clock,
        )
        self.legacy = LegacyDoor(
            store=store,
            models=self.coordinators.models,
            blobs=blobs,
            authenticator=self.authenticator,
            limits=limits,
            wire_limits=wire_limits,
            public_url="http://here",
            clock=clock,
        )
        self.coordinators.connect(AllSockets((self.gateway, self.legacy)))
        self.url = ""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        door = self.legacy if self.legacy.serves(scope) else self.gateway
        await door(scope, receive, send)

    async def token(self, name: str = "worker", **fields: Any) -> str:
        given: dict[str, Any] = {"account": "acme", "scopes": ("worker",)} | fields
        return (await self.store.tokens.create(name=name, **given))[1]

    @asynccontextmanager
    async def connected(
        self, token: str | None = None, subprotocol: str | None = wire.SUBPROTOCOL
    ) -> AsyncIterator[AgentSocket]:
        """A socket, upgraded and no more. Without a token none is sent."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        subprotocols = None if subprotocol is None else [Subprotocol(subprotocol)]
        async with connect(
            self.url,
            additional_headers=headers,
            subprotocols=subprotocols,
            compression=None,
            ping_interval=None,
            proxy=None,
            close_timeout=1,
        ) as connection:
            yield AgentSocket(connection)

    async def create(self, model: str = "acme/m") -> str:
        number = await self.store.objects.number("default", model)
        id = self.ids.make(number)
        call = calls.Create(id=id, account="acme", token="t", pool="default", model=model, input=b"{}")
        reply = await self.coordinators.models.stub(number).create(call)
        assert isinstance(reply, calls.Found)
        return id

    async def workers(self, model: str) -> tuple[calls.Worker, ...]:
        number = await self.store.objects.number("default", model)
        return await self.coordinators.models.stub(number).workers()

    async def ended(self, id: str) -> Document:
        return await until(lambda: self.coordinators.projector.recent(id), f"{id} has ended")

    def _fatal(self, error: Exception) -> None:
        raise AssertionError(f"fatal: {error}")


@asynccontextmanager
async def gatehouse(folder: Path, limits: ServerLimits, wire_limits: WireLimits) -> AsyncIterator[Gatehouse]:
    store = await open_store(folder / "control.db")
    house = Gatehouse(store, folder, limits, wire_limits)
    await house.coordinators.start()
    config = uvicorn.Config(
        house.app,
        port=0,
        loop="none",
        ws="websockets-sansio",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
    )
    # Without ``serve``: its main loop would look for the end only ten times a second.
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    house.url = f"ws://127.0.0.1:{port}{wire.PATH}"
    try:
        yield house
    finally:
        house.storages.let_go()
        await house.gateway.stop()
        await house.legacy.stop()
        await server.shutdown()
        await house.authenticator.stop()
        await house.coordinators.stop()
        await store.close()
