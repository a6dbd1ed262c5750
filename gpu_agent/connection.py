"""The agent's link to its server: dials, keeps the heartbeat, and dials again for ever.

It owns the socket and the session of the wire, and tells a ``Listener`` what comes in. Nothing here blocks:
predictors are other processes and files are handled in threads, so no work delays a beat.
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import websockets
from websockets.asyncio.client import ClientConnection, connect

from coordinator.protocol.agent_session import AgentSession, ToChannel
from coordinator.protocol.channels import ChannelState
from coordinator.protocol.errors import ChannelNotOpen, CloseCode, ProtocolViolation
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.messages import PATH, SUBPROTOCOL, AgentMessage, Closing, Hello, Welcome

log = logging.getLogger("cogflare.agent")

FIRST_RETRY_S = 0.2
LAST_RETRY_S = 30.0
REFUSED_RETRY_S = 30.0
"""Pause after an answer that trying again soon cannot change."""
SETTLED_S = 1.0
"""A connection that lived this long was a good one: the next failure starts again with a short pause."""
CONGESTED_BYTES = 1024 * 1024
"""More than this waiting for the socket: progress is held back, so that results and cancels get through."""
TRANSPORT_BYTES = 256 * 1024 * 1024
"""What the transport takes of a frame; the session holds the server to the agreed limit."""

REFUSALS = {
    HTTPStatus.UNAUTHORIZED: "the server does not know this token, or it was revoked",
    HTTPStatus.FORBIDDEN: "this token may not serve models: it needs the scope worker",
    HTTPStatus.NOT_FOUND: "there is no Cogflare server at this URL",
}
SLOW_CODES = {
    CloseCode.TOKEN_REVOKED: "the token was revoked",
    CloseCode.REPLACED: "another agent with the same identity has connected",
    CloseCode.UNSUPPORTED: "server and agent have no protocol version in common",
}


class Listener(Protocol):
    """Who acts on what the server says. No method may block or raise."""

    def connected(self, welcome: Welcome) -> None: ...
    def received(self, message: ToChannel) -> None: ...
    def writable(self) -> None: ...
    def disconnected(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Ended:
    """Why there is no connection, and the least pause before the next try."""

    reason: str
    pause_s: float = 0.0


class _Link:
    """One connection: its session and what waits to be written."""

    def __init__(self, hello: Hello, limits: WireLimits, now: float) -> None:
        self.session = AgentSession(hello=hello, limits=limits, now=now)
        self.welcome: Welcome | None = None
        self.waiting: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.wake = asyncio.Event()
        self.drained = asyncio.Event()
        self.greeted = asyncio.Event()
        self.closing: Closing | None = None

    def put(self, frame: bytes) -> None:
        self.waiting.append(frame)
        self.waiting_bytes += len(frame)
        self.wake.set()
        self.drained.clear()


class Connection:
    """Holds the link. ``run`` it as a task; ``close`` it before that task is cancelled."""

    def __init__(
        self,
        *,
        base_url: str,
        token: str,
        hello: Hello,
        listener: Listener,
        tls: ssl.SSLContext,
        limits: WireLimits | None = None,
    ) -> None:
        scheme, _, rest = base_url.partition("://")
        self._url = ("wss://" if scheme == "https" else "ws://") + rest + PATH
        self._shown = base_url
        self._token = token
        self._hello = hello
        self._listener = listener
        self._tls = tls if scheme == "https" else None
        self._limits = limits or WireLimits()
        self._link: _Link | None = None
        self._socket: ClientConnection | None = None
        self._said = ""
        self._stopping = False

    @property
    def welcome(self) -> Welcome | None:
        """What the server said of itself; None while there is no open connection."""
        return self._link.welcome if self._link else None

    @property
    def congested(self) -> bool:
        """True while progress had better wait; ``Listener.writable`` tells when not."""
        return self._link is None or self._link.waiting_bytes > CONGESTED_BYTES

    def channel(self, channel: int) -> ChannelState:
        return self._link.session.channel(channel) if self._link else ChannelState.NEW

    def send(self, message: AgentMessage) -> bool:
        """Queue a message. Raises ``FrameTooLarge``.

        False when there is no connection or the channel's state forbids it: the next attach repeats what
        matters.
        """
        link = self._link
        if link is None:
            return False
        try:
            link.put(link.session.send(message))
        except ChannelNotOpen as error:
            log.debug("not sent: %s", error)
            return False
        return True

    def offer(self, channel: int, free: int) -> None:
        """Let the server use this many slots on a channel from now on."""
        if self._link is not None:
            credit = self._link.session.offer(channel, free)
            if credit is not None:
                self.send(credit)

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        failures = 0
        clock = asyncio.get_running_loop().time
        while not self._stopping:
            began = clock()
            ended = await self._once()
            failures = 1 if clock() - began > SETTLED_S else failures + 1
            if self._stopping:
                return
            pause_s = ended.pause_s + random.uniform(
                0, min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(failures, 20))
            )
            if ended.reason != self._said:
                self._said = ended.reason
                log.warning(
                    "no connection to %s: %s; trying again until there is one", self._shown, ended.reason
                )
            await asyncio.sleep(pause_s)

    async def close(self, flush_s: float = 2.0) -> None:
        """Send what waits, for at most ``flush_s``, and close. No new connection is made. Safe to repeat."""
        self._stopping = True
        if self._link is not None and self._socket is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(flush_s):
                    await self._link.drained.wait()
            await self._socket.close(CloseCode.GOING_AWAY, "the agent stops")

    async def _once(self) -> _Ended:
        """One connection, from dialling to its end."""
        try:
            socket = await connect(
                self._url,
                ssl=self._tls,
                subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
                additional_headers={"Authorization": f"Bearer {self._token}"},
                user_agent_header=f"cogflare-agent {self._hello.software}".strip(),
                compression=None,
                ping_interval=None,
                max_size=TRANSPORT_BYTES,
                close_timeout=2.0,
                open_timeout=15.0,
            )
        except websockets.InvalidStatus as error:
            return _refused(error)
        except (OSError, TimeoutError, websockets.WebSocketException, EOFError, ImportError) as error:
            return _Ended(str(error) or type(error).__name__)
        try:
            if socket.subprotocol != SUBPROTOCOL:
                return _Ended(f"the server does not speak {SUBPROTOCOL}", REFUSED_RETRY_S)
            return await self._converse(socket)
        finally:
            await socket.close()

    async def _converse(self, socket: ClientConnection) -> _Ended:
        clock = asyncio.get_running_loop().time
        link = _Link(self._hello, self._limits, clock())
        ended = _Ended("the connection was cut")
        link.put(link.session.greet())
        self._link, self._socket = link, socket
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_write(socket, link, self._listener))
                group.create_task(_tick(link))
                group.create_task(self._read(socket, link))
        except* ProtocolViolation as broken:
            violation = _first(broken)
            assert isinstance(violation, ProtocolViolation)
            ended = _Ended(violation.reason)
            with contextlib.suppress(websockets.WebSocketException, OSError):
                await socket.close(violation.close_code, violation.reason)
        except* websockets.ConnectionClosed as closed:
            ended = _closed(_first(closed), link.closing)
        except* Exception:
            log.exception("unexpected error on the connection")
            ended = _Ended("an unexpected error on our side")
        finally:
            self._link = self._socket = None
            if link.welcome is not None:
                self._listener.disconnected()
        return ended

    async def _read(self, socket: ClientConnection, link: _Link) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            frame = await socket.recv()
            for message in link.session.receive(frame, clock()):
                if isinstance(message, Welcome):
                    link.welcome = message
                    link.greeted.set()
                    self._said = ""
                    log.info("connected to %s as %s", self._shown, self._hello.name)
                    self._listener.connected(message)
                elif isinstance(message, Closing):
                    link.closing = message
                else:
                    self._listener.received(message)


async def _write(socket: ClientConnection, link: _Link, listener: Listener) -> None:
    while True:
        await link.wake.wait()
        link.wake.clear()
        while link.waiting:
            was_congested = link.waiting_bytes > CONGESTED_BYTES
            frame = link.waiting.popleft()
            await socket.send(frame, text=True)
            link.waiting_bytes -= len(frame)
            if was_congested and link.waiting_bytes <= CONGESTED_BYTES:
                listener.writable()
        link.drained.set()


async def _tick(link: _Link) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(link.session.next_tick_at()):
                await link.greeted.wait()
                link.greeted.clear()
                continue
        for frame in link.session.tick(clock()):
            link.put(frame)


def _refused(error: websockets.InvalidStatus) -> _Ended:
    status = error.response.status_code
    if status in REFUSALS:
        return _Ended(f"{REFUSALS[HTTPStatus(status)]} (HTTP {status})", REFUSED_RETRY_S)
    after = error.response.headers.get("Retry-After", "")
    return _Ended(f"the server answered HTTP {status}", min(float(after), 60.0) if after.isdigit() else 0.0)


def _closed(error: BaseException, closing: Closing | None) -> _Ended:
    if closing is not None:
        return _Ended(closing.reason, closing.retry_s)
    frame = error.rcvd if isinstance(error, websockets.ConnectionClosed) else None
    if frame is None:
        return _Ended("the connection was cut")
    if frame.code in SLOW_CODES:
        return _Ended(SLOW_CODES[CloseCode(frame.code)], REFUSED_RETRY_S)
    return _Ended(frame.reason or f"the server closed the connection ({frame.code})")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
