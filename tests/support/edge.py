"""The HTTP application on real parts in this process, and a scripted agent at the other end of it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from coordinator import calls
from coordinator.actor.clock import SystemClock
from coordinator.actor.placement import LocalPlacement
from coordinator.actor.sqlite import SqliteStorages
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.signing import Signer
from coordinator.host import Coordinators
from coordinator.ids import Ids
from coordinator.model_schema import MODEL_SCHEMA
from coordinator.protocol import messages as wire
from coordinator.protocol.addresses import AddressRules
from coordinator.protocol.limits import ServerLimits, WireLimits
from coordinator.retention import Retention
from coordinator.store.database import Store, migrate
from edge.app import create_app
from edge.audit import Acts
from edge.auth import Authenticator
from edge.control import Status
from edge.fleet import Fleet
from edge.gateway import Gateway
from edge.key_orders import KeyOrders
from edge.last_use import LastUse
from edge.legacy.door import LegacyDoor
from edge.orders import Orders
from edge.provider_keys import ProviderKeys
from edge.records import Records
from edge.services import Services
from edge.subscriptions import Subscriptions
from edge.token_orders import TokenOrders
from edge.webhook_secrets import Secrets
from edge.webhooks import Webhooks
from tests.support.sse import Event, parse

BASE = "https://api.example.test"
MODEL = "acme/greeter"
VERSION = "a" * 64
SCHEMA: dict[str, Any] = {
    "components": {
        "schemas": {
            "Input": {
                "type": "object",
                "required": ["text"],
                "properties": {
                    "text": {"type": "string", "title": "Text", "x-order": 0},
                    "n": {"type": "integer", "minimum": 1.0, "maximum": 4.0, "default": 1, "x-order": 1},
                    "style": {"allOf": [{"$ref": "#/components/schemas/style"}], "x-order": 2},
                    "image": {"type": "string", "format": "uri", "nullable": True, "x-order": 3},
                    "key": {"type": "string", "format": "password", "x-cog-secret": True, "x-order": 4},
                },
            },
            "style": {"type": "string", "enum": ["plain", "loud"], "title": "style"},
            "Output": {
                "type": "array",
                "items": {"type": "string"},
                "x-cog-array-type": "iterator",
                "x-cog-array-display": "concatenate",
            },
        }
    }
}


@dataclass
class ScriptedAgent:
    """What an agent does on the wire, step by step, as the test says."""

    models: Any
    number: int
    granted: int = 0
    inbox: "asyncio.Queue[wire.ServerMessage]" = field(default_factory=asyncio.Queue)
    address: calls.SocketAddress = field(default_factory=lambda: calls.SocketAddress("test", "1"))
    model: str = MODEL
    others: "dict[calls.SocketAddress, ScriptedAgent]" = field(default_factory=dict)
    """Agents beside it, to whom it hands on what is for them."""

    def deliver(self, address: calls.SocketAddress, message: wire.ServerMessage) -> None:
        self.others.get(address, self).inbox.put_nowait(message)

    def lost(self, number: int) -> None:
        raise AssertionError(f"object {number} lost its instance")

    async def attach(self, slots: int = 1) -> None:
        self.granted = slots
        hello = wire.Hello(protocol=1, agent="agent", incarnation="i1", name="box", slots=slots)
        attach = wire.Attach(
            channel=1,
            model=self.model,
            version=VERSION,
            openapi_schema=msgspec.Raw(b"{}"),
            cog_version="0.1.0",
            concurrency=slots,
            granted=slots,
        )
        await self.models.stub(self.number).attach(
            calls.AttachSession(address=self.address, hello=hello, attach=attach)
        )
        await self.next(wire.Attached)

    async def next(self, kind: type) -> Any:
        """The next message of this kind; others are passed over."""
        async with asyncio.timeout(5):
            while True:
                message = await self.inbox.get()
                if isinstance(message, kind):
                    return message

    def offer(self) -> None:
        """One more slot is free."""
        self.granted += 1
        self.say(wire.Credit(channel=1, granted=self.granted))

    async def start(self) -> wire.Dispatch:
        """Take the next dispatch and begin to run it."""
        dispatch: wire.Dispatch = await self.next(wire.Dispatch)
        self.say(
            wire.Accepted(channel=1, prediction=dispatch.prediction, attempt=dispatch.attempt, started_at=1)
        )
        return dispatch

    def say(self, message: wire.AgentMessage) -> None:
        call = calls.FromAgent(address=self.address, message=message)
        assert self.models.stub(self.number).hand_over(call)

    def progress(self, dispatch: wire.Dispatch, *events: tuple[int, str, Any]) -> None:
        self.say(
            wire.Progress(
                channel=1,
                prediction=dispatch.prediction,
                attempt=dispatch.attempt,
                events=tuple(
                    wire.Event(seq=seq, kind=kind, data=msgspec.Raw(msgspec.json.encode(data)))  # type: ignore[arg-type]
                    for seq, kind, data in events
                ),
            )
        )

    def finish(
        self, dispatch: wire.Dispatch, output: Any = None, status: str = "succeeded", **more: Any
    ) -> None:
        metrics = {"predict_time": 0.5, **more.pop("metrics", {})}
        self.say(
            wire.Finished(
                channel=1,
                prediction=dispatch.prediction,
                attempt=dispatch.attempt,
                secret=dispatch.secret,
                status=status,  # type: ignore[arg-type]
                output=msgspec.Raw(msgspec.json.encode(output)),
                metrics={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in metrics.items()},
                **more,
            )
        )


class Reader:
    """A client that reads an event stream piece by piece, below any HTTP library."""

    def __init__(self, app: Any, scope: dict[str, Any]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self._away = asyncio.Event()
        self._more = asyncio.Event()
        self._task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._away.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.ended = not message.get("more_body", False)
        self._more.set()

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def events(self) -> list[Event]:
        return parse(self.body)[0] if self.status == 200 else []

    async def until(self, count: int) -> list[Event]:
        """The events, once there are so many."""
        async with asyncio.timeout(5):
            while len(self.events) < count:
                self._more.clear()
                await self._more.wait()
        return self.events

    async def end(self) -> list[Event]:
        """All events, once the server has ended the stream."""
        async with asyncio.timeout(5):
            await self._task
        return self.events

    async def leave(self) -> None:
        self._away.set()
        await self.end()


@dataclass
class TestServer:
    """A running application: its services, its agent, and a client of it with a token of all scopes."""

    __test__ = False

    services: Services
    app: Any
    agent: ScriptedAgent
    token: str
    http: httpx.AsyncClient
    orders: Orders

    async def secret(self, name: str, **options: Any) -> str:
        _, secret = await self.services.store.tokens.create(name=name, **options)
        return secret

    async def create(self, text: str = "hi", **headers: str) -> dict[str, Any]:
        answer = await self.http.post(
            f"/v1/models/{MODEL}/predictions", json={"input": {"text": text}}, headers=headers
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def run(self, output: Any, text: str = "hi", **more: Any) -> dict[str, Any]:
        """A prediction from its creation to its end."""
        made = await self.create(text)
        self.agent.finish(await self.agent.start(), output, **more)
        return await self.ended(made["id"])

    async def ended(self, id: str) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while True:
                shown = (await self.http.get(f"/v1/predictions/{id}")).json()
                if shown["completed_at"] is not None:
                    return dict(shown)
                await asyncio.sleep(0.005)

    async def indexed(self, id: str) -> None:
        """Until the prediction has left its coordinator."""
        stub = self.services.models.stub(self.agent.number)
        async with asyncio.timeout(5):
            while True:
                if isinstance(await stub.get(calls.Get(id=id, account="default")), calls.Unknown):
                    return
                await asyncio.sleep(0.005)

    def listen(self, url: str, last_event_id: str = "", method: str = "GET", **headers: str) -> "Reader":
        """Open an event stream, as a client without a token."""
        if last_event_id:
            headers["last-event-id"] = last_event_id
        path, _, query = url.removeprefix(BASE).partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        return Reader(self.app, scope)

    async def upload(
        self,
        dispatch: wire.Dispatch,
        name: str,
        content: bytes,
        content_type: str,
        agent: ScriptedAgent | None = None,
    ) -> wire.StoredFile:
        """Store an output file of a running attempt, as its agent does."""
        agent = agent or self.agent
        sha256 = hashlib.sha256(content).hexdigest()
        asked = wire.Upload(
            channel=1,
            request=1,
            prediction=dispatch.prediction,
            attempt=dispatch.attempt,
            secret=dispatch.secret,
            name=name,
            content_type=content_type,
            length=len(content),
            sha256=sha256,
        )
        agent.say(asked)
        grant: wire.UploadTo = await agent.next(wire.UploadTo)
        answer = await self.http.put(grant.url, content=content, headers=grant.headers)
        assert answer.status_code == 201, answer.text
        return wire.StoredFile(
            key=grant.key, name=name, content_type=content_type, length=len(content), sha256=sha256
        )


@asynccontextmanager
async def running(
    path: Path, limits: ServerLimits, slots: int = 1, cors_origins: tuple[str, ...] = ()
) -> AsyncIterator[TestServer]:
    """A server on a fresh folder, with one model and one agent of that many slots."""
    url = f"sqlite+aiosqlite:///{path}/control.db"
    await asyncio.to_thread(migrate, url)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = await Store.open(url)
        stack.push_async_callback(store.close)
        signer, blobs = Signer(b"k" * 32), DiskBlobs(path / "blobs")
        storages = SqliteStorages(path / "objects", MODEL_SCHEMA, threads=1, open_limit=8)
        coordinators = Coordinators(
            store=store,
            storages=storages,
            placement=LocalPlacement(),
            blobs=blobs,
            signer=signer,
            clock=clock,
            limits=limits,
            on_fatal=_fatal,
        )
        last_use = LastUse(store.token_changes, clock)
        authenticator = Authenticator(
            store.tokens,
            limits.token_recheck_s,
            clock,
            failures_per_min=limits.failed_logins_per_min,
            on_use=last_use.note,
        )
        stack.push_async_callback(last_use.stop)
        gateway = Gateway(
            store=store,
            models=coordinators.models,
            authenticator=authenticator,
            wire_limits=WireLimits(),
            clock=clock,
        )
        subscriptions = Subscriptions(
            coordinators.models, store.index, coordinators.projector, limits.history_bytes
        )
        await register(store)
        agent = ScriptedAgent(coordinators.models, await store.objects.number("default", MODEL))
        webhooks = Webhooks(
            store=store,
            blobs=blobs,
            secrets=Secrets(store.webhook_secrets, ProviderKeys(lambda: b"w" * 32), clock.now),
            signer=signer,
            clock=clock,
            limits=limits,
            public_url=BASE,
            rules=AddressRules(("127.0.0.0/8",)),
        )
        stack.push_async_callback(webhooks.stop)
        coordinators.connect(agent, webhooks.sender)
        await coordinators.start()
        retention = Retention(store, blobs, clock, limits)
        stack.push_async_callback(retention.stop)
        await retention.start()
        stack.push_async_callback(coordinators.stop)
        stack.push_async_callback(authenticator.stop)
        stack.push_async_callback(subscriptions.stop)
        await agent.attach(slots)
        services = Services(
            public_url=BASE,
            limits=limits,
            store=store,
            blobs=blobs,
            signer=signer,
            ids=Ids(b"i" * 32),
            clock=clock,
            coordinators=coordinators,
            authenticator=authenticator,
            subscriptions=subscriptions,
            gateway=gateway,
            legacy=LegacyDoor(
                store=store,
                models=coordinators.models,
                blobs=blobs,
                authenticator=authenticator,
                limits=limits,
                wire_limits=WireLimits(),
                public_url=BASE,
                clock=clock,
            ),
            cors_origins=cors_origins,
            webhooks=webhooks,
            retention=retention,
        )
        _, token = await store.tokens.create(name="all", scopes=("admin",))
        orders = orders_of(services, last_use)
        app = create_app(services, orders)
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url=BASE,
                headers={"authorization": f"Bearer {token}"},
            )
        )
        yield TestServer(services, app, agent, token, http, orders)


def orders_of(services: Services, last_use: LastUse) -> Orders:
    """What carries out the orders of administrators, as ``serve`` has it; nobody backs up here."""

    async def backups(order: object) -> object:
        raise AssertionError(order)

    return Orders(
        TokenOrders(
            services.store,
            provider_keys=ProviderKeys(lambda: b"p" * 32),
            now=services.clock.now,
            on_revoked=services.authenticator.forget,
            on_changed=services.authenticator.changed,
            settle=last_use.settle,
        ),
        KeyOrders(
            services.store,
            most=services.limits.keys_per_token,
            now=services.clock.now,
            on_revoked=services.authenticator.forget,
            on_changed=services.authenticator.changed,
            settle=last_use.settle,
        ),
        acts=Acts(services.store.audit),
        status=lambda: Status(version="1", process=2, url="u", data="d", started_at="t", state="ready"),
        records=Records(services.store, services.webhooks.secrets, services.currency),
        fleet=Fleet(
            services.store,
            services.models,
            services.ids,
            services.clock.now,
            services.blobs,
            services.projector.all_pending,
        ).carry_out,
        backups=backups,
    )


async def register(
    store: Store,
    model: str = MODEL,
    version: str = VERSION,
    pool: str = "default",
    account: str = "default",
    schema: dict[str, Any] = SCHEMA,
) -> None:
    await store.models.register(
        account=account,
        pool=pool,
        model=model,
        version=version,
        openapi_schema=msgspec.json.encode(schema),
        cog_version="0.1.0",
        allowed=(),
        now=1_700_000_000_000_000,
    )


def _fatal(error: Exception) -> None:
    raise error
