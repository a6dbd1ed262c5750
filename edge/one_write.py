"""Fewer writes than uvicorn makes, each of which costs a system call and wakes the other end: an answer's
head and body go out together, and so do all frames that one turn of the loop has made for a websocket."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

GATHERED_BYTES = 64 * 1024
CUT_OFF = "cogflare.cut_off"
"""In the scope of a request: a function that ends its answer at once, with some last bytes."""
GONE = "cogflare.gone"
"""In the scope of a request: a function that says whether its connection is closed by now."""
LINGER_S = 30.0
"""How long a reader that was cut off has for what was sent to it."""


class OneWrite:
    """A transport that holds an answer's head until there is more, or until the end of the loop's turn."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._call_soon: Callable[..., object] = asyncio.get_running_loop().call_soon
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        held = self._held
        if held is not None:
            self._held = None
            self.transport.writelines((held, data))
        elif data.startswith(b"HTTP/"):
            self._held = data
            self._call_soon(self._let_go)
        else:
            self.transport.write(data)

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self.transport.write(held)

    def bare(self) -> asyncio.Transport:
        """The transport without this, once everything is in it."""
        self._let_go()
        return self.transport

    def close(self) -> None:
        self._let_go()
        self.transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class Gathered:
    """A transport that holds all that is written until the end of the loop's turn, unless it is much."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._call_soon: Callable[..., object] = asyncio.get_running_loop().call_soon
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, data: bytes) -> None:
        if not self._held:
            self._call_soon(self._let_go)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > GATHERED_BYTES:  # the transport is to say when its reader is behind
            self._let_go()

    def _let_go(self) -> None:
        if self._held:
            held, self._held, self._held_bytes = self._held, [], 0
            self.transport.write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        self._let_go()
        self.transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's, on such transports."""

    _closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, OneWrite(cast(asyncio.Transport, transport))))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[CUT_OFF] = self._cut_off  # type: ignore[literal-required]
        self.scope[GONE] = self._is_gone  # type: ignore[literal-required]

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        super().connection_lost(exc)

    def _is_gone(self) -> bool:
        return self._closed

    def _cut_off(self, last: bytes) -> None:
        """End an answer of unknown length whose reader may not be reading: nothing waits for it."""
        self.cycle.disconnected = True
        transport = self.transport
        transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(last), last))
        transport.close()
        self.loop.call_later(LINGER_S, transport.abort)

    def handle_websocket_upgrade(self) -> None:
        bare = cast(OneWrite, self.transport).bare()
        self.transport = cast(asyncio.Transport, Gathered(bare))
        super().handle_websocket_upgrade()
