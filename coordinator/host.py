"""The coordinators of one process: namespace, storage, projector and the effects that objects ask for."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote

from coordinator import calls
from coordinator.actor.clock import Clock, sleep
from coordinator.actor.namespace import Namespace
from coordinator.actor.placement import Placement
from coordinator.actor.storage import Storages
from coordinator.blobs.base import Blobs
from coordinator.blobs.errors import BlobsUnavailable
from coordinator.blobs.signing import Signer
from coordinator.book import Project
from coordinator.errors import Unavailable
from coordinator.grants import Grants
from coordinator.letters import Try
from coordinator.long_inputs import LongDispatches
from coordinator.model import Model
from coordinator.overflow.errand import GATEWAY, Errand
from coordinator.prediction import Document, decode
from coordinator.projector import Projector
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from coordinator.protocol.log_lines import about
from coordinator.protocol.traces import Tell, parent_of
from coordinator.spans import spans_of
from coordinator.store.database import Store
from coordinator.stub import Models
from coordinator.watch import Watch

log = logging.getLogger(__name__)

BLOB_RETRY_S = 1.0


class Sockets(Protocol):
    """Where agents' sockets are (``edge/gateway.py``)."""

    def deliver(self, address: calls.SocketAddress, message: wire.ServerMessage) -> None:
        """Put into the socket's outgoing buffer. Unknown sessions are ignored."""

    def lost(self, number: int) -> None:
        """The object has no instance now: its sessions attach again."""


class OverflowDoor(Protocol):
    """Where predictions go that run at a provider (``overflow/door.py``)."""

    def called(self, number: int) -> None:
        """This object wants it to attach."""

    def deliver(self, address: calls.SocketAddress, message: wire.ServerMessage | Errand) -> None:
        """What a coordinator says to its session there."""


class Webhooks(Protocol):
    """What sends webhooks (``webhooks/sender.py``). Neither method raises but for our own mistakes."""

    async def render(self, dialect: str, document: Document) -> bytes:
        """The body. Raises Unavailable when it cannot be made now."""

    async def send(self, account: str, url: str, message: str, body: bytes) -> Try:
        """One try, signed by the account's secret."""


