"""The agent's line to its server: dials, keeps the heartbeat, dials again for ever, on a thread of its own.

Nothing that the main thread does, be it an output of a million items to look through, delays a beat: this
thread needs Python only for a moment now and then. Whatever a frame means is the main thread's business.
"""

import asyncio
import contextlib
import logging
import os
import random
import re
import signal
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

from coordinator.protocol.errors import CloseCode, ProtocolViolation
from coordinator.protocol.frames import SERVER_TAGS, decode_frame, encode_frame
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.messages import (
    PATH,
    SUBPROTOCOL,
    Beat,
    Closing,
    Hello,
    Welcome,
    decode_from_server,
)
from gpu_agent.link import Link

log = logging.getLogger("cogflare.agent")

FIRST_RETRY_S = 0.2
LAST_RETRY_S = 30.0
REFUSED_RETRY_S = 30.0
"""Pause after an answer that trying again soon cannot change."""
SETTLED_S = 1.0
"""A connection that lived this long was a good one: the next failure starts again with a short pause."""
BRIEF_FAILURES, MOST_FAILURES = 3, 20
"""How many failures in a row make the pause longer. It stays short when the server has said when to come
back, or the connection served a model, if only for a moment."""
TRANSPORT_BYTES = 256 * 1024 * 1024
"""What the transport takes of a frame; the session holds the server to the agreed limit."""

REFUSALS = {
    HTTPStatus.UNAUTHORIZED: "the server does not know this token, or it was revoked",
    HTTPStatus.FORBIDDEN: "this token may not serve models: it needs the scope worker",
    HTTPStatus.NOT_FOUND: (
        f"there is no Cogflare server at this URL: it has no {PATH}, and this runtime speaks Cogflare's "
        f"agent protocol, {SUBPROTOCOL}"
    ),
}
SLOW_CODES = {
    CloseCode.TOKEN_REVOKED: "the token was revoked",
    CloseCode.REPLACED: "another agent with the same identity has connected",
    CloseCode.UNSUPPORTED: "server and agent have no protocol version in common",
}


@dataclass(frozen=True, slots=True)
class Tell:
    """What the main thread is told, each by a function that may be called from any thread, in order."""

    opened: Callable[[Link], object]
    """A connection is there; its hello is on the way."""
    frame: Callable[[Link, str | bytes], object]
    writable: Callable[[Link], object]
    """A congestion is over."""
    ended: Callable[[Link], object]


@dataclass(frozen=True, slots=True)
class _Ended:
    """Why there is no connection, and the least pause before the next try."""

    reason: str
    pause_s: float = 0.0
    told: bool = False
    """The server itself has said when to come back, or the connection was of use: why stay away long?"""


