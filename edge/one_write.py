"""Head and body of an answer go out in one write: uvicorn makes two, and the second costs a system call and
wakes the client once more."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWrite:
    """A transport that holds what is written until there is more, or until the end of the loop's turn."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._call_soon: Callable[..., object] = asyncio.get_running_loop().call_soon
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        held = self._held
        if held is None:
            self._held = data
            self._call_soon(self._let_go)
        else:
            self._held = None
            self.transport.writelines((held, data))

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


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's, on such a transport. A websocket has the bare one again: its frames are whole."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, OneWrite(cast(asyncio.Transport, transport))))

    def handle_websocket_upgrade(self) -> None:
        self.transport = cast(OneWrite, self.transport).bare()
        super().handle_websocket_upgrade()
