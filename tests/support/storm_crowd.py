"""Clients of many accounts and workers of both kinds around one coordinator, each on its own side.

``storm.py`` decides who does what, and when.
"""

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.model import Model
from coordinator.prediction import Document
from coordinator.protocol import messages as wire
from coordinator.protocol.names import legacy_version
from tests.support.coordination import MODEL, V1, V2, Coordination, raw
from tests.support.storm_mail import StormMail, told_of_end, webhook

CAPS = {"tok_a1": 1, "tok_a2": 0, "tok_b1": 3, "tok_b2": 0, "tok_c1": 0}
ACCOUNTS = {"tok_a1": "a", "tok_a2": "a", "tok_b1": "b", "tok_b2": "b", "tok_c1": "c"}
LEASE_S = 30.0 - 0.001  # sums of times are not exact
_sessions = itertools.count(1)


@dataclass
class Work:
    """What a worker has of one attempt."""

    dispatch: wire.Dispatch
    phase: str = "given"
    """``given``, ``running`` or ``finished``: then ``report`` is told until it is acknowledged."""
    report: wire.Finished | None = None
    deaf: bool = False
    """It does not listen to a cancel."""
    said: int = 0
    """Events."""


@dataclass
class Box:
    """A worker as it is, on its own side of the wire."""

    agent: str
    version: str
    slots: int
    legacy: bool = False
    gpu: str = ""
    shared: bool = False
    process: int = 1
    address: calls.SocketAddress | None = None
    """Of its socket; None without one."""
    attached: bool = False
    received: int = 0
    read: int = 0
    works: dict[tuple[str, int], Work] = field(default_factory=dict)
    cut_at: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.agent}/{self.process}"

    @property
    def free(self) -> int:
        return max(0, self.slots - len(self.works))