class Line:
    """``start`` it, and ``close`` it; ``ended`` is called, on its thread, when that has come to its end."""

    def __init__(
        self,
        *,
        base_url: str,
        token: str,
        hello: Hello,
        tell: Tell,
        tls: ssl.SSLContext,
        limits: WireLimits,
        ended: Callable[[], object],
    ) -> None:
        scheme, _, rest = base_url.partition("://")
        self._url = ("wss://" if scheme == "https" else "ws://") + rest + PATH
        self._shown = base_url
        self._token = token
        self._hello = hello
        self._tell = tell
        self._tls = tls if scheme == "https" else None
        self._limits = limits
        self._when_ended = ended
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving = asyncio.Event()
        self._leave_at = float("inf")
        self._flushing: asyncio.Timeout | None = None
        self._link: Link | None = None
        self._socket: ClientConnection | None = None
        self._said = ""
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)

    def start(self) -> None:
        """Signals stay with the main thread: runners speak by them."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._started.wait()

    def leave(self, flush_s: float) -> None:
        """Write what waits, for at most ``flush_s``, and end; ``ended`` tells when. From the main thread.
        Said again, the shorter time holds."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._ask_to_leave, flush_s)

    # --- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except Exception:
            log.exception("unexpected error on the connection's thread")
        finally:
            self._started.set()
            self._when_ended()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started.set()
        failures = 0
        while not self._leaving.is_set():
            began = self._loop.time()
            ended = await self._once_or_leave()
            settled = self._loop.time() - began > SETTLED_S
            failures = 1 if settled else min(failures + 1, BRIEF_FAILURES if ended.told else MOST_FAILURES)
            if self._leaving.is_set():
                return
            jitter_s = random.uniform(0, min(LAST_RETRY_S, FIRST_RETRY_S * 2**failures))
            if ended.reason != self._said:
                self._said = ended.reason
                log.warning(
                    "no connection to %s: %s; trying again until there is one", self._shown, ended.reason
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ended.pause_s + jitter_s):
                    await self._leaving.wait()

    def _ask_to_leave(self, flush_s: float) -> None:
        at = asyncio.get_running_loop().time() + flush_s
        self._leave_at = min(at, self._leave_at)
        self._leaving.set()
        if self._flushing is not None:
            self._flushing.reschedule(self._leave_at)

    async def _once_or_leave(self) -> _Ended:
        """One connection, until its end or until we leave."""
        connection = asyncio.ensure_future(self._once())
        leaving = asyncio.ensure_future(self._leaving.wait())
        await asyncio.wait((connection, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not connection.done():
            await self._flush()
            if self._socket is not None:
                await self._socket.close(CloseCode.GOING_AWAY, "the agent stops")
            else:
                connection.cancel()
        await asyncio.wait((connection,))
        return _Ended("the agent stops") if connection.cancelled() else connection.result()

    async def _flush(self) -> None:
        link = self._link
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._leave_at) as self._flushing:
                while link is not None and link is self._link and not link.empty:
                    link.written.clear()
                    await link.written.wait()
        self._flushing = None

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
            return _Ended(_said(error))
        try:
            if socket.subprotocol != SUBPROTOCOL:
                return _Ended(f"the server does not speak {SUBPROTOCOL}", REFUSED_RETRY_S)
            return await self._converse(socket)
        finally:
            await socket.close()

    async def _converse(self, socket: ClientConnection) -> _Ended:
        link = Link(self._hello, self._limits, asyncio.get_running_loop().time())
        ended = _Ended("the connection was cut")
        link.put(link.session.greet())
        self._link, self._socket = link, socket
        self._tell.opened(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(socket, link))
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
            link.written.set()
            self._tell.ended(link)
        return replace(ended, told=ended.told or link.useful)

    async def _read(self, socket: ClientConnection, link: Link) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            frame = await socket.recv()
            link.liveness.heard(clock())
            if not link.greeted.is_set() or len(frame) < _SMALL:
                self._look(link, frame, clock())
            link.read(len(frame))
            self._tell.frame(link, frame)
            while link.behind:
                link.caught_up.clear()
                await link.caught_up.wait()

    def _look(self, link: Link, frame: str | bytes, now: float) -> None:
        """The heartbeat begins with the welcome, and a farewell says when to come back."""
        if link.greeted.is_set() and b'"closing"' not in _bytes(frame):
            return
        message = decode_frame(frame, decode_from_server, SERVER_TAGS, TRANSPORT_BYTES)
        if isinstance(message, Welcome) and 0 < message.beat_s < message.silence_s:
            link.liveness.greeted(message.beat_s, message.silence_s, now)
            link.greeted.set()
            self._said = ""
            log.info("connected to %s as %s", self._shown, self._hello.name)
        elif isinstance(message, Closing):
            link.closing = message

    async def _write(self, socket: ClientConnection, link: Link) -> None:
        while True:
            await link.ready.wait()
            link.ready.clear()
            if link.violation is not None:
                raise link.violation
            while (frame := link.take()) is not None:
                await socket.send(frame, text=True)
                if link.wrote(len(frame)):
                    self._tell.writable(link)
            link.written.set()


def _said(error: Exception) -> str:
    """Why nothing was connected to. asyncio puts the addresses that it tried into one text, with numbers."""
    numbers = dict.fromkeys(map(int, re.findall(r"\[Errno (\d+)\]", str(error))))
    return ", ".join(map(os.strerror, numbers)) or str(error) or type(error).__name__


_SMALL = 4096
"""A farewell is shorter than this."""
_BEAT = encode_frame(Beat(), TRANSPORT_BYTES)


async def _tick(link: Link) -> None:
    clock = asyncio.get_running_loop().time
    greeted = False
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(link.liveness.next_tick_at()):
                if not greeted:
                    await link.greeted.wait()
                    greeted = True  # the greeting has set new times: ask again
                    continue
                await asyncio.get_running_loop().create_future()
        if link.behind:
            link.liveness.heard(clock())  # nothing is read now: that is no silence of the server's
        if link.liveness.tick(clock()):
            link.put(_BEAT)


def _bytes(frame: str | bytes) -> bytes:
    return frame if isinstance(frame, bytes) else frame.encode()


def _refused(error: websockets.InvalidStatus) -> _Ended:
    status = error.response.status_code
    if status in REFUSALS:
        return _Ended(f"{REFUSALS[HTTPStatus(status)]} (HTTP {status})", REFUSED_RETRY_S)
    after = error.response.headers.get("Retry-After", "")
    told = after.isdigit()
    return _Ended(f"the server answered HTTP {status}", min(float(after), 60.0) if told else 0.0, told)


def _closed(error: BaseException, closing: Closing | None) -> _Ended:
    if closing is not None:
        return _Ended(closing.reason, closing.retry_s, told=True)
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


def on_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., object]) -> Callable[..., None]:
    """The function, to be called from any thread: it runs on this loop, after what was called before."""

    def call(*arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is left to tell
            loop.call_soon_threadsafe(function, *arguments)

    return call
