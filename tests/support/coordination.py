"""The coordinators of one process on real files, in virtual time, with agents that a test speaks for."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from coordinator import calls
from coordinator.actor.placement import LocalPlacement
from coordinator.actor.sqlite import SqliteStorages
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.signing import Signer
from coordinator.host import Coordinators, OverflowDoor, Webhooks
from coordinator.ids import Ids
from coordinator.model_schema import MODEL_SCHEMA
from coordinator.prediction import Document
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from coordinator.store.database import Store
from coordinator.stub import Models, ModelStub, Objects
from tests.support.control_store import open_store
from tests.support.faulty_storage import FaultyStorages
from tests.support.virtual_clock import VirtualClock, breathe
from tests.support.waiting import until

M = TypeVar("M", bound=wire.Message)

MODEL = "acme/greeter"
V1, V2 = "1" * 64, "2" * 64


class Encoded:
    """Calls and replies cross as bytes, as they would between two processes."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def call(self, number: int, call: calls.AnyCall, deadline_s: float) -> calls.AnyReply:
        reply = await self._objects.call(number, calls.decode_call(calls.encode(call)), deadline_s)
        answer: calls.AnyReply = calls.decode_reply(calls.encode(reply))
        return answer

    def post(self, number: int, *posted: calls.AnyCall) -> bool:
        return self._objects.post(number, *(calls.decode_call(calls.encode(call)) for call in posted))

    def live(self, number: int) -> bool:
        return self._objects.live(number)


class Sockets:
    """Where a gateway would be: keeps what agents were sent, by session."""

    def __init__(self) -> None:
        self.sent: dict[calls.SocketAddress, list[wire.ServerMessage]] = {}
        self.lost_objects: list[int] = []

    def deliver(self, address: calls.SocketAddress, message: wire.ServerMessage) -> None:
        self.sent.setdefault(address, []).append(wire.decode_from_server(wire.encode(message)))

    def lost(self, number: int) -> None:
        self.lost_objects.append(number)


