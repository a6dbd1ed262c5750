"""One agent's websocket: frames between the socket and the coordinators behind its channels.

The protocol's rules are in ``coordinator/protocol/server_session.py``; this is the I/O around them. The
messages of a channel are handed over in order; while its coordinator is being attached they wait here.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.protocol import messages as wire
from coordinator.protocol.errors import CloseCode, NotSendable, ProtocolViolation, Silent
from coordinator.protocol.server_session import ChannelMessage, Greeted, ServerSession
from coordinator.store.errors import Invalid, NotAllowed, StoreUnavailable
from edge.auth import Principal

log = logging.getLogger(__name__)

ATTACH_RETRY_S = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Waits between tries to attach to a coordinator that cannot come to life, with a full disk for example."""
OUTGOING_FRAMES = 10_000
OUTGOING_BYTES = 128 * 1024 * 1024
"""What an agent may be behind in reading before its connection is given up."""
ARRIVAL_S = 5.0
"""An agent that has attached nothing this long after its hello has nothing to attach yet."""
EARLY_MESSAGES = 1000
"""Messages that may wait for an attach; then the agent is not read on until it is through."""


@dataclass(slots=True, eq=False)
class Channel:
    """One model of the agent. ``number`` is its coordinator's, once attached or being attached."""

    id: int
    address: calls.SocketAddress
    number: int | None = None
    attaching: asyncio.Task[None] | None = None
    lost: bool = False
    """The coordinator's instance went while attaching: it may or may not have been the one attached to."""
    inbox: list[wire.AgentMessage] = field(default_factory=list)
    """What came in and has not been handed over: at the end of the loop's turn, or once it is attached."""


class Doors(Protocol):
    """What a connection needs of the gateway."""

    async def register(self, principal: Principal, hello: wire.Hello, attach: wire.Attach) -> int:
        """Register the version, and the GPUs beside it; give the coordinator's number."""

    async def attach(self, number: int, call: calls.AttachSession) -> None: ...

    def hand_over(self, number: int, *posted: calls.FromAgent | calls.DetachSession) -> bool: ...

    def opened(self, channel: Channel, connection: "AgentConnection") -> None: ...

    def closed(self, channel: Channel) -> None: ...


