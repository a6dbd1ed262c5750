"""uvicorn for an ASGI application, on a socket of ours, under signals of ours."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from coordinator.protocol.limits import DoorLimits
from edge.address import BACKLOG
from edge.one_write import OneWriteProtocol

DATE_S = 1.0
"""How often the Date header is made anew."""


class AsgiServer(uvicorn.Server):
    """``serve`` returns after ``leave``, when every answer is out. It installs no signal handlers."""

    def __init__(
        self,
        app: Any,
        listener: socket.socket,
        *,
        last_answers_s: float,
        http: Any = OneWriteProtocol,
        keep_alive_s: float = DoorLimits().keep_alive_s,
        ws: Any = "none",
        **more: Any,
    ) -> None:
        """``last_answers_s`` is what clients have for reading their answers after ``leave``. ``http`` makes
        the protocol of a connection; ``ws`` and ``more`` are uvicorn's, for websockets and TLS."""
        config = uvicorn.Config(
            app,
            loop="none",
            http=http,
            ws=ws,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            **more,
        )
        # Fractions of a second are fine where they are used; only the annotations say int.
        config.timeout_keep_alive = keep_alive_s  # type: ignore[assignment]
        config.timeout_graceful_shutdown = last_answers_s  # type: ignore[assignment]
        super().__init__(config)
        self.listening = asyncio.Event()
        self._listener = listener
        self._leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets or [self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        # uvicorn's own looks ten times a second whether it is to leave.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATE_S):
                    await self._leaving.wait()

    def leave(self, *, at_once: bool = False) -> None:
        """Close what is idle, and let answers that are under way end, or nothing."""
        self.should_exit = True
        self.force_exit = self.force_exit or at_once
        self._leaving.set()
