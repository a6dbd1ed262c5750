"""A small HTTP server on loopback for tests: each path has a function that answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: bool = False
    """Send the head and half of the body, then nothing more."""
    cut: bool = False
    """Close without a word."""


ACCEPT_STEPS = 8
"""More turns of the loop than lie between a connection's arrival and the first line of what serves it."""

Handler = Callable[[Request], Answer | Awaitable[Answer]]


class HttpServer:
    def __init__(self) -> None:
        self.handler: Handler = lambda request: Answer(404)
        self.requests: list[Request] = []
        self.port = 0
        self.open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        try:
            await self._answer(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            self.open.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                method, path, _ = first.split(" ")
                headers = {
                    k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                request = Request(method, path, headers, body)
                self.requests.append(request)
                answer = self.handler(request)
                if not isinstance(answer, Answer):
                    answer = await answer
                if answer.cut:
                    break
                fields = {"Content-Length": str(len(answer.body)), **answer.headers}
                text = "".join(f"{k}: {v}\r\n" for k, v in fields.items())
                writer.write(f"HTTP/1.1 {answer.status} X\r\n{text}\r\n".encode())
                if answer.hang:
                    writer.write(answer.body[: len(answer.body) // 2])
                    await writer.drain()
                    await reader.read()
                    break
                writer.write(answer.body)
                await writer.drain()


@contextlib.asynccontextmanager
async def http_server(handler: Handler) -> AsyncIterator[HttpServer]:
    server = HttpServer()
    server.handler = handler
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for _ in range(ACCEPT_STEPS):
            await asyncio.sleep(0)  # what is canceled before it begins closes nothing
        for task in tuple(server.open):
            task.cancel()
        await asyncio.gather(*server.open)
