"""The agents' door: an ASGI application for ``/v1/workers/websocket`` that owns the sockets of this process.

A connection is refused before the upgrade, with a status and a problem document, or it is accepted and kept:
when a coordinator's instance goes, its channels attach to the next one while the socket stays.
"""

import asyncio
import logging
import random
import secrets
from collections import defaultdict
from typing import Any

from coordinator import calls
from coordinator.actor.clock import Clock
from coordinator.errors import Unavailable
from coordinator.protocol import messages as wire
from coordinator.protocol.errors import CloseCode
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.names import without_train
from coordinator.protocol.server_session import ServerSession
from coordinator.store.database import Store
from coordinator.stub import Models
from edge.agent_connection import AgentConnection, Channel
from edge.auth import Authenticator, Principal
from edge.errors import Problem
from edge.refusal import refuse_upgrade

log = logging.getLogger(__name__)

CLOSING_RETRY_S = 0.5
"""What a restart takes at least: agents stay away for that long."""
RETURNS_PER_S = 200
"""Agents that are asked to come back in one second after a restart: many are spread over more of them."""
FULL_RETRY_S = 3.0
"""Agents that found too many others connecting come back within this time."""


class Gateway:
    """See the module. ``stop`` tells every agent to come back later, and returns once they are gone."""

    def __init__(
        self,
        *,
        store: Store,
        models: Models,
        authenticator: Authenticator,
        wire_limits: WireLimits,
        clock: Clock,
    ) -> None:
        self._store = store
        self._models = models
        self._authenticator = authenticator
        self._limits = wire_limits
        self._clock = clock
        self._id = secrets.token_hex(8)
        self._connections: dict[AgentConnection, asyncio.Task[Any] | None] = {}
        self._channels: dict[calls.SocketAddress, tuple[Channel, AgentConnection]] = {}
        self._by_number: defaultdict[int, set[calls.SocketAddress]] = defaultdict(set)
        self._arriving: set[_Arrival] = set()
        """Connections that have not attached yet: they cost most."""
        self._stopping = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        arrival = _Arrival(self._arriving)
        try:
            await self._serve(scope, receive, send, arrival)
        finally:
            arrival.over()

    async def _serve(self, scope: Any, receive: Any, send: Any, arrival: "_Arrival") -> None:
        try:
            principal = await self._admit(scope)
        except Problem as problem:
            await refuse_upgrade(receive, send, problem)
            return
        except Unavailable as error:
            log.warning("an agent's token could not be looked up: %s", error)
            detail = "The token cannot be looked up now."
            await refuse_upgrade(
                receive, send, Problem("unavailable", detail, retry_after_s=error.retry_after_s)
            )
            return
        await receive()  # websocket.connect
        await send({"type": "websocket.accept", "subprotocol": wire.SUBPROTOCOL})
        session = ServerSession(
            server_id=self._store.server_id, limits=self._limits, now=asyncio.get_running_loop().time()
        )
        connection = AgentConnection(
            gateway=self._id,
            name=principal.name,
            principal=principal,
            session=session,
            doors=self,
            receive=receive,
            send=send,
            arrived=arrival.over,
        )
        self._connections[connection] = asyncio.current_task()
        try:
            with self._authenticator.watch(
                principal.token,
                lambda: connection.close(CloseCode.TOKEN_REVOKED, "the token was revoked"),
                principal.generation,
            ):
                await connection.run()
        finally:
            del self._connections[connection]

    async def stop(self) -> None:
        """Close every socket; agents connect again by themselves."""
        self._stopping = True
        reason = "the server is restarting"
        tasks = [task for task in self._connections.values() if task is not None]
        spread_s = len(self._connections) / RETURNS_PER_S
        for connection in list(self._connections):
            retry_s = CLOSING_RETRY_S + random.uniform(0.0, spread_s)
            connection.deliver(wire.Closing(reason=reason, retry_s=retry_s))
            connection.close(CloseCode.GOING_AWAY, reason)
        if tasks:
            await asyncio.wait(tasks, timeout=2.0)

    async def _admit(self, scope: Any) -> Principal:
        if self._stopping:
            raise Problem("unavailable", "The server is restarting.", retry_after_s=1.0)
        if len(self._arriving) > self._limits.handshakes:
            retry_s = random.uniform(1.0, FULL_RETRY_S)
            raise Problem("unavailable", "Too many agents connect at once.", retry_after_s=retry_s)
        principal = await self._authenticator.principal(scope)
        principal.require("worker")
        if wire.SUBPROTOCOL not in scope.get("subprotocols", ()):
            detail = f"Agents speak the websocket subprotocol {wire.SUBPROTOCOL}; update the agent."
            raise Problem("bad_request", detail)
        return principal

    # --- Sockets: what coordinators send -------------------------------------------------------------------

    @property
    def connected(self) -> int:
        """How many agents are."""
        return len(self._connections)

    def deliver(self, address: calls.SocketAddress, message: wire.ServerMessage) -> None:
        found = self._channels.get(address)
        if found is None:
            return
        _, connection = found
        connection.deliver(message)
        if isinstance(message, wire.Closing):
            connection.close(CloseCode.REPLACED, message.reason)

    def lost(self, number: int) -> None:
        for address in list(self._by_number.get(number, ())):
            channel, connection = self._channels[address]
            connection.reattach(channel)

    # --- Doors: what connections need ----------------------------------------------------------------------

    async def register(self, principal: Principal, hello: wire.Hello, attach: wire.Attach) -> int:
        pool, model = principal.pools[0], without_train(attach.model)
        if attach.state == "loading":
            await self._store.models.check_registration(
                account=principal.account,
                pool=pool,
                model=model,
                version=attach.version,
                allowed=principal.models,
            )
            return await self._store.objects.number(pool, attach.model)
        await self._store.models.register(
            account=principal.account,
            pool=pool,
            model=model,
            version=attach.version,
            openapi_schema=bytes(attach.openapi_schema),
            cog_version=attach.cog_version,
            allowed=principal.models,
            now=self._clock.now(),
        )
        gpus = [(gpu.kind, gpu.memory_bytes) for gpu in hello.gpus]
        await self._store.models.seen(pool, model, gpus, self._clock.now())
        return await self._store.objects.number(pool, attach.model)

    async def attach(self, number: int, call: calls.AttachSession) -> None:
        self._by_number[number].add(call.address)
        await self._models.stub(number).attach(call)

    def hand_over(self, number: int, *posted: calls.FromAgent | calls.DetachSession) -> bool:
        return self._models.stub(number).hand_over(*posted)

    def opened(self, channel: Channel, connection: AgentConnection) -> None:
        self._channels[channel.address] = (channel, connection)

    def closed(self, channel: Channel) -> None:
        self._channels.pop(channel.address, None)
        if channel.number is not None:
            addresses = self._by_number[channel.number]
            addresses.discard(channel.address)
            if not addresses:
                del self._by_number[channel.number]


class _Arrival:
    """One connection that is not yet at work. Counts until ``over``, which may be said again."""

    def __init__(self, arriving: "set[_Arrival]") -> None:
        self._arriving = arriving
        arriving.add(self)

    def over(self) -> None:
        self._arriving.discard(self)