class Coordinators:
    """Start returns once calls are taken; ``namespace.woken`` tells when all that was active is back."""

    def __init__(
        self,
        *,
        store: Store,
        storages: Storages,
        placement: Placement,
        blobs: Blobs,
        signer: Signer,
        clock: Clock,
        limits: ServerLimits,
        on_fatal: Callable[[Exception], None],
        tell: Tell | None = None,
    ) -> None:
        """``tell`` takes the spans of what has ended."""
        self._tell = tell
        self._blobs = blobs
        self._signer = signer
        self._clock = clock
        self._limits = limits
        self._on_fatal = on_fatal
        self._grants = Grants(blobs, signer, clock, limits)
        self._long_dispatches = LongDispatches(blobs, clock, self._deliver)
        self._sockets: Sockets | None = None
        self._webhooks: Webhooks | None = None
        self._overflow: OverflowDoor | None = None
        self.watch = Watch(limits.metrics_models)
        self.namespace = Namespace(
            actor=lambda number: Model(number, limits, self._link, tally=self.watch.tally(number)),
            storages=storages,
            placement=placement,
            registry=store.objects,
            outside=self,
            clock=clock,
            idle_s=limits.idle_s,
            wake_concurrency=limits.wake_concurrency,
            most_live=limits.live_models,
            on_commit=self.watch.commits.add,
            on_leaving=self.watch.leaves,
        )
        self.models = Models(self.namespace, limits.call_s)
        self.projector = Projector(store.index, self.models, store.models.count_runs)

    def connect(
        self, sockets: Sockets, webhooks: Webhooks | None = None, overflow: OverflowDoor | None = None
    ) -> None:
        """Say where agents' sockets are, what sends webhooks, and where what overflows goes, before
        ``start``."""
        self._sockets = sockets
        self._webhooks = webhooks
        self._overflow = overflow

    async def start(self) -> None:
        await self.projector.start()
        await self.namespace.start()

    async def stop(self) -> None:
        """Make everything durable, then end. Safe twice."""
        await self.namespace.stop()
        await self._grants.stop()
        await self._long_dispatches.stop()
        await self.projector.stop()

    # --- Outside: what objects send and ask for -----------------------------------------------------------

    def send(self, address: Any, message: Any) -> None:
        if isinstance(address, Project):
            document: Document = message
            if document.status.terminal:
                self._grants.ended(document.id)
                if not address.again:
                    self._ended(address.number, document)
            self.projector.add(address.number, document, recent=not address.again)
        elif not self._long_dispatches.send(address, message):
            self._deliver(address, message)

    def _ended(self, number: int, document: Document) -> None:
        self.watch.tally(number).ends(document)
        if log.isEnabledFor(logging.DEBUG):
            attempt = document.attempts[-1].number if document.attempts else 0
            trace = parent_of(document.trace)
            ids = about(
                prediction=document.id,
                attempt=attempt,
                model=document.model,
                trace_id="" if trace is None else trace.trace_id,
            )
            log.debug("prediction %s: %s", document.id, document.error_code or document.status, extra=ids)
        if self._tell is not None and document.trace:
            for span in spans_of(document):
                self._tell(span)

    def _deliver(self, address: Any, message: Any) -> None:
        if address.gateway == GATEWAY:
            if self._overflow is not None:
                self._overflow.deliver(address, message)
        elif self._sockets is not None:
            self._sockets.deliver(address, message)

    def lost(self, number: int) -> None:
        if self._sockets is not None:
            self._sockets.lost(number)

    def fatal(self, error: Exception) -> None:
        self._on_fatal(error)

    async def perform(self, number: int, effect: Any) -> calls.AnyCall | None:
        if isinstance(effect, calls.CheckFiles):
            missing = await self._check_files(effect.message)
            return calls.FilesChecked(address=effect.address, message=effect.message, missing=missing)
        if isinstance(effect, calls.GrantUpload):
            self.send(effect.address, await self._grants.answer(effect.upload, effect.attempt_key))
        if isinstance(effect, calls.CallOverflow) and self._overflow is not None:
            self._overflow.called(number)
        if self._webhooks is not None:
            return await self._mail(self._webhooks, effect)
        return None

    async def _mail(self, webhooks: Webhooks, effect: Any) -> calls.AnyCall | None:
        if isinstance(effect, calls.RenderLetter):
            body, error = await self._rendered(webhooks, effect.dialect, decode(effect.snapshot))
            return calls.LetterRendered(id=effect.id, body=body, error=error)
        if isinstance(effect, calls.SendLetter):
            attempt = await webhooks.send(effect.account, effect.url, effect.message, effect.body)
            return calls.LetterSent(id=effect.id, attempt=attempt)
        if isinstance(effect, calls.SendProgress):
            document = effect.document
            body, _ = await self._rendered(webhooks, document.dialect, document)
            if body is not None:
                message = f"msg_{secrets.token_hex(16)}"
                with suppress(TimeoutError):  # its receiver is busy: it is dropped, for the end must not wait
                    async with asyncio.timeout(self._limits.webhook_s):
                        await webhooks.send(document.account, document.webhook, message, body)
            return calls.ProgressSent(id=effect.id)
        return None

    async def _rendered(
        self, webhooks: Webhooks, dialect: str, document: Document
    ) -> tuple[bytes | None, str]:
        """(body, why there is none). One that cannot be made must not cost the object its instance."""
        try:
            return await webhooks.render(dialect, document), ""
        except Unavailable as error:
            ids = about(prediction=document.id, model=document.model)
            log.warning("the webhook of %s cannot be made now: %s", document.id, error, extra=ids)
        except Exception:
            ids = about(prediction=document.id, model=document.model)
            log.exception("the webhook of %s cannot be made", document.id, extra=ids)
        return None, "the server could not make the request"

    async def _check_files(self, message: wire.Finished) -> str | None:
        """What is wrong with the files of a result; None when storage has each as the agent says."""
        for file in message.files:
            stored = await self._stat(file.key)
            if stored is None:
                return f"the output file {file.name} is not in storage"
            if stored != (file.length, file.sha256):
                return f"the output file {file.name} in storage is not the one that the worker made"
        return None

    async def _stat(self, key: str) -> tuple[int, str] | None:
        """(length, SHA-256); None when there is no such blob. Asks until storage answers: whether a result is
        whole is not for a storage to decide that is away. The prediction's run limit bounds it."""
        while True:
            try:
                stat = await self._blobs.stat(key)
            except BlobsUnavailable as error:
                log.warning("storage did not answer, asking again: %s", error)
                await sleep(self._clock, BLOB_RETRY_S)
            else:
                return None if stat is None else (stat.length, stat.sha256)

    def _link(self, key: str) -> str:
        """Where an agent fetches an input file that a client uploaded."""
        expires_at = self._clock.now() + int(self._limits.upload_ttl_s * 1e6)
        name = unquote(PurePosixPath(key).name)
        return self._signer.get_path(
            key, name=name, content_type="application/octet-stream", expires_at=expires_at
        )
