"""The server's end of an agent's websocket for tests: a real socket and session, and a test that decides."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TypeVar

import msgspec
import websockets
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from coordinator.protocol import messages as m
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.server_session import ChannelMessage, Greeted, ServerSession

M = TypeVar("M", bound=m.Message)
DEADLINE_S = 20.0
_BEAT = m.encode(m.Beat()).decode()


class WireServer:
    """Talks to one agent at a time. What the agent says waits in order until a test asks for it."""

    def __init__(self) -> None:
        self.server_id = "srv_test"
        self.limits = WireLimits()
        self.protocol = 1
        """The newest version that it speaks: 1 as servers of the first release, up to 3."""
        self.refusals: list[HTTPStatus] = []
        """Answers to the next ones who want to connect, instead of an upgrade."""
        self.beats = 0
        self.files: dict[str, bytes] = {}
        self.hellos: list[m.Hello] = []
        self.tokens: list[str] = []
        self.port = 0
        self._listening: Server | None = None
        self._inbox: list[m.Message] = []
        self._news = asyncio.Condition()
        self._socket: ServerConnection | None = None
        self._session: ServerSession | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def connected(self) -> bool:
        return self._socket is not None

    async def start(self) -> None:
        self._listening = await serve(
            self._agent,
            "127.0.0.1",
            self.port,
            subprotocols=[websockets.Subprotocol(m.SUBPROTOCOL)],
            process_request=self._request,
            ping_interval=None,
            compression=None,
            max_size=self.limits.frame_bytes,
        )
        self.port = next(iter(self._listening.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """No server there any more; ``start`` brings it back on the same port."""
        if self._listening is not None:
            self.cut()
            self._listening.close()
            await self._listening.wait_closed()
            self._listening = None

    def cut(self) -> None:
        """Cut the connection without a word."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def close(self, code: int, reason: str = "") -> None:
        assert self._socket is not None
        await self._socket.close(code, reason)

    async def send(self, message: m.ServerMessage) -> None:
        assert self._socket is not None
        assert self._session is not None
        await self._socket.send(self._session.send(message), text=True)

    async def next(self, kind: type[M], **fields: object) -> M:
        """The next message of this type with these fields; those of other types keep waiting."""

        def find() -> M | None:
            for message in self._inbox:
                if isinstance(message, kind) and all(getattr(message, k) == v for k, v in fields.items()):
                    self._inbox.remove(message)
                    return message
            return None

        async with self._news, _deadline(f"{kind.__name__} {fields}", self._inbox):
            while (found := find()) is None:
                await self._news.wait()
            return found

    async def disconnected(self) -> None:
        async with self._news, _deadline("the agent to go", self._inbox):
            while self._socket is not None:
                await self._news.wait()

    def pending(self, kind: type[M]) -> list[M]:
        """Messages of this type that came and were not asked for yet."""
        return [message for message in self._inbox if isinstance(message, kind)]

    def forget(self) -> None:
        """Forget what came and was not asked for."""
        self._inbox.clear()

    async def attach(self, *verdicts: m.Verdict, model: str | None = None) -> m.Attach:
        """Wait for an attach and answer it."""
        message = await (self.next(m.Attach) if model is None else self.next(m.Attach, model=model))
        await self.send(m.Attached(channel=message.channel, verdicts=verdicts))
        return message

    async def dispatch(
        self, prediction: str, input: object, *, channel: int = 0, attempt: int = 1, **more
    ) -> None:
        await self.send(
            m.Dispatch(
                channel=channel,
                prediction=prediction,
                attempt=attempt,
                input=msgspec.Raw(msgspec.json.encode(input)),
                **{"run_s": 60.0, "secret": f"secret-{prediction}-{attempt}", **more},
            )
        )

    async def ack(self, finished: m.Finished) -> None:
        await self.send(
            m.Ack(channel=finished.channel, prediction=finished.prediction, attempt=finished.attempt)
        )

    async def events(self, prediction: str, count: int) -> list[m.Event]:
        """The next events of a prediction, at least so many."""
        found: list[m.Event] = []
        while len(found) < count:
            found += (await self.next(m.Progress, prediction=prediction)).events
        return found

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path in self.files:
            response = connection.respond(HTTPStatus.OK, "")
            response.body = self.files[request.path]
            del response.headers["Content-Length"]
            response.headers["Content-Length"] = str(len(response.body))
            return response
        if self.refusals:
            return connection.respond(self.refusals.pop(0), "no")
        if request.path != m.PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "no")
        self.tokens.append(request.headers.get("Authorization", ""))
        return None

    async def _agent(self, socket: ServerConnection) -> None:
        loop = asyncio.get_running_loop()
        session = ServerSession(server_id=self.server_id, limits=self.limits, now=loop.time())
        try:
            async for frame in socket:
                self.beats += frame == _BEAT
                for heard in session.receive(frame, loop.time()):
                    if isinstance(heard, Greeted):
                        self.hellos.append(heard.hello)
                        self._socket, self._session = socket, session
                        spoken = min(self.protocol, heard.welcome.protocol)
                        welcome = msgspec.structs.replace(
                            heard.welcome,
                            protocol=spoken,
                            part_bytes=heard.welcome.part_bytes if spoken >= 3 else 0,
                        )
                        await socket.send(session.send(welcome), text=True)
                    elif isinstance(heard, ChannelMessage):
                        self._inbox.append(heard.message)
                    async with self._news:
                        self._news.notify_all()
        except websockets.ConnectionClosedError:
            pass
        finally:
            if self._socket is socket:
                self._socket = None
            async with self._news:
                self._news.notify_all()


@contextlib.asynccontextmanager
async def _deadline(what: str, inbox: list[m.Message]) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield
    except TimeoutError:
        raise AssertionError(f"still waiting for {what}; here are {inbox}") from None


@contextlib.asynccontextmanager
async def wire_server() -> AsyncIterator[WireServer]:
    server = WireServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
