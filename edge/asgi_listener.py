"""uvicorn for a bare ASGI application, on a socket of ours, under signals of ours."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from edge.address import BACKLOG

KEEP_ALIVE_S = 75


class AsgiServer(uvicorn.Server):
    """``serve`` returns after ``leave``, when every answer is out. It installs no signal handlers."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        super().__init__(config)
        self._listener = listener

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets or [self._listener])

    def leave(self) -> None:
        """Close what is idle, and let answers that are under way end."""
        self.should_exit = True
