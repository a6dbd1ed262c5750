"""One model's channel to its coordinator: what this agent holds of it, and what the two say to each other.

PROTOCOL.md has the rules. In short: every attach lists what is held, the verdicts say what becomes of it,
and only then anything of it is sent; a dispatch that finds no free slot is refused; credits follow the slots.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from msgspec.structs import replace

from coordinator.protocol.agent_session import ToChannel
from coordinator.protocol.channels import ChannelState
from coordinator.protocol.errors import FrameTooLarge
from coordinator.protocol.log_lines import about, task_is_about
from coordinator.protocol.messages import (
    Accepted,
    Ack,
    AgentMessage,
    Attach,
    Attached,
    AttachRefused,
    Cancel,
    Demand,
    Detach,
    Dispatch,
    Drain,
    ModelState,
    Reattach,
    Refused,
    Resend,
    Upload,
    UploadRefused,
    UploadTo,
    Verdict,
)
from coordinator.protocol.names import is_training_queue
from gpu_agent.connection import Connection
from gpu_agent.runner_types import NotTaken
from gpu_agent.serving import Serving
from gpu_agent.sharing import Sharing
from gpu_agent.slots import Slots
from gpu_agent.source import Predicts
from gpu_agent.spool import Record, Served, nameable
from gpu_agent.training import Training
from gpu_agent.transfer import OutputFile, UploadDenied
from gpu_agent.work import Phase, Tools, Work

log = logging.getLogger("cogflare.agent")

GRANT_S = 30.0
"""An upload request without an answer for this long is made again."""
REFUSED_ATTACH_S = 30.0
CANCEL_GRACE_S = 10.0
"""What a runner gets when a verdict says cancel, which names no grace."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class _Cut(Exception):
    """The connection ended while an answer was awaited."""


