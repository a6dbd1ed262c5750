"""The main thread's end of the agent's line: the session of the wire, and who is told what comes in.

Dialling, the socket and the heartbeat are the line's, on a thread of its own (``line.py``).
"""

import asyncio
import logging
import ssl
from typing import Protocol

from coordinator.protocol.agent_session import ToChannel
from coordinator.protocol.channels import ChannelState
from coordinator.protocol.errors import ChannelNotOpen, ProtocolViolation
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.messages import AgentMessage, Attached, Closing, Hello, Welcome
from gpu_agent.line import Line, Tell, on_loop
from gpu_agent.link import Link

log = logging.getLogger("cogflare.agent")


class Listener(Protocol):
    """Who acts on what the server says. No method may raise."""

    def connected(self, welcome: Welcome) -> None: ...
    def received(self, message: ToChannel) -> None: ...
    def writable(self) -> None: ...
    def disconnected(self) -> None: ...


class Connection:
    """``run`` it as a task; ``close`` it before that task is cancelled."""

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
        self._base_url = base_url
        self._token = token
        self._hello = hello
        self._listener = listener
        self._tls = tls
        self._limits = limits or WireLimits()
        self._over = asyncio.Event()
        """The line has come to its end."""
        self._line: Line | None = None
        self._link: Link | None = None

    @property
    def welcome(self) -> Welcome | None:
        """What the server said of itself; None while there is no open connection."""
        return self._link.welcome if self._link else None

    @property
    def congested(self) -> bool:
        """True while progress had better wait; ``Listener.writable`` tells when not."""
        return self._link is None or self._link.congested

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
        """Keep a connection until closed or cancelled."""
        loop = asyncio.get_running_loop()
        tell = Tell(
            opened=on_loop(loop, self._opened),
            frame=on_loop(loop, self._frame),
            writable=on_loop(loop, self._writable),
            ended=on_loop(loop, self._ended),
        )
        self._line = Line(
            base_url=self._base_url,
            token=self._token,
            hello=self._hello,
            tell=tell,
            tls=self._tls,
            limits=self._limits,
            ended=on_loop(loop, self._over.set),
        )
        self._line.start()
        try:
            await self._over.wait()
        finally:
            await self.close(0.0)

    async def close(self, flush_s: float = 2.0) -> None:
        """Send what waits, for at most ``flush_s``, and close. No new connection is made. Safe to repeat."""
        if self._line is not None:
            self._line.leave(flush_s)
            await self._over.wait()

    # --- what the line tells ------------------------------------------------------------------------------

    def _opened(self, link: Link) -> None:
        self._link = link

    def _frame(self, link: Link, frame: str | bytes) -> None:
        try:
            if link.violation is None:
                for message in link.session.receive(frame, asyncio.get_running_loop().time()):
                    self._act(link, message)
        except ProtocolViolation as violation:
            link.fail(violation)
        finally:
            link.handled(len(frame))

    def _act(self, link: Link, message: Welcome | Closing | ToChannel) -> None:
        if isinstance(message, Welcome):
            link.welcome = message
            self._listener.connected(message)
        elif not isinstance(message, Closing):
            link.useful = link.useful or isinstance(message, Attached)
            self._listener.received(message)

    def _writable(self, link: Link) -> None:
        if link is self._link:
            self._listener.writable()

    def _ended(self, link: Link) -> None:
        self._link = None
        if link.welcome is not None:
            self._listener.disconnected()