class Crowd:
    """Clients and workers of one coordinator: what each can do, and what is known of it by then. Raises
    AssertionError when something is lost, ends twice, or is given to two workers."""

    def __init__(self, house: Coordination, seed: int) -> None:
        self.house = house
        self.chance = random.Random(seed)
        self.accepted: dict[str, str] = {}
        """Id -> account."""
        self.unsure: dict[str, dict[str, Any]] = {}
        """Creates without an answer."""
        self.ended: dict[str, Document] = {}
        self.runs: dict[str, set[tuple[str, int]]] = {}
        """Which process began which attempt of a prediction, and did not give it back."""
        self.expired: set[tuple[str, int, str]] = set()
        self.indexing = asyncio.Event()
        """The index is written; else a batch waits."""
        self.indexing.set()
        self.asking: list[asyncio.Task[Any]] = []
        self.story: list[str] = []
        self.boxes = [
            Box("one", V1, 2, gpu="A100", shared=True),
            Box("two", V1, 1),
            Box("three", V2, 3, gpu="A100"),
            Box("old", legacy_version(MODEL), 1, legacy=True),
        ]
        self.mail = house.mail = StormMail(self, house.clock, lambda: self.house.store.index, seed)
        house.coordinators.connect(house.sockets, self.mail)
        house.watch = self.watch
        self.watch()

    def watch(self) -> None:
        """See every document that leaves the coordinator."""
        projector = self.house.coordinators.projector
        add = projector.add

        def seen(number: int, document: Document, **how: bool) -> None:
            before = self.ended.get(document.id)
            if before is not None:
                same = (document.status, document.output, document.completed_at, document.error)
                assert same == (before.status, before.output, before.completed_at, before.error), (
                    f"{document.id} had ended: {before}, now {document}"
                )
            elif document.status.terminal:
                self.ended[document.id] = document
            add(number, document, **how)

        projector.add = seen  # type: ignore[method-assign]

        index = self.house.store.index
        upsert = index.upsert

        async def held(documents: Sequence[Document]) -> None:
            await self.indexing.wait()
            await upsert(documents)

        index.upsert = held  # type: ignore[method-assign]

        def lost(number: int) -> None:
            for box in self.boxes:
                self.unattached(box)

        self.house.sockets.lost = lost  # type: ignore[method-assign]

    def unattached(self, box: Box) -> None:
        if box.attached:
            box.attached, box.cut_at = False, self.now()

    @property
    def model(self) -> Model | None:
        instance = self.house.coordinators.namespace._instances.get(self.house.number)
        return None if instance is None else instance._actor  # type: ignore[return-value]

    def now(self) -> float:
        return self.house.clock.monotonic()

    # --- what clients do ----------------------------------------------------------------------------------

    async def create(self) -> None:
        token = self.chance.choice(list(CAPS))
        fields: dict[str, Any] = {
            "id": self.house.ids.make(self.house.number),
            "account": ACCOUNTS[token],
            "token": token,
            "pool": "default",
            "model": MODEL,
            "input": b'{"n":%d}' % len(self.accepted),
            "user": self.chance.choice(("", "", "u1", "u2", f"u{self.chance.randrange(40)}")),
            "urgency": self.chance.randrange(3),
            "version": self.chance.choice(("", "", "", V1, V2)),
            "gpu": "a100" if self.chance.random() < 0.1 else "",
            "max_running": CAPS[token],
            "retries": self.chance.choice((None, None, None, 0, 1)),
            "queue_s": self.chance.choice((None, None, 50.0, 300.0)),
            "total_s": self.chance.choice((None, None, None, 200.0)),
            "run_s": self.chance.choice((None, 60.0)),
            **webhook(self.chance),
        }
        self.story.append(f"create {fields['id']} {token} {fields['version'][:2]}")
        await self._create(fields)

    async def _create(self, fields: dict[str, Any], *, again: bool = False) -> None:
        id, account = fields["id"], fields["account"]
        try:
            reply = await self.house.stub.create(calls.Create(**fields, again=again))
        except Unavailable:
            self.unsure[id] = fields
            return
        self.unsure.pop(id, None)
        if isinstance(reply, calls.Found):
            self.accepted[id] = account

    async def create_again(self) -> None:
        """As the edge does with one whose answer it did not get: the index is asked first."""
        if not self.unsure:
            return
        id, fields = self.chance.choice(list(self.unsure.items()))
        found = await self.house.store.index.get(id, fields["account"])
        if found is not None and found.status.terminal:
            self.unsure.pop(id, None)
            self.accepted[id] = fields["account"]
            return
        await self._create(fields, again=True)

    async def cancel(self, id: str) -> None:
        try:
            await self.house.stub.cancel(calls.Cancel(id=id, account=self.accepted[id]))
        except Unavailable:
            return

    async def look(self, id: str) -> Document | None:
        """As a client finds it."""
        account = self.accepted[id]
        for _ in range(5):
            try:
                reply = await self.house.stub.get(calls.Get(id=id, account=account))
            except Unavailable:
                return None
            if isinstance(reply, calls.Found):
                return reply.document
            found = self.house.coordinators.projector.recent(id)
            found = found or await self.house.store.index.get(id, account)
            if found is not None and found.status.terminal:
                return found
        raise AssertionError(f"{id} is lost")

    async def ask_why(self, id: str) -> None:
        try:
            reply = await self.house.stub.why(calls.Why(id=id, account=self.accepted[id]))
        except Unavailable:
            return
        if isinstance(reply, calls.Explained) and reply.reason is not None:
            assert 1 <= reply.position <= reply.of

    async def redeliver(self, id: str) -> None:
        document = self.ended.get(id)
        if document is None or not told_of_end(document):
            return
        self.mail.renewed.add(id)
        try:
            await self.house.stub.redeliver(calls.Redeliver(document=document))
        except Unavailable:
            return

    # --- what workers do ----------------------------------------------------------------------------------

    async def attach(self, box: Box) -> None:
        """Attach on its socket, or on a new one."""
        if box.address is None:
            box.address = calls.SocketAddress("gateway", f"storm-{next(_sessions)}")
            box.read = 0
            if box.legacy:
                box.process += 1
        self.unattached(box)
        held = tuple(
            wire.Held(
                prediction=work.dispatch.prediction,
                attempt=work.dispatch.attempt,
                secret=work.dispatch.secret,
                state="finished" if work.phase == "finished" else "running",
                started_at=self.house.clock.now() if work.phase == "running" else None,
            )
            for work in box.works.values()
        )
        box.received = 0
        hello = wire.Hello(
            protocol=2,
            agent=box.agent,
            incarnation=box.name,
            name=f"box {box.agent}",
            slots=box.slots,
            gpus=(wire.Gpu(kind=box.gpu, memory_bytes=80 << 30),) if box.gpu else (),
        )
        attach = wire.Attach(
            channel=3,
            model=MODEL,
            version=box.version,
            openapi_schema=msgspec.Raw(b"{}"),
            cog_version="",
            concurrency=1,
            granted=0 if box.legacy else box.free,
            held=held,
            shared=box.shared,
        )
        address = box.address
        call = calls.AttachSession(address=address, hello=hello, attach=attach, legacy=box.legacy)
        try:
            reply = await self.house.stub.attach(call)
        except Unavailable:
            return
        if isinstance(reply, calls.NotAttached):
            self.lose(box)
            box.agent = f"old-{next(_sessions)}"

    def lose(self, box: Box, *, silent: bool = False) -> None:
        """Its socket is gone. A worker of 2022 forgets its job with it."""
        if box.address is None:
            return
        self.house.stub.hand_over(calls.DetachSession(address=box.address, silent=silent))
        self.unattached(box)
        box.address = None
        if box.legacy:
            box.works.clear()

    def die(self, box: Box) -> None:
        """Its process ends: only what it has spooled is there afterwards."""
        self.lose(box)
        box.works = {key: work for key, work in box.works.items() if work.phase == "finished"}
        box.process += 1

    def say(self, box: Box, message: Any) -> None:
        if box.address is None or not box.attached:
            return
        if not self.house.stub.hand_over(calls.FromAgent(address=box.address, message=message)):
            self.unattached(box)

    def offer(self, box: Box) -> None:
        self.say(box, wire.Credit(channel=3, granted=box.received + box.free))

    def accept(self, box: Box, work: Work) -> None:
        dispatch = work.dispatch
        work.phase = "running"
        self.runs.setdefault(dispatch.prediction, set()).add((box.name, dispatch.attempt))
        self.say(box, wire.Accepted(**of_attempt(dispatch), started_at=self.house.clock.now()))

    def refuse(self, box: Box, work: Work, reason: Any) -> None:
        del box.works[work.dispatch.prediction, work.dispatch.attempt]
        self.runs.get(work.dispatch.prediction, set()).discard((box.name, work.dispatch.attempt))
        self.say(box, wire.Refused(**of_attempt(work.dispatch), reason=reason))
        self.offer(box)

    def finish(self, box: Box, work: Work, **fields: Any) -> None:
        if work.phase == "given":
            self.accept(box, work)
        given: dict[str, Any] = {"status": "succeeded", "output": raw(box.name)} | fields
        work.phase = "finished"
        work.report = wire.Finished(secret=work.dispatch.secret, **of_attempt(work.dispatch), **given)
        self.say(box, work.report)

    def hear(self) -> None:
        for box in self.boxes:
            while box.address is not None:
                inbox = self.house.sockets.sent.get(box.address, [])
                if len(inbox) <= box.read:
                    break
                box.read += 1
                self._hear(box, inbox[box.read - 1])

    def _hear(self, box: Box, message: wire.ServerMessage) -> None:
        self.story.append(f"{self.now()} {box.name} hears {message}")
        if isinstance(message, wire.Dispatch):
            self._given(box, message)
        elif isinstance(message, wire.Attached):
            self._attached(box, message)
        elif isinstance(message, wire.Reattach):
            self.unattached(box)
        elif isinstance(message, wire.Closing):
            self.lose(box)
        elif isinstance(message, wire.Cancel):
            work = box.works.get((message.prediction, message.attempt))
            if work is not None and work.phase != "finished" and not work.deaf:
                self.finish(box, work, status="canceled", output=raw(None))
        elif isinstance(message, wire.Ack):
            work = box.works.get((message.prediction, message.attempt))
            if work is not None and work.phase == "finished":
                del box.works[message.prediction, message.attempt]
                self.offer(box)

    def _attached(self, box: Box, message: wire.Attached) -> None:
        box.attached = True
        if self.now() - box.cut_at >= LEASE_S:
            self.expired |= {(id, attempt, box.name) for id, attempt in box.works}
        for verdict in message.verdicts:
            work = box.works.get((verdict.prediction, verdict.attempt))
            if work is None:
                continue
            if verdict.verdict == "drop":
                del box.works[verdict.prediction, verdict.attempt]
            elif verdict.verdict == "cancel" and work.phase != "finished":
                self.finish(box, work, status="canceled", output=raw(None))
            elif work.report is not None:
                self.say(box, work.report)
            else:
                work.said = verdict.from_seq - 1
        self.offer(box)

    def _given(self, box: Box, dispatch: wire.Dispatch) -> None:
        box.received += 1
        id, attempt = dispatch.prediction, dispatch.attempt
        known = box.works.get((id, attempt))
        if known is not None and known.dispatch.secret == dispatch.secret:
            if known.report is not None:
                self.say(box, known.report)
            return
        self._only_one(box, dispatch)
        if box.free == 0:
            self.say(box, wire.Refused(**of_attempt(dispatch), reason="busy"))
            self.offer(box)
            return
        box.works[id, attempt] = Work(dispatch, deaf=self.chance.random() < 0.1)

    # --- what must hold all the time ----------------------------------------------------------------------

    def _only_one(self, box: Box, dispatch: wire.Dispatch) -> None:
        """Nobody else runs it, but one that was away until its lease was over."""
        id = dispatch.prediction
        for other in self.boxes:
            for (held, attempt), work in other.works.items():
                if held != id or work.phase == "finished" or (attempt, other) == (dispatch.attempt, box):
                    continue
                if (id, attempt, other.name) in self.expired:
                    continue
                away = other.address is None or not other.attached
                over = away and self.now() - other.cut_at >= LEASE_S
                assert over or other.legacy, (
                    f"{id} is given to {box.name} as {dispatch.attempt}, {other.name} runs it as {attempt}"
                )
                self.expired.add((id, attempt, other.name))


def of_attempt(dispatch: wire.Dispatch) -> dict[str, Any]:
    return {
        "channel": dispatch.channel,
        "prediction": dispatch.prediction,
        "attempt": dispatch.attempt,
    }
