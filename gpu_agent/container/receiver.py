"""What Cog servers reach of the agent: a small HTTP server for webhooks and input files.

Every path holds 192 random bits and is forgotten with its prediction; all else is 404. A container's last
webhook often comes after its answer, when nobody needs it any more: it is taken and dropped, so that the
container has nothing to complain of. The containers that use it share it.
"""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import mimetypes
import os
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import h11

from gpu_agent import disk

log = logging.getLogger("cogflare.agent")

Hook = Callable[[bytes], Awaitable[None]]
"""Takes the body of a webhook; the answer waits for it."""

READ_BYTES = 256 * 1024
IDLE_S = 90.0
"""A connection on which nothing moves for this long is closed."""
LATE = 256
"""The paths of so many predictions are known for a while after their end."""


class CannotListen(OSError):
    """The address of the callback URL cannot be listened on; ``strerror`` says why."""


class _TooLarge(Exception):
    pass


class Receiver:
    """``open`` and ``close`` are counted: the first opens, the last closes."""

    def __init__(self, url: str = "", *, body_bytes: int) -> None:
        """``url`` is how containers reach it; empty for those that share this machine's loopback."""
        self._wanted = url.rstrip("/")
        self._body_bytes = body_bytes
        self._users = 0
        self._base = ""
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._hooks: dict[str, Hook] = {}
        self._files: dict[str, Path] = {}
        self._late: deque[str] = deque(maxlen=LATE)

    @property
    def base(self) -> str:
        """Its URL, as containers are told it."""
        return self._base

    async def open(self) -> None:
        """Raises ``CannotListen``."""
        self._users += 1
        if self._server is not None:
            return
        host, port = _address(self._wanted)
        try:
            self._server = await self._listen(host, port)
        except OSError as error:
            self._users -= 1
            # asyncio's own text has the address in it again.
            number = error.errno or 0
            why = os.strerror(number) if number > 0 else error.strerror or error
            raise CannotListen(
                number, f"port {port} of --cog-callback-url cannot be listened on: {why}"
            ) from None
        self._base = self._wanted or f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _listen(self, host: str | None, port: int) -> asyncio.Server:
        try:
            return await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
        # The address of something in front of this machine, which passes on what it gets.
        return await asyncio.start_server(self._accept, None, port)

    async def close(self) -> None:
        self._users -= 1
        if self._users > 0 or self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def hook(self, hook: Hook) -> str:
        """A new URL for webhooks; ``forget`` it."""
        return self._base + _remember(self._hooks, hook)

    def file(self, path: Path) -> str:
        """A new URL for a file of this disk; ``forget`` it."""
        return self._base + _remember(self._files, path, "/" + quote(path.name, safe=""))

    def forget(self, url: str) -> None:
        path = url.removeprefix(self._base)
        if self._hooks.pop(path, None) is not None:
            self._late.append(path)
        self._files.pop(path, None)

    # --- one connection -----------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(_Connection(reader, writer))
        except (OSError, TimeoutError, h11.ProtocolError, asyncio.CancelledError):
            pass  # the other side went away or talks nonsense, or we leave
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, connection: "_Connection") -> None:
        while (request := await connection.request()) is not None:
            method, path = request.method.decode(), request.target.decode()
            try:
                body = await connection.body(self._body_bytes)
            except _TooLarge:
                await connection.reply(413, b"too large (--cog-answer-bytes)", last=True)
                return
            if (hook := self._hooks.get(path)) is not None:
                if method == "POST":
                    await self._call(hook, body)
                await connection.reply(200 if method == "POST" else 405)
            elif (file := self._files.get(path)) is not None and method in ("GET", "HEAD"):
                await connection.send_file(file, whole=method == "GET")
            else:
                await connection.reply(200 if method == "POST" and path in self._late else 404)
            if not connection.next():
                return

    async def _call(self, hook: Hook, body: bytes) -> None:
        try:
            await hook(body)
        except Exception:
            log.exception("unexpected error in a webhook")


class _Connection:
    """HTTP/1.1 on one socket, the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def request(self) -> h11.Request | None:
        """The next one; None when there are no more."""
        event = await self._event()
        return event if isinstance(event, h11.Request) else None

    async def body(self, limit_bytes: int) -> bytes:
        """Of the request that was read last. Raises ``_TooLarge``."""
        if self._http.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        parts, length = [], 0
        while isinstance(event := await self._event(), h11.Data):
            length += len(event.data)
            if length > limit_bytes:
                raise _TooLarge
            parts.append(bytes(event.data))
        return b"".join(parts)

    async def reply(self, status: int, text: bytes = b"", *, last: bool = False) -> None:
        headers = [("Content-Length", str(len(text)))] + ([("Connection", "close")] if last else [])
        await self._send(h11.Response(status_code=status, headers=headers))
        if text:
            await self._send(h11.Data(data=text))
        await self._send(h11.EndOfMessage())

    async def send_file(self, path: Path, *, whole: bool) -> None:
        try:
            size = (await asyncio.to_thread(path.stat)).st_size
        except OSError:
            await self.reply(404)
            return
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = [("Content-Length", str(size)), ("Content-Type", kind)]
        await self._send(h11.Response(status_code=200, headers=headers))
        if whole:
            async for chunk in _exactly(disk.read(path), size):
                await self._send(h11.Data(data=chunk))
        await self._send(h11.EndOfMessage())

    def next(self) -> bool:
        """Get ready for another request; False when the connection is over."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(IDLE_S):
                self._http.receive_data(await self._reader.read(READ_BYTES))
        return event

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            async with asyncio.timeout(IDLE_S):
                await self._writer.drain()


async def _exactly(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The chunks, as long as they make no more than was announced."""
    async with contextlib.aclosing(chunks):  # type: ignore[type-var]
        async for chunk in chunks:
            if chunk[:size]:
                yield chunk[:size]
            size -= len(chunk)
            if size <= 0:
                return


def _remember(known: "dict[str, Hook] | dict[str, Path]", value: object, tail: str = "") -> str:
    path = f"/{secrets.token_urlsafe(24)}{tail}"
    known[path] = value  # type: ignore[assignment]
    return path


def _address(url: str) -> tuple[str | None, int]:
    """Where to listen: on the address that the URL names, or on all of them when it names none of ours."""
    if not url:
        return "127.0.0.1", 0
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 0
    if host == "localhost":
        return "127.0.0.1", port
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host)), port
    return None, port
