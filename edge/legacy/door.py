"""The door of the workers of 2022: an ASGI application for their websockets, and what their uploads may do.

A worker is refused before the upgrade, with a status and a text: one that is accepted and then closed comes
back without a pause, thousands of times in a second, and one that is refused waits longer and longer. The
token is a part of the path: no log, list or error of ours has that path in it.
"""

import asyncio
import hashlib
import logging
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from typing import Any

from coordinator import calls
from coordinator.actor.clock import Clock, sleep
from coordinator.blobs.base import Blobs
from coordinator.blobs.errors import BlobsUnavailable
from coordinator.errors import Unavailable
from coordinator.protocol import messages as wire
from coordinator.protocol.errors import CloseCode
from coordinator.protocol.limits import ServerLimits, WireLimits
from coordinator.protocol.names import legacy_version
from coordinator.store.database import Store
from coordinator.store.errors import Invalid, NotAllowed
from coordinator.stub import Models
from edge.auth import Authenticator, Principal
from edge.errors import Problem, not_found
from edge.legacy.allowance import Allowance
from edge.legacy.connection import LegacyConnection, Worker
from edge.legacy.places import file_name, key_of_url, session_id, socket_place
from edge.refusal import refuse_upgrade

log = logging.getLogger(__name__)

REMEMBERED_FILES = 10_000
"""Uploads whose checksum need not be looked up again when a result names them."""
STORAGE_RETRY_S = 1.0
_NAME_CHARACTERS = 8