class ModelChannel:
    """Attaches one model and looks after its attempts.

    Until ``serve`` is called it is only there to deliver results that an earlier process left behind.
    ``number`` gives a channel number that the connection has not seen yet.
    """

    def __init__(
        self,
        *,
        served: Served,
        connection: Connection,
        slots: Slots,
        sharing: "Sharing[ModelChannel]",
        tools: Tools,
        number: Callable[["ModelChannel"], int],
        spawn: Spawn,
        changed: Callable[[], None],
        offer: Callable[["ModelChannel"], int],
        shared: bool,
        loading_since: int | None = None,
    ) -> None:
        """``offer`` says how many slots the agent offers on this channel now. ``loading_since``: the model is
        being set up, and ``served`` is what is known of it until then."""
        self.number = -1
        self.served = served
        self.works: dict[tuple[str, int], Work] = {}
        self._serving: Serving | Training | None = None
        self._new_number = number
        self._connection = connection
        self._slots = slots
        self._sharing = sharing
        self._offer = offer
        self._shared = shared
        self._loading_since = loading_since
        self._drained = False
        self._told_ready = True
        self._charges: dict[tuple[str, int], tuple[float, float]] = {}
        """For each running attempt what its model was charged, and when (monotonic)."""
        self._tools = tools
        self._spawn = spawn
        self._changed = changed
        self._attached = asyncio.Event()
        self._retry_at: float | None = None
        self._runners: dict[tuple[str, int], Predicts] = {}
        self._requests = itertools.count(1)
        self._grants: dict[int, asyncio.Future[UploadTo]] = {}
        self._returning: set[tuple[str, int]] = set()
        """Attempts that are over and still to be given back."""

    # --- what the agent asks of it -----------------------------------------------------------------------

    @property
    def useful(self) -> bool:
        """False when there is nothing left to attach for."""
        return self._serving is not None or bool(self.works) or self._loading_since is not None

    @property
    def room(self) -> int:
        """How many predictions the model could begin now, if there were slots."""
        return self._serving.free if self._serving is not None and not self._drained else 0

    def serve(self, serving: Serving | Training, served: Served) -> None:
        """The model is ready: take dispatches for it from now on."""
        if self._connection.channel(self.number) is not ChannelState.NEW:
            self.suspend()
            self.send(Detach(channel=self.number))
        self._serving = serving
        self._loading_since = None
        self.served = served
        if self._connection.welcome is not None:
            self.open()

    def stand_in(self, served: Served) -> None:
        """Until the model is loaded, attach as what an earlier process knew of it."""
        if self._serving is None:
            self.served = served

    def open(self) -> None:
        """Attach under a new number. What only loads is of no interest to a server of version 1, and one of
        version 3 knows no trainings."""
        welcome = self._connection.welcome
        if is_training_queue(self.served.model) and (welcome is None or welcome.protocol < 4):
            return
        if self._loading_since is not None and not self.works and (welcome is None or welcome.protocol < 2):
            return
        self.number = self._new_number(self)
        self._attach()

    def _attach(self) -> None:
        """Offer the model, with all that is held of it for this server."""
        self.suspend()
        self._drained = False
        served, welcome = self.served, self._connection.welcome
        message = Attach(
            channel=self.number,
            model=served.model,
            version=served.version,
            openapi_schema=served.openapi_schema,
            cog_version=served.cog_version,
            concurrency=served.concurrency,
            granted=self._offer(self),
            held=tuple(work.held() for work in self._of_this_server()),
        )
        if welcome is not None and welcome.protocol >= 2:
            message = replace(message, retries=served.retries, shared=self._shared)
            if self._loading_since is not None:
                message = replace(message, state="loading", since=self._loading_since)
        self._told_ready = True
        try:
            self._connection.send(message)
        except FrameTooLarge as error:
            log.error("%s cannot be served: %s", served.model, error)  # noqa: TRY400

    def suspend(self) -> None:
        """The connection or the coordinator went: send nothing of any attempt until the next verdicts."""
        self._retry_at = None
        self._attached.clear()
        for work in self.works.values():
            work.report.suspend()
        for answer in self._grants.values():
            if not answer.done():
                answer.set_exception(_Cut())

    def offer(self) -> None:
        """Bring the credits up to date, and what the server knows of the model."""
        self._connection.offer(self.number, self._offer(self))
        self._tell_state()

    def _tell_state(self) -> None:
        welcome, serving = self._connection.welcome, self._serving
        if welcome is None or welcome.protocol < 2 or serving is None or serving.ready is self._told_ready:
            return
        state: Literal["ready", "loading"] = "ready" if serving.ready else "loading"
        since = time.time_ns() // 1000
        if self.send(ModelState(channel=self.number, state=state, since=since)):
            self._told_ready = serving.ready

    def flush(self) -> None:
        """The connection takes more again."""
        for work in list(self.works.values()):
            work.report.flush()

    def sweep(self) -> None:
        """Once in a while: repeat what may have been lost."""
        if (
            self._retry_at is not None
            and self._connection.welcome is not None
            and time.monotonic() >= self._retry_at
        ):
            self._attach()
        for work in list(self.works.values()):
            work.report.repeat()
        self.offer()

    def restore(self, server: str, record: Record) -> None:
        """Take over a result that an earlier process left behind."""
        finished = record.finished
        work = Work(
            desk=self,
            tools=self._tools,
            server=server,
            prediction=finished.prediction,
            attempt=finished.attempt,
            secret=finished.secret,
            started_at=finished.started_at or 0,
            limits=None,
        )
        work.report.suspend()
        self.works[work.key] = work
        if record.files:
            work.phase = Phase.ENDING
            self._slots.ending += 1
            self._spawn(self._live(work, work.store(record)))
        else:
            work.phase = Phase.FINISHED
            work.report.finish(finished)

    def give_back(self) -> None:
        """Refuse what is running: the agent leaves. Finished results stay on disk for its next start."""
        for work in self.works.values():
            if work.phase is Phase.RUNNING:
                self._refuse(work.key, "draining")
                work.drop()

    # --- what the coordinator says -----------------------------------------------------------------------

    def received(self, message: ToChannel) -> None:
        match message:
            case Attached():
                self._on_attached(message)
            case AttachRefused():
                log.error("%s is refused: %s", self.served.model, message.detail or message.code)
                self.suspend()
                self._retry_at = time.monotonic() + REFUSED_ATTACH_S
            case Reattach():
                self._attach()
            case Drain():
                said = (
                    "drained by an administrator: takes nothing new"
                    if message.draining
                    else "takes work again"
                )
                log.info("%s: %s", self.served.model, said)
                self._drained = message.draining
                self._changed()
            case Demand():
                self._sharing.demand(self, message.waiting)
                self._changed()
            case Dispatch():
                self._on_dispatch(message)
            case Cancel():
                self._on_cancel(message)
            case Resend():
                work = self.works.get((message.prediction, message.attempt))
                if work is not None:
                    work.report.resend(message.from_seq)
            case Ack():
                self._forget((message.prediction, message.attempt))
            case UploadTo():
                answer = self._grants.get(message.request)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case UploadRefused():
                answer = self._grants.get(message.request)
                if answer is not None and not answer.done():
                    answer.set_exception(UploadDenied(message.detail))

    def _on_attached(self, message: Attached) -> None:
        if self._serving is not None:
            log.info("serving %s (version %s)", self.served.model, self.served.version[:12])
        self._attached.set()
        verdicts = {(each.prediction, each.attempt): each for each in message.verdicts}
        for work in self._of_this_server():
            prediction, attempt = work.key
            verdict = verdicts.get(work.key, Verdict(prediction=prediction, attempt=attempt, verdict="keep"))
            if verdict.verdict == "drop":
                self._drop(work)
                continue
            if verdict.verdict == "cancel":
                work.cancel(CANCEL_GRACE_S)
            work.report.keep(verdict.from_seq)
        self.offer()

    def _on_dispatch(self, message: Dispatch) -> None:
        key = (message.prediction, message.attempt)
        held = self.works.get(key)
        # With another secret it is another attempt: of a server that was set back to an older state.
        if held is not None and not held.dropped and held.secret == message.secret:
            self._accept(held)
            return
        if self._slots.draining or self._drained:
            self._refuse(key, "draining")
            return
        serving, welcome = self._serving, self._connection.welcome
        if serving is None or welcome is None or not serving.ready:
            self._refuse(key, "unavailable")
            return
        if not nameable(message.prediction) or not nameable(welcome.server):
            log.error("%s: the server's ids are not ones that this agent takes", self.served.model)
            self._refuse(key, "unavailable")
            return
        runner = serving.take() if self._slots.free and held is None else None
        if runner is None:
            self._refuse(key, "busy")
            return
        work = Work(
            desk=self,
            tools=self._tools,
            server=welcome.server,
            prediction=message.prediction,
            attempt=message.attempt,
            secret=message.secret,
            started_at=time.time_ns() // 1000,
            limits=welcome,
            trace=message.trace,
        )
        if (setup := serving.setup_of(runner)) is not None:
            work.trail.setup(*setup)
        self.works[key] = work
        self._runners[key] = runner
        self._slots.running += 1
        self._charges[key] = (self._sharing.began(self), time.monotonic())
        self._accept(work)
        log.info("%s %s: started", self.served.model, message.prediction, extra=about(**work.ids))
        self._spawn(self._live(work, work.run(message, runner, serving.declared)))
        self._changed()

    def _on_cancel(self, message: Cancel) -> None:
        key = (message.prediction, message.attempt)
        work = self.works.get(key)
        if work is None:
            self._refuse(key, "unavailable")
        else:
            work.cancel(message.grace_s)

    # --- attempts ----------------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        return self._connection.congested

    def send(self, message: AgentMessage) -> bool:
        return self._connection.send(message)

    async def part_bytes(self) -> int:
        """Larger output files go in parts of so many bytes; 0 for none. Waits as ``grant`` does."""
        while True:
            await self._attached.wait()
            welcome = self._connection.welcome
            if welcome is not None:
                return welcome.part_bytes
            self._attached.clear()

    async def grant(self, work: Work, file: OutputFile, direct: bool, resume: str) -> UploadTo:
        """Where to put an output file, past the server if ``direct``. Waits as long as it takes to be
        attached. Raises ``UploadDenied``."""
        while True:
            await self._attached.wait()
            request = next(self._requests)
            answer: asyncio.Future[UploadTo] = asyncio.get_running_loop().create_future()
            self._grants[request] = answer
            prediction, attempt = work.key
            welcome = self._connection.welcome
            question = Upload(
                channel=self.number,
                request=request,
                prediction=prediction,
                attempt=attempt,
                secret=work.secret,
                name=file.name,
                content_type=file.content_type,
                length=file.length,
                sha256=file.sha256,
                direct=direct and welcome is not None and welcome.protocol >= 2,
            )
            if file.parts and welcome is not None and welcome.part_bytes:
                question = replace(question, part_bytes=file.part_bytes, parts=file.parts, resume=resume)
            try:
                if not self.send(question):
                    self._attached.clear()
                    continue
                async with asyncio.timeout(GRANT_S):
                    return await answer
            except (TimeoutError, _Cut):
                continue
            except FrameTooLarge as error:
                raise UploadDenied(str(error)) from None
            finally:
                del self._grants[request]

    async def hand_back(self, work: Work, why: NotTaken) -> None:
        """Refuse it once that can be told: until then every attach lists it, so that it does not count as
        lost."""
        log.info("%s %s: given back: %s", self.served.model, work.key[0], why)
        self._returning.add(work.key)
        try:
            await self._attached.wait()
            self._refuse(work.key, why.reason)
        finally:
            self._returning.discard(work.key)

    def moved(self, work: Work, before: Phase) -> None:
        """An attempt came to its next phase: its slot may be free now."""
        self._leave(work, before)
        if work.phase is Phase.ENDING:
            self._slots.ending += 1
        self._changed()

    async def _live(self, work: Work, life: Coroutine[Any, Any, None]) -> None:
        """An attempt's life, with its end told; nothing that goes wrong in it hurts the others."""
        task_is_about(**work.ids)
        try:
            await life
        except Exception:
            log.exception("%s %s: unexpected error", self.served.model, work.key[0])
            work.dropped = True
            self._refuse(work.key, "unavailable")
        finally:
            self._leave(work, work.phase)
            if work.dropped:
                self.works.pop(work.key, None)
            self._changed()
        finished = work.report.finished
        if finished is not None:
            took_s = ((finished.completed_at or 0) - work.started_at) / 1e6
            said = f": {finished.error}" if finished.error else ""
            log.info(
                "%s %s: %s after %.1f s%s", self.served.model, work.key[0], finished.status, took_s, said
            )

    def _leave(self, work: Work, phase: Phase) -> None:
        if phase is Phase.RUNNING:
            self._slots.running -= 1
            charged_s, began = self._charges.pop(work.key, (0.0, time.monotonic()))
            self._sharing.ended(self, charged_s, time.monotonic() - began)
            runner = self._runners.pop(work.key, None)
            if runner is not None and self._serving is not None:
                self._serving.give(runner)
        elif phase is Phase.ENDING:
            self._slots.ending -= 1

    def _of_this_server(self) -> list[Work]:
        welcome = self._connection.welcome
        return [
            work
            for work in self.works.values()
            if welcome is not None
            and work.server == welcome.server
            and (not work.dropped or work.key in self._returning)
        ]

    def _accept(self, work: Work) -> None:
        prediction, attempt = work.key
        self.send(
            Accepted(channel=self.number, prediction=prediction, attempt=attempt, started_at=work.started_at)
        )

    def _refuse(self, key: tuple[str, int], reason: Any) -> None:
        self.send(Refused(channel=self.number, prediction=key[0], attempt=key[1], reason=reason))

    def _drop(self, work: Work) -> None:
        if work.phase is Phase.FINISHED:
            self._forget(work.key)
        else:
            work.drop()

    def _forget(self, key: tuple[str, int]) -> None:
        """The result is delivered, or nobody wants it."""
        work = self.works.get(key)
        if work is None:
            return
        if work.phase is not Phase.FINISHED:
            work.drop()
            return
        del self.works[key]
        self._spawn(self._tools.spool.forget(work.server, key))
        if self._serving is None and not self.works:
            self.send(Detach(channel=self.number))
        self._changed()
