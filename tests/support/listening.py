"""The application on a socket, in a thread of its own, for clients that block."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from coordinator.protocol.limits import ServerLimits
from edge.address import bind
from edge.listener import http_server
from edge.settings import ServeSettings
from tests.support.edge import TestServer, running

T = TypeVar("T")
START_S = 30.0


class Listening:
    """A server that runs elsewhere: ask it over HTTP at ``url``, or have something done in its loop."""

    def __init__(self, url: str, server: TestServer, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.server = server
        self._loop = loop

    def do(self, work: Callable[[TestServer], Awaitable[T]]) -> T:
        async def doing() -> T:
            return await work(self.server)

        return asyncio.run_coroutine_threadsafe(doing(), self._loop).result(START_S)


@contextmanager
def listening(path: Path, limits: ServerLimits, slots: int = 1) -> Iterator[Listening]:
    """A server as ``cogflare serve`` runs it, with one model and one scripted agent."""
    with bind("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ready = threading.Event()
        found: list[Any] = []
        over = asyncio.Event()

        async def serve() -> None:
            async with running(path, limits, slots) as server:
                http = http_server(server.app, listener, ServeSettings(limits=limits), None)
                serving = asyncio.create_task(http.serve())
                await http.listening.wait()
                found.append(Listening(url, server, asyncio.get_running_loop()))
                ready.set()
                await over.wait()
                http.leave(at_once=True)
                await serving

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:
                found.append(error)
                ready.set()
                raise

        thread = threading.Thread(target=run, name="server")
        thread.start()
        assert ready.wait(START_S)
        try:
            if isinstance(found[0], BaseException):
                raise found[0]
            yield found[0]
        finally:
            if isinstance(found[0], Listening):
                found[0]._loop.call_soon_threadsafe(over.set)
            thread.join(START_S)
