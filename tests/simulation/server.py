"""One server: everything of ``cogflare serve`` behind its HTTP routes, on real SQLite files.

Clients ask it as the routes would: a key is reserved, a prediction is made, found, canceled.
Agents' sockets are the gateway's own, with a simulated connection behind.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import msgspec

from coordinator import calls
from coordinator.actor.errors import CommitFailed, ReadFailed, StorageBroken
from coordinator.actor.placement import LocalPlacement
from coordinator.actor.sqlite import SqliteStorages
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.signing import Signer
from coordinator.errors import Unavailable
from coordinator.host import Coordinators
from coordinator.ids import Ids
from coordinator.model_schema import MODEL_SCHEMA
from coordinator.prediction import Document
from coordinator.protocol.limits import ServerLimits, WireLimits
from coordinator.store.database import Store
from coordinator.store.errors import StoreError
from coordinator.webhooks.post import NoAnswer
from coordinator.webhooks.sender import Sender
from coordinator.webhooks.slots import Room
from edge import aliases, creation, lookup
from edge.auth import Authenticator, Principal
from edge.errors import Problem
from edge.gateway import Gateway
from edge.subscriptions import Subscriptions
from tests.simulation.loop import Process, ProcessClock, SimLoop
from tests.simulation.network import Cut, End, Network
from tests.support.control_store import open_store

T = TypeVar("T")

HOST = "server"
POOL = "default"
FAULTS: dict[str, type[Exception]] = {
    "commit": CommitFailed,
    "load": CommitFailed,
    "read": ReadFailed,
    "fsync": StorageBroken,
}
"""What may fail of an object's storage, and as what."""
WEBHOOK_KEY = "whsec_c2ltdWxhdGlvbiBzaW11bGF0aW9uIHNpbXVsYXRpb24h"


class Ask(msgspec.Struct, frozen=True):
    """A client's request."""

    verb: str
    account: str
    id: str = ""
    key: str = ""
    fields: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True):
    status: int
    document: Document | None = None
    detail: str = ""