class Coordination:
    """One server's coordinators; ``restart`` ends them and starts others on the same files."""

    def __init__(self, folder: Path, clock: VirtualClock, limits: ServerLimits) -> None:
        self.clock = clock
        self.limits = limits
        self.ids = Ids(b"i" * 32)
        self.signer = Signer(b"s" * 32)
        self.blobs = DiskBlobs(folder / "blobs")
        self.fatal: list[Exception] = []
        self.watch: Callable[[], None] = lambda: None
        """Called with each new set of coordinators, before they start."""
        self.mail: Webhooks | None = None
        self.door: OverflowDoor | None = None
        self._folder = folder
        self.files: SqliteStorages
        self.store: Store
        self.storages: FaultyStorages
        self.sockets: Sockets
        self.coordinators: Coordinators
        self.models: Models
        self.number = 0

    async def start(self) -> None:
        self.store = await open_store(self._folder / "control.db")
        self.files = SqliteStorages(self._folder / "objects", MODEL_SCHEMA, threads=2, open_limit=8)
        self.storages = FaultyStorages(self.files)
        self.sockets = Sockets()
        self.coordinators = Coordinators(
            store=self.store,
            storages=self.storages,
            placement=LocalPlacement(),
            blobs=self.blobs,
            signer=self.signer,
            clock=self.clock,
            limits=self.limits,
            on_fatal=self.fatal.append,
        )
        self.coordinators.connect(self.sockets, self.mail, self.door)
        self.models = Models(Encoded(self.coordinators.namespace), self.limits.call_s)
        self.watch()
        await self.coordinators.start()
        await until(self.coordinators.namespace.woken.is_set, "what was active is awake")
        self.number = await self.store.objects.number("default", MODEL)

    async def stop(self) -> None:
        self.storages.let_go()
        await self.coordinators.stop()
        await self.store.close()

    async def restart(self, *, indexed: bool = True) -> None:
        """Without ``indexed`` nothing more reaches the control index before the end, as in a crash."""
        if not indexed:
            await self.coordinators.projector.stop()
        await self.stop()
        await self.start()

    @property
    def stub(self) -> ModelStub:
        return self.models.stub(self.number)

    async def advance(self, seconds: float) -> None:
        """Let time pass, with no disk or index in arrears."""
        await self.settled()
        await self.clock.advance(seconds)
        await self.settled()

    async def settled(self) -> None:
        """Return once nothing is being committed or projected."""
        projector = self.coordinators.projector
        for _ in range(3):
            await until(
                lambda: not self.storages.running and not projector.pending("acme"), "nothing is in arrears"
            )
            await breathe()

    # --- a client -----------------------------------------------------------------------------------------

    async def create(self, id: str | None = None, **fields: Any) -> str:
        reply = await self.try_create(id, **fields)
        assert isinstance(reply, calls.Found), reply
        return reply.document.id

    async def try_create(self, id: str | None = None, **fields: Any) -> calls.Found | calls.Refused:
        given = {"account": "acme", "token": "tok_1", "pool": "default", "model": MODEL, "input": b'{"n":1}'}
        return await self.stub.create(calls.Create(id=id or self.ids.make(self.number), **(given | fields)))

    async def find(self, id: str, account: str = "acme") -> Document | None:
        """What the coordinator itself knows; None when it does not, or no longer."""
        reply = await self.stub.get(calls.Get(id=id, account=account))
        return reply.document if isinstance(reply, calls.Found) else None

    async def get(self, id: str) -> Document:
        document = await self.find(id) or self.coordinators.projector.recent(id)
        assert document is not None, f"{id} is not known"
        return document

    async def cancel(self, id: str) -> Document:
        reply = await self.stub.cancel(calls.Cancel(id=id, account="acme"))
        assert isinstance(reply, calls.Found), reply
        return reply.document

    async def events(self, id: str, cursor: str = "", **fields: Any) -> calls.Events:
        call = calls.EventsAfter(id=id, account="acme", cursor=cursor, **fields)
        reply = await self.stub.events_after(call)
        assert isinstance(reply, calls.Events), reply
        return reply

    async def ended(self, id: str) -> Document:
        """The document once it is terminal, durably."""
        return await until(lambda: self.coordinators.projector.recent(id), f"{id} has ended")


_sessions = itertools.count(1)


