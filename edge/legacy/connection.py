"""One websocket of a worker of 2022: jobs out, updates in, and a session of a coordinator behind it.

What the worker hears is jobs and nothing else, one at a time. It cannot be told to cancel, and while it works
it does not even read; so whatever else the coordinator says ends here. A slot is offered again once the
worker has reported *and* its result is durable: until then the result is kept here, and told again to a
coordinator that begins anew.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.protocol import messages as wire
from coordinator.protocol.errors import CloseCode
from coordinator.store.errors import StoreUnavailable
from edge.json_values import strings_of
from edge.legacy.allowance import Allowance
from edge.legacy.job import FRAME_BYTES, Job
from edge.legacy.updates import Update, loses_step, read_update

log = logging.getLogger(__name__)

ATTACH_RETRY_S = (0.05, 0.2, 0.5, 1.0, 2.0)
RESULT_S = 60.0
"""How long the last result of a worker that has gone is kept for a coordinator that cannot take it now."""
NORMAL_CLOSURE = 1000
_CHANNEL = 1


@dataclass(frozen=True, slots=True)
class Worker:
    """Who is at the other end."""

    agent: str
    """Of its token and its ``session_id``: the same for every socket of one process."""
    name: str
    incarnation: str
    """This socket: a job belongs to it and to no other."""
    model: str
    version: str
    number: int
    """Of its coordinator."""


class Doors(Protocol):
    """What a connection needs of the door that let it in."""

    @property
    def base(self) -> str:
        """Where the worker reaches us, without a slash at the end."""

    @property
    def result_bytes(self) -> int: ...

    @property
    def log_bytes(self) -> int: ...

    def now(self) -> int: ...

    def allowance(self) -> Allowance: ...

    async def attach(self, number: int, call: calls.AttachSession) -> calls.Done | calls.NotAttached: ...

    def hand_over(
        self, number: int, call: calls.FromAgent | calls.DetachSession | calls.MarkWorker
    ) -> bool: ...

    async def stored(self, model: str, urls: set[str]) -> Mapping[str, wire.StoredFile]:
        """Those of the URLs that are files of ours."""


class LegacyConnection:
    """``attach`` first; ``run`` lives as long as the socket."""

    def __init__(
        self, worker: Worker, address: calls.SocketAddress, doors: Doors, receive: Any, send: Any
    ) -> None:
        self.worker = worker
        self.address = address
        self.job: Job | None = None
        self.allowance: Allowance | None = None
        """What the open job may still upload."""
        self._doors = doors
        self._receive = receive
        self._send = send
        self._granted = 0
        self._attaching: asyncio.Task[None] | None = None
        self._lost = False
        self._outgoing: asyncio.Queue[str | None] = asyncio.Queue()
        self._closing: tuple[int, str] | None = None
        self._open = False
        """The worker has been let in."""
        self._leaving = False
        self._out_of_step: str | None = None
        """Why its later answers would be wrong."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._clean = False
        """The worker closed the connection itself, in order."""

    @property
    def busy(self) -> bool:
        """Whether the worker works on a job."""
        return self.job is not None and self.job.finished is None

    async def attach(self) -> str | None:
        """Attach without a slot to give. Why this worker gets none, when it does not. Raises Unavailable."""
        self._granted = 0
        held = () if self.job is None else (self.job.held(),)
        hello = wire.Hello(
            protocol=wire.VERSION,
            agent=self.worker.agent,
            incarnation=self.worker.incarnation,
            name=self.worker.name,
            slots=1,
        )
        attach = wire.Attach(
            channel=_CHANNEL,
            model=self.worker.model,
            version=self.worker.version,
            openapi_schema=msgspec.Raw(b"{}"),
            cog_version="",
            concurrency=1,
            granted=0,
            held=held,
        )
        call = calls.AttachSession(address=self.address, hello=hello, attach=attach, legacy=True)
        reply = await self._doors.attach(self.worker.number, call)
        return reply.detail if isinstance(reply, calls.NotAttached) else None

    async def run(self) -> None:
        """Offer the slot, and speak for the worker until its socket is gone."""
        self._open = True
        self._offer()
        writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            await self._last_result()
        finally:
            self._idle.set()  # nothing is left to wait for
            for task in (reader, writer):
                task.cancel()
            for error in await asyncio.gather(reader, writer, return_exceptions=True):
                if isinstance(error, Exception):
                    log.error("worker %s: its connection broke", self.worker.name, exc_info=error)

    def detach(self) -> None:
        """Tell the coordinator that the socket is gone. Not when the server leaves: then the next one finds
        the open job, and does not count it against anybody."""
        if self._attaching is not None:
            self._attaching.cancel()
        if self._leaving and self.job is not None:
            return
        silent = self._clean and self.job is not None and not self.job.spoken
        with suppress(Unavailable):
            self._doors.hand_over(
                self.worker.number, calls.DetachSession(address=self.address, silent=silent)
            )

    async def leave(self, grace_s: float) -> None:
        """The server goes: let the job come to its end, and close. An idle worker is sent away at once."""
        self._leaving = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        self.close(CloseCode.GOING_AWAY, "the server is restarting")

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._closing = (code, reason)
            self._outgoing.put_nowait(None)

    # --- what the coordinator says ------------------------------------------------------------------------

    def deliver(self, message: wire.ServerMessage) -> None:
        if isinstance(message, wire.Dispatch):
            self._take(message)
        elif isinstance(message, wire.Ack):
            self._settled(message.prediction, message.attempt)
        elif isinstance(message, wire.Attached):
            for verdict in message.verdicts:
                if verdict.verdict == "drop":
                    self._settled(verdict.prediction, verdict.attempt)
                elif verdict.from_seq == 1 and self.job is not None:
                    self.job.rewind()
        elif isinstance(message, wire.Closing):
            self.close(CloseCode.REPLACED, message.reason)
        elif isinstance(message, wire.Reattach):
            self.reattach()

    def reattach(self) -> None:
        """The coordinator has no instance that knows this session."""
        if self._attaching is None:
            self._attaching = asyncio.create_task(self._attach_again())
        else:
            self._lost = True

    def _take(self, dispatch: wire.Dispatch) -> None:
        job = Job(dispatch)
        worker = self.worker
        frame = job.frame(
            model=worker.model, version=worker.version, base=self._doors.base, now=self._doors.now()
        )
        if self.job is not None or self._closing is not None:
            refusal = wire.Refused(
                channel=_CHANNEL, prediction=job.id, attempt=dispatch.attempt, reason="unavailable"
            )
            self._tell(refusal)
            return
        self.job = job
        self._idle.clear()
        if len(frame.encode()) >= FRAME_BYTES:
            # The coordinator gives it nothing so large, unless the URLs of many files made it so.
            self._finish(job, Update(job.id, "failed", error="the input is too large for this worker"), {})
            return
        self.allowance = self._doors.allowance()
        self._outgoing.put_nowait(frame)

    def _settled(self, prediction: str, attempt: int) -> None:
        """The result is durable, or nobody wants it: the worker may have another job."""
        job = self.job
        if job is None or job.finished is None:
            return
        if (job.id, job.dispatch.attempt) == (prediction, attempt):
            self.job = self.allowance = None
            self._idle.set()
            self._offer()

    def _offer(self) -> None:
        free = self._open and not self._leaving and self._closing is None and self.job is None
        if not free or self._attaching is not None:
            return
        self._granted += 1
        self._tell(wire.Credit(channel=_CHANNEL, granted=self._granted))

    async def _attach_again(self) -> None:
        tries = 0
        while True:
            self._lost = False
            try:
                refusal = await self.attach()
            except (Unavailable, StoreUnavailable) as error:
                if not tries:
                    log.warning("worker %s: attaching again: %s", self.worker.name, error)
                await asyncio.sleep(ATTACH_RETRY_S[min(tries, len(ATTACH_RETRY_S) - 1)])
                tries += 1
                continue
            if not self._lost:
                break
        self._attaching = None
        if refusal is not None:
            self.close(CloseCode.REPLACED, "restart this container")
        elif self.job is None:
            self._offer()
        elif self.job.finished is not None:
            self._report(self.job.finished)

    def _tell(self, message: wire.AgentMessage) -> None:
        """What is said while attaching is not lost: the job and its result are told with the attach."""
        if self._attaching is None and not self._doors.hand_over(
            self.worker.number, calls.FromAgent(address=self.address, message=message)
        ):
            self.reattach()

    # --- what the worker says -----------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                self._clean = event.get("code") == NORMAL_CLOSURE and self._closing is None
                return
            update = read_update(event.get("text") or event.get("bytes") or "")
            job = self.job
            # Late words on a job before, or on one that was never given here, mean nothing.
            if update is None or job is None or job.finished is not None or update.id != job.id:
                continue
            await self._on(job, update)

    async def _on(self, job: Job, update: Update) -> None:
        stored = await self._doors.stored(self.worker.model, set(strings_of(update.output)))
        if update.ending is None:
            for message in job.said(update, self._doors.now(), stored):
                self._tell(message)
            return
        self._out_of_step = loses_step(update)
        self._finish(job, update, stored)
        if self._out_of_step is not None:
            log.warning("worker %s is to be restarted: %s", self.worker.name, self._out_of_step)
            self.close(CloseCode.REPLACED, "restart this container")

    def _finish(self, job: Job, update: Update, stored: Mapping[str, wire.StoredFile]) -> None:
        finished = job.ended(
            update,
            update.ending or "failed",
            stored,
            result_bytes=self._doors.result_bytes,
            log_bytes=self._doors.log_bytes,
        )
        self._report(finished)

    def _report(self, finished: wire.Finished) -> None:
        """Tell the result, and before it that the worker is not to be trusted any more, if so."""
        if self._out_of_step is not None and self._attaching is None:
            mark = calls.MarkWorker(
                agent=self.worker.agent, name=self.worker.name, mark="distrust", reason=self._out_of_step
            )
            self._doors.hand_over(self.worker.number, mark)
        self._tell(finished)

    async def _write(self) -> None:
        with suppress(OSError):  # the worker is gone, in the middle of what it was sent
            while (frame := await self._outgoing.get()) is not None:
                await self._send({"type": "websocket.send", "text": frame})
            assert self._closing is not None
            code, reason = self._closing
            await self._send({"type": "websocket.close", "code": int(code), "reason": reason})

    async def _last_result(self) -> None:
        """The worker is gone and its last result is not durable yet."""
        if self.job is not None and self.job.finished is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(RESULT_S):
                    await self._idle.wait()