class LegacyDoor:
    """See the module. ``stop`` lets jobs come to their end, for ``drain_s``, and sends the workers away."""

    def __init__(
        self,
        *,
        store: Store,
        models: Models,
        blobs: Blobs,
        authenticator: Authenticator,
        limits: ServerLimits,
        wire_limits: WireLimits,
        public_url: str,
        clock: Clock,
    ) -> None:
        self.base = public_url.rstrip("/")
        self.result_bytes = wire_limits.result_bytes
        self.log_bytes = wire_limits.log_bytes
        self.now = clock.now
        self._store = store
        self._models = models
        self._blobs = blobs
        self._authenticator = authenticator
        self._limits = limits
        self._clock = clock
        self._id = f"2022-{secrets.token_hex(8)}"
        self._connections: dict[calls.SocketAddress, LegacyConnection] = {}
        self._tasks: dict[LegacyConnection, asyncio.Task[Any] | None] = {}
        self._by_number: defaultdict[int, set[calls.SocketAddress]] = defaultdict(set)
        self._files: OrderedDict[str, wire.StoredFile] = OrderedDict()
        self._stopping = False

    def serves(self, scope: Any) -> bool:
        """Whether the path of a websocket is one of those of 2022."""
        return socket_place(scope) is not None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        connection: LegacyConnection | None = None
        try:
            try:
                principal, worker = await self._admit(scope)
                address = calls.SocketAddress(self._id, worker.incarnation)
                connection = LegacyConnection(worker, address, self, receive, send)
                self._opened(connection)
                await self._attach(connection)
            except Unavailable as error:
                log.warning("a worker of 2022 cannot be let in now: %s", error)
                detail = "The worker cannot be let in now."
                raise Problem("unavailable", detail, retry_after_s=error.retry_after_s) from None
            await receive()  # websocket.connect
            await send({"type": "websocket.accept"})
            with self._authenticator.watch(
                principal.token,
                lambda: connection.close(CloseCode.TOKEN_REVOKED, "the token was revoked"),
                principal.generation,
            ):
                await connection.run()
        except Problem as problem:
            await refuse_upgrade(receive, send, problem)
        finally:
            if connection is not None:
                self._closed(connection)

    async def stop(self) -> None:
        """Let the jobs that run end, within ``drain_s``; then close every socket."""
        self._stopping = True
        connections = list(self._connections.values())
        await asyncio.gather(*(connection.leave(self._limits.drain_s) for connection in connections))
        tasks = [task for task in self._tasks.values() if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=2.0)

    # --- letting in ---------------------------------------------------------------------------------------

    async def _admit(self, scope: Any) -> tuple[Principal, Worker]:
        """Who dials in, registered. Raises Problem, Unavailable."""
        if self._stopping:
            raise Problem("unavailable", "The server is restarting.", retry_after_s=1.0)
        place = socket_place(scope)
        if place is None:
            raise not_found()
        session = session_id(scope["query_string"])
        if not session:
            raise Problem("bad_request", "session_id parameter required")
        principal = await self._authenticator.owner(place.secrets, scope)
        principal.require("worker")
        number = await self._register(principal, place.model)
        agent = hashlib.sha256(f"{principal.token} {session}".encode()).hexdigest()[:32]
        shown = session[:_NAME_CHARACTERS]
        if not (shown.isascii() and shown.replace("-", "").isalnum()):
            shown = agent[:_NAME_CHARACTERS]
        return principal, Worker(
            agent=f"2022-{agent}",
            name=f"{principal.name}-{shown}",
            incarnation=secrets.token_hex(8),
            model=place.model,
            version=legacy_version(place.model),
            number=number,
        )

    async def _register(self, principal: Principal, model: str) -> int:
        pool = principal.pools[0]
        try:
            await self._store.models.register(
                account=principal.account,
                pool=pool,
                model=model,
                version=legacy_version(model),
                openapi_schema=b"{}",
                cog_version="",
                allowed=principal.models,
                now=self._clock.now(),
            )
        except NotAllowed as error:
            raise Problem("not_allowed", f"{error}.") from None
        except Invalid as error:
            raise Problem("bad_request", f"{error}.") from None
        return await self._store.objects.number(pool, model)

    async def _attach(self, connection: LegacyConnection) -> None:
        worker = connection.worker
        refusal = await connection.attach()
        if refusal is not None:
            log.warning("worker %s of %s is refused: %s", worker.name, worker.model, refusal)
            detail = f"This worker gets no more jobs: {refusal}. Restart its container."
            raise Problem("distrusted", detail)

    def _opened(self, connection: LegacyConnection) -> None:
        self._connections[connection.address] = connection
        self._tasks[connection] = asyncio.current_task()
        self._by_number[connection.worker.number].add(connection.address)

    def _closed(self, connection: LegacyConnection) -> None:
        number = connection.worker.number
        connection.detach()
        del self._connections[connection.address], self._tasks[connection]
        self._by_number[number].discard(connection.address)
        if not self._by_number[number]:
            del self._by_number[number]

    # --- Sockets: what coordinators send ------------------------------------------------------------------

    def deliver(self, address: calls.SocketAddress, message: wire.ServerMessage) -> None:
        connection = self._connections.get(address)
        if connection is not None:
            connection.deliver(message)

    def lost(self, number: int) -> None:
        for address in list(self._by_number.get(number, ())):
            self._connections[address].reattach()

    # --- Doors: what connections need ---------------------------------------------------------------------

    async def attach(self, number: int, call: calls.AttachSession) -> calls.Done | calls.NotAttached:
        return await self._models.stub(number).attach(call)

    def hand_over(self, number: int, call: calls.FromAgent | calls.DetachSession | calls.MarkWorker) -> bool:
        return self._models.stub(number).hand_over(call)

    def allowance(self) -> Allowance:
        return Allowance(self._limits.legacy_job_files, self._limits.legacy_job_bytes)

    async def stored(self, model: str, urls: set[str]) -> Mapping[str, wire.StoredFile]:
        """Those of the URLs that are files of this model here. One that is no longer, or never was, is in
        there too, as a file that the coordinator will not find: then the result is not whole."""
        found = {}
        for url in urls:
            key = key_of_url(self.base, url, model)
            if key is not None:
                found[url] = self._files.get(key) or await self._look_up(key)
        return found

    async def _look_up(self, key: str) -> wire.StoredFile:
        while True:
            try:
                stat = await self._blobs.stat(key)
            except BlobsUnavailable as error:
                log.warning("storage did not answer, asking again: %s", error)
                await sleep(self._clock, STORAGE_RETRY_S)
                continue
            if stat is None:
                return wire.StoredFile(key=key, name=file_name(key), content_type="", length=0, sha256="")
            return wire.StoredFile(
                key=key,
                name=file_name(key),
                content_type=stat.content_type,
                length=stat.length,
                sha256=stat.sha256,
            )

    # --- uploads ------------------------------------------------------------------------------------------

    def upload_allowance(self, model: str) -> Allowance | None:
        """What an upload for this model counts against: the open job that may still have most; None when no
        worker of 2022 has a job of this model open."""
        open_jobs = [
            connection.allowance
            for connection in self._connections.values()
            if connection.worker.model == model and connection.busy and connection.allowance is not None
        ]
        return max(open_jobs, key=lambda each: (each.files > 0, each.bytes), default=None)

    def uploaded(self, file: wire.StoredFile) -> None:
        """A worker has stored it: its result is going to name it."""
        self._files[file.key] = file
        if len(self._files) > REMEMBERED_FILES:
            self._files.popitem(last=False)