class Worker:
    """An agent: what a test has it say, and what it heard. Each attach is a new session."""

    def __init__(self, house: Coordination, agent: str = "agent-1", *, incarnation: str = "i1") -> None:
        self.house = house
        self.agent = agent
        self.incarnation = incarnation
        self.version = V1
        self.granted = 0
        self.retries: int | None = None
        self.protocol = 1
        self.shared = False
        self.loading_since: int | None = None
        self.address = calls.SocketAddress("gateway", "none")
        self._read = 0

    async def attach(
        self, slots: int = 1, held: tuple[wire.Held, ...] = (), *, again: bool = False
    ) -> dict[str, str]:
        """Attach with free slots, listing what is held; gives the verdicts. ``again``: on the same
        session."""
        if not again:
            self.address = calls.SocketAddress("gateway", f"session-{next(_sessions)}")
            self._read = 0
        self.granted = slots
        hello = wire.Hello(
            protocol=self.protocol,
            agent=self.agent,
            incarnation=self.incarnation,
            name=f"box of {self.agent}",
            slots=slots,
        )
        attach = wire.Attach(
            channel=3,
            model=MODEL,
            version=self.version,
            openapi_schema=msgspec.Raw(b'{"openapi":"3.0.2"}'),
            cog_version="0.1",
            concurrency=1,
            granted=slots,
            held=held,
            retries=self.retries,
            shared=self.shared,
            state="ready" if self.loading_since is None else "loading",
            since=self.loading_since,
        )
        await self.house.stub.attach(calls.AttachSession(address=self.address, hello=hello, attach=attach))
        attached = self.heard(wire.Attached)[-1]
        return {verdict.prediction: verdict.verdict for verdict in attached.verdicts}

    def lose(self) -> None:
        """The socket is gone."""
        self.house.stub.hand_over(calls.DetachSession(address=self.address))

    def say(self, message: wire.AgentMessage) -> None:
        assert self.house.stub.hand_over(calls.FromAgent(address=self.address, message=message))

    # --- what it heard ------------------------------------------------------------------------------------

    def heard(self, kind: type[M]) -> list[M]:
        """All messages of this kind on this session."""
        return [m for m in self.house.sockets.sent.get(self.address, ()) if isinstance(m, kind)]

    async def next(self, kind: type[M]) -> M:
        """The next message on this session, which must be of this kind; ``attach`` reads ``attached``."""
        await until(lambda: len(self._inbox()) > self._read, f"a {kind.__name__} comes")
        message = self._inbox()[self._read]
        self._read += 1
        assert isinstance(message, kind), message
        return message

    async def next_of(self, kind: type[M]) -> M:
        """The next message of this kind on this session; others before it are left out."""
        while not isinstance(message := await self.next(wire.Message), kind):
            pass
        return message

    def unread(self) -> wire.ServerMessage | None:
        """The next message on this session, if it has come; ``attach`` reads ``attached``."""
        inbox = self._inbox()
        if len(inbox) <= self._read:
            return None
        self._read += 1
        return inbox[self._read - 1]

    async def silence(self) -> None:
        """Nothing more has come, with everything durable."""
        await self.house.settled()
        assert self._inbox()[self._read :] == []

    def _inbox(self) -> list[wire.ServerMessage]:
        sent = self.house.sockets.sent.get(self.address, ())
        return [message for message in sent if not isinstance(message, wire.Attached)]

    # --- what it says -------------------------------------------------------------------------------------

    async def take(self) -> wire.Dispatch:
        """Take the next dispatch and begin to run it."""
        dispatch = await self.next(wire.Dispatch)
        self.accept(dispatch)
        return dispatch

    def accept(self, dispatch: wire.Dispatch) -> None:
        self.say(wire.Accepted(**_of(dispatch), started_at=self.house.clock.now()))

    def refuse(self, dispatch: wire.Dispatch, reason: Any = "busy") -> None:
        self.say(wire.Refused(**_of(dispatch), reason=reason))

    def offer(self, slots: int = 1) -> None:
        """That many slots more are free."""
        self.granted += slots
        self.say(wire.Credit(channel=3, granted=self.granted))

    def crash(self, dispatch: wire.Dispatch, **fields: Any) -> None:
        """The model's process ended while it ran this."""
        given: dict[str, Any] = {"error": "was ended by SIGSEGV", "error_code": "runner_crashed"} | fields
        self.finish(dispatch, None, status="failed", **given)

    def progress(self, dispatch: wire.Dispatch, *events: wire.Event) -> None:
        self.say(wire.Progress(**_of(dispatch), events=events))

    def finish(self, dispatch: wire.Dispatch, output: Any = "done", **fields: Any) -> None:
        self.say(finished(dispatch, output, **fields))

    def held(self, dispatch: wire.Dispatch, state: Any = "running") -> wire.Held:
        return wire.Held(
            prediction=dispatch.prediction,
            attempt=dispatch.attempt,
            secret=dispatch.secret,
            state=state,
            started_at=self.house.clock.now(),
        )


def finished(dispatch: wire.Dispatch, output: Any = "done", **fields: Any) -> wire.Finished:
    given: dict[str, Any] = {"secret": dispatch.secret, "status": "succeeded", **_of(dispatch), **fields}
    return wire.Finished(output=raw(output), **given)


def output(seq: int, value: Any, files: tuple[wire.StoredFile, ...] = ()) -> wire.Event:
    return wire.Event(seq=seq, kind="output", data=raw(value), files=files)


def logs(seq: int, text: Any) -> wire.Event:
    return wire.Event(seq=seq, kind="logs", data=raw(text))


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _of(dispatch: wire.Dispatch) -> dict[str, Any]:
    return {
        "channel": dispatch.channel,
        "prediction": dispatch.prediction,
        "attempt": dispatch.attempt,
    }