class Storages(SqliteStorages):
    """The shipped ones, without their threads. ``faults`` has what fails next, and whether it was done."""

    def __init__(self, root: Path, loop: SimLoop) -> None:
        super().__init__(root, MODEL_SCHEMA, threads=0, open_limit=8)
        self.faults: list[tuple[str, bool]] = []
        self._loop = loop

    async def run(self, function: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(None, self._maybe, function)

    def _maybe(self, function: Callable[[], T]) -> T:
        kind = cast("partial[T]", function).func.__name__
        for fault in self.faults:
            name, done = fault
            if kind == name or (name == "fsync" and kind == "commit"):
                self.faults.remove(fault)
                if done:
                    function()
                raise FAULTS[name](f"simulated: {name}")
        return function()

    def lose(self) -> None:
        """The process is gone: what it had not committed is not there."""
        for file in self._files.values():
            if file._connection is not None:
                file._connection.close()
                file._connection = None


class Mailbox:
    """Stands in for the connections of webhooks: a request is one to its receiver's host."""

    def __init__(self, network: Network, limits: ServerLimits) -> None:
        self._network = network
        self._limits = limits

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        host = url.split("/")[2]
        try:
            async with asyncio.timeout(self._limits.webhook_s):
                end = await self._network.connect(HOST, host, (url, headers, body))
                try:
                    return int(await end.receive())
                finally:
                    end.close()
        except TimeoutError:
            raise NoAnswer("no answer in time") from None
        except OSError as error:
            raise NoAnswer(str(error)) from None

    async def close(self) -> None:
        pass


async def render(document: Document) -> bytes:
    shown = {"id": document.id, "status": document.status, "sequence": document.sequence}
    return msgspec.json.encode(shown)


async def keys(account: str) -> tuple[str, ...]:
    return (WEBHOOK_KEY,)


class Server:
    """``start`` returns when it listens. ``failed`` is called, once, when its storage cannot be trusted."""

    def __init__(
        self,
        loop: SimLoop,
        network: Network,
        folder: Path,
        limits: ServerLimits,
        wire: WireLimits,
        failed: Callable[["Server"], object],
    ) -> None:
        self.process = Process(loop, HOST)
        self.storages = Storages(folder / "objects", loop)
        self._loop = loop
        self._network = network
        self._folder = folder
        self._limits = limits
        self._wire = wire
        self._failed = failed
        self.ready = asyncio.Event()
        self.store: Store
        self.coordinators: Coordinators
        self.gateway: Gateway
        self._edge: Any

    async def start(self) -> None:
        self.process.at_end.append(self.storages.lose)
        await self.process.spawn(self._start())

    async def _start(self) -> None:
        clock, limits = ProcessClock(self._loop), self._limits
        self.store = store = await open_store(self._folder / "control.db")
        self.coordinators = Coordinators(
            store=store,
            storages=self.storages,
            placement=LocalPlacement(),
            blobs=DiskBlobs(self._folder / "blobs"),
            signer=Signer(b"s" * 32),
            clock=clock,
            limits=limits,
            on_fatal=lambda error: self._failed(self),
        )
        authenticator = Authenticator(store.tokens, limits.token_recheck_s, clock)
        models = self.coordinators.models
        self.gateway = Gateway(
            store=store, models=models, authenticator=authenticator, wire_limits=self._wire, clock=clock
        )
        room = Room(
            receiver=limits.webhook_host_connections,
            account=limits.webhook_account_connections,
            total=limits.webhook_connections,
        )
        sender = Sender(
            poster=cast(Any, Mailbox(self._network, limits)),
            room=room,
            renders={"replicate": render},
            keys=keys,
            clock=clock,
        )
        self.coordinators.connect(self.gateway, sender)
        services = SimpleNamespace(
            store=store,
            models=models,
            clock=clock,
            limits=limits,
            ids=Ids(b"i" * 32, self._loop.chance.getrandbits),
            projector=self.coordinators.projector,
            subscriptions=Subscriptions(
                models, store.index, self.coordinators.projector, limits.history_bytes
            ),
        )
        self._edge = SimpleNamespace(services=services)
        await self.coordinators.start()
        self._network.listen(HOST, self.process, self._comes)
        self.ready.set()

    async def leave(self) -> None:
        """As by SIGTERM."""
        await self.process.spawn(self._leave())

    async def _leave(self) -> None:
        await self.gateway.stop()
        await self.coordinators.stop()
        await self.store.close()

    # --- who comes ----------------------------------------------------------------------------------------

    def _comes(self, end: End, hello: Any) -> None:
        if isinstance(hello, Ask):
            self.process.spawn(self._answer(end, hello))
        else:
            self.process.spawn(self._serve(end, hello))

    async def _answer(self, end: End, ask: Ask) -> None:
        try:
            answer = await self._do(ask)
        except Problem as problem:
            answer = Answer(problem.status)
        except (Unavailable, StoreError):
            answer = Answer(503)
        except Exception as error:
            answer = Answer(500, detail=repr(error))
        with suppress(Cut):
            end.send(answer)
        end.close()

    async def _do(self, ask: Ask) -> Answer:
        if ask.verb == "create":
            return await self._create(ask)
        if ask.verb == "cancel":
            return Answer(200, await lookup.cancel(self._edge, ask.id, ask.account))
        return Answer(200, await lookup.find(self._edge, ask.id, ask.account))

    async def _create(self, ask: Ask) -> Answer:
        services = self._edge.services
        number = await self.store.objects.number(POOL, ask.fields["model"])
        given = {"pool": POOL, "account": ask.account, "token": f"tok_{ask.account}"} | ask.fields
        call = calls.Create(id=services.ids.make(number), **given)
        who = Principal(
            token=call.token,
            account=ask.account,
            scopes=frozenset({"submit"}),
            pools=(POOL,),
            models=(),
            name=ask.account,
        )
        order = creation.Order(number, call, cast(Any, None), call.input, who)
        name, digest = aliases.Name("key", ask.key), aliases.digest_of("/v1/predictions", ask.key)
        ids = await aliases.reserve(cast(Any, services), who, name, digest, (call.id,))
        order = await creation.under(self._edge, order, ids[0])
        reply = await creation.create_again(self._edge, order)
        if isinstance(reply, calls.Refused):
            return Answer(503 if reply.retry_after_s else 429)
        return Answer(201, reply.document)

    async def _serve(self, end: End, hello: dict[str, Any]) -> None:
        """An agent's websocket, as its ASGI server would give it to the gateway."""
        scope = {"type": "websocket", "client": (end.other.host, 1), "extensions": {}, **hello}
        begun = False

        async def receive() -> dict[str, Any]:
            nonlocal begun
            if not begun:
                begun = True
                return {"type": "websocket.connect"}
            try:
                return {"type": "websocket.receive", "text": await end.receive()}
            except Cut:
                return {"type": "websocket.disconnect", "code": 1006}

        async def send(message: dict[str, Any]) -> None:
            try:
                if message["type"] == "websocket.send":
                    end.send(message["text"])
                elif message["type"] == "websocket.close":
                    end.close((message["code"], message.get("reason", "")))
                elif message["type"] == "websocket.http.response.start":
                    end.send(("refused", message["status"], message["headers"]))
                elif message["type"] == "websocket.accept":
                    end.send(("accepted", message["subprotocol"]))
            except Cut:
                raise OSError("the agent is gone") from None

        with suppress(OSError):  # the agent is gone: its ASGI server would say so in a log
            await self.gateway(scope, receive, send)
        end.close()