class AgentConnection:
    """Lives as long as the socket: ``run`` returns when it is closed, whoever closed it."""

    def __init__(
        self,
        *,
        gateway: str,
        name: str,
        principal: Principal,
        session: ServerSession,
        doors: Doors,
        receive: Any,
        send: Any,
        arrived: Callable[[], None],
    ) -> None:
        """``arrived`` is called when the agent has attached a model, or has none to attach yet."""
        self._gateway = gateway
        self._id = secrets.token_hex(8)
        self._name = name
        self._principal = principal
        self._session = session
        self._doors = doors
        self._receive = receive
        self._send = send
        self._arrived = arrived
        self._hello: wire.Hello | None = None
        self._channels: dict[int, Channel] = {}
        self._outgoing: deque[bytes] = deque()
        self._outgoing_bytes = 0
        self._outgoing_ready = asyncio.Event()
        self._greeted = asyncio.Event()
        self._closing: tuple[CloseCode, str] | None = None

    async def run(self) -> None:
        writer = asyncio.create_task(self._write())
        ticker = asyncio.create_task(self._tick())
        reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            attaching = [c.attaching for c in self._channels.values() if c.attaching is not None]
            for task in (reader, writer, ticker, *attaching):
                task.cancel()
            for channel in self._channels.values():
                self._leave(channel)
            results = await asyncio.gather(reader, writer, ticker, *attaching, return_exceptions=True)
            for error in results:
                if isinstance(error, Exception):
                    log.error("agent %s: its connection broke", self._name, exc_info=error)

    def deliver(self, message: wire.ServerMessage) -> None:
        """Send a message; one that the channel's state forbids has crossed another and is dropped."""
        try:
            self._put(self._session.send(message))
        except NotSendable as error:
            log.debug("agent %s: not sent: %s", self._name, error)

    def close(self, code: CloseCode, reason: str) -> None:
        """Close the socket once what is to be sent before has been sent."""
        if self._closing is None:
            self._closing = (code, reason)
            self._outgoing_ready.set()

    def reattach(self, channel: Channel) -> None:
        """The coordinator has no instance that knows this session: have the agent attach again."""
        if channel.attaching is None:
            self.deliver(wire.Reattach(channel=channel.id))
        else:
            channel.lost = True

    # --- the socket ---------------------------------------------------------------------------------------

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                return
            data = event.get("text") or event.get("bytes") or ""
            try:
                for one in self._session.receive(data, loop.time()):
                    self._on(one)
            except ProtocolViolation as error:
                log.warning("agent %s: %s", self._name, error)
                self.close(error.close_code, error.reason)
            await self._let_attach()

    async def _let_attach(self) -> None:
        """Read on once an attach is through, when much has come in while it was not."""
        for channel in self._channels.values():
            if channel.attaching is not None and len(channel.inbox) >= EARLY_MESSAGES:
                await asyncio.wait((channel.attaching,))

    async def _write(self) -> None:
        with suppress(OSError):  # the agent is gone, in the middle of what it was sent
            while self._closing is None or self._outgoing:
                await self._outgoing_ready.wait()
                self._outgoing_ready.clear()
                while self._outgoing:
                    frame = self._outgoing.popleft()
                    await self._send({"type": "websocket.send", "text": frame.decode()})
                    self._outgoing_bytes -= len(frame)
            code, reason = self._closing
            await self._send({"type": "websocket.close", "code": int(code), "reason": reason})

    def _put(self, frame: bytes) -> None:
        if len(self._outgoing) >= OUTGOING_FRAMES or self._outgoing_bytes > OUTGOING_BYTES:
            self.close(CloseCode.TOO_LARGE, "the agent does not read what it is sent")
            return
        self._outgoing.append(frame)
        self._outgoing_bytes += len(frame)
        self._outgoing_ready.set()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._session.next_tick_at()):
                    await self._greeted.wait()
                self._greeted = asyncio.Event()  # the greeting has set new times: ask again
                continue
            try:
                for frame in self._session.tick(loop.time()):
                    self._put(frame)
            except Silent as error:
                log.warning("agent %s: %s", self._name, error)
                self.close(error.close_code, error.reason)
                return

    # --- messages -----------------------------------------------------------------------------------------

    def _on(self, event: Greeted | ChannelMessage) -> None:
        if isinstance(event, Greeted):
            self._hello = event.hello
            self._name = event.hello.name
            self.deliver(event.welcome)
            self._greeted.set()
            asyncio.get_running_loop().call_later(ARRIVAL_S, self._arrived)
            return
        channel = self._channels.get(event.channel)
        if channel is None:
            address = calls.SocketAddress(self._gateway, f"{self._id}.{event.channel}")
            channel = self._channels[event.channel] = Channel(event.channel, address)
            self._doors.opened(channel, self)
        if isinstance(event.message, wire.Attach):
            self._hand_over(channel)
            channel.attaching = asyncio.create_task(self._attach(channel, event.message))
            return
        if not channel.inbox and channel.attaching is None:
            asyncio.get_running_loop().call_soon(self._hand_over, channel)
        channel.inbox.append(event.message)

    def _hand_over(self, channel: Channel) -> None:
        """What has arrived together is one turn of the coordinator."""
        if channel.attaching is not None or not channel.inbox:
            return
        address = channel.address
        posted = [calls.FromAgent(address=address, message=message) for message in channel.inbox]
        channel.inbox.clear()
        if channel.number is not None and not self._doors.hand_over(channel.number, *posted):
            self.reattach(channel)

    async def _attach(self, channel: Channel, attach: wire.Attach) -> None:
        assert self._hello is not None
        call = calls.AttachSession(address=channel.address, hello=self._hello, attach=attach)
        try:
            await self._attach_until_it_works(channel, attach, call)
        except (NotAllowed, Invalid) as error:
            channel.attaching = None
            channel.inbox.clear()
            self._arrived()
            code = "not_allowed" if isinstance(error, NotAllowed) else "invalid"
            self.deliver(wire.AttachRefused(channel=channel.id, code=code, detail=str(error)))
            return
        self._arrived()
        channel.attaching = None
        if channel.lost:
            channel.inbox.clear()
            self.reattach(channel)
        else:
            self._hand_over(channel)

    async def _attach_until_it_works(
        self, channel: Channel, attach: wire.Attach, call: calls.AttachSession
    ) -> None:
        tries = 0
        while True:
            try:
                channel.number = await self._doors.register(self._principal, call.hello, attach)
                channel.lost = False
                await self._doors.attach(channel.number, call)
            except (Unavailable, StoreUnavailable) as error:
                if not tries:
                    log.warning("agent %s: attaching %s: %s", self._name, attach.model, error)
                await asyncio.sleep(ATTACH_RETRY_S[min(tries, len(ATTACH_RETRY_S) - 1)])
                tries += 1
            else:
                return

    def _leave(self, channel: Channel) -> None:
        self._hand_over(channel)
        self._doors.closed(channel)
        if channel.number is not None:
            with suppress(Unavailable):
                self._doors.hand_over(channel.number, calls.DetachSession(address=channel.address))
