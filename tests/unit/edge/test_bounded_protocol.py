"""What a connection is held to, over real sockets to the server as ``cogflare serve`` runs it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from coordinator.protocol.limits import DoorLimits, ServerLimits
from edge.address import bind
from edge.asgi_listener import AsgiServer
from edge.listener import http_server
from edge.settings import ServeSettings
from tests.support.edge import MODEL, TestServer
from tests.support.waiting import until

PATIENCE_S = 10.0
GET = b"GET /healthz HTTP/1.1\r\nHost: h\r\n"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])

    @property
    def detail(self) -> str:
        return str(json.loads(self.body)["detail"])


class Connection:
    """A client that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> "Connection":
        self.writer.write(data)
        await self.writer.drain()
        return self

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(head[0].split()[1]), headers, body)

    async def ended(self) -> bool:
        """Whether the server closes the connection, without another word."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class Listening:
    """A server, and connections to it that end with the test."""

    def __init__(self, port: int, http: AsgiServer) -> None:
        self.port = port
        self.http = http
        self.seats: Any = http.config.http.keywords["door"].seats  # type: ignore[union-attr]
        self._open: list[Connection] = []

    async def connection(self) -> Connection:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", self.port))
        self._open.append(connection)
        return connection

    async def asked(self, data: bytes) -> Connection:
        return await (await self.connection()).say(data)

    async def close(self) -> None:
        for connection in self._open:
            await connection.close()


Start = Callable[..., Awaitable[Listening]]


@asynccontextmanager
async def listening(
    app: Any, limits: DoorLimits, trusted: tuple[str, ...] = ("127.0.0.0/8",)
) -> AsyncIterator[Listening]:
    with bind("127.0.0.1", 0) as listener:
        settings = ServeSettings(door=limits, trusted_proxy=trusted, limits=ServerLimits(drain_s=1.0))
        http = http_server(app, listener, settings, None)
        serving = asyncio.create_task(http.serve())
        await http.listening.wait()
        server = Listening(listener.getsockname()[1], http)
        yield server
        await server.close()
        await until(lambda: not http.server_state.connections, "all connections are closed", PATIENCE_S)
        http.leave(at_once=True)
        await serving


async def test_a_url_that_is_too_long(server: TestServer) -> None:
    async with listening(server.app, DoorLimits(url_bytes=300)) as door:
        fits = await door.asked(b"GET /healthz?" + b"x" * 280 + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await fits.answer()).status == 200
        over = await door.asked(b"GET /healthz?" + b"x" * 300 + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = await over.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (414, "url_too_long", "close")
        assert "300 bytes (url_bytes)" in answer.detail
        assert await over.ended()
        endless = await door.asked(b"GET /" + b"x" * 1000)
        assert (await endless.answer()).status == 414


async def test_headers_that_are_too_large_or_too_many(server: TestServer) -> None:
    async with listening(server.app, DoorLimits(header_bytes=2048, header_count=12)) as door:
        fits = await door.asked(GET + b"X: " + b"x" * 1900 + b"\r\n\r\n")
        assert (await fits.answer()).status == 200
        large = await (await door.asked(GET + b"X: " + b"x" * 2100 + b"\r\n\r\n")).answer()
        assert (large.status, large.code) == (431, "headers_too_large")
        assert "12 headers (header_count)" in large.detail
        assert "2048 bytes (header_bytes)" in large.detail
        many = await (
            await door.asked(GET + b"".join(b"X%d: 1\r\n" % n for n in range(12)) + b"\r\n")
        ).answer()
        assert many.status == 431


async def test_a_header_that_never_ends_is_not_kept(server: TestServer) -> None:
    async with listening(server.app, DoorLimits()) as door:
        endless = await door.asked(GET + b"X: ")
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 1 << 26:
                await endless.say(b"x" * 65_536)
                sent += 65_536
        assert sent < 1 << 25


async def test_an_endless_header_is_answered(server: TestServer) -> None:
    async with listening(server.app, DoorLimits()) as door:
        endless = await door.asked(GET + b"X: ")
        for _ in range(12):
            await endless.say(b"x" * 4096)
            await asyncio.sleep(0)
        assert (await endless.answer()).status == 431


async def test_what_follows_a_body_is_no_header(server: TestServer) -> None:
    async with listening(server.app, DoorLimits(header_count=12)) as door:
        token = server.token.encode()
        chunked = (
            b"POST /v1/predictions/x/cancel HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        )
        smuggled = await door.asked(chunked + b"Authorization: Bearer " + token + b"\r\n\r\n")
        assert (await smuggled.answer()).status == 401
        many = await door.asked(chunked + b"".join(b"X%d: 1\r\n" % n for n in range(20)))
        assert (await many.answer()).status == 431
        assert await many.ended()
        later = await door.asked(chunked)
        assert (await later.answer()).status == 401
        await later.say(b"".join(b"X%d: 1\r\n" % n for n in range(20)))
        assert await later.ended()
        endless = await door.asked(chunked[:-3] + b"0\r\nX: ")
        assert (await endless.answer()).status == 401
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await endless.say(b"x" * 4096)
                    await asyncio.sleep(0)  # what is sent may all be in the kernel's buffers by now


async def test_who_says_nothing_or_too_little_is_sent_away(server: TestServer) -> None:
    async with listening(server.app, DoorLimits(head_s=0.1)) as door:
        assert await (await door.connection()).ended()
        assert await (await door.asked(b"\r\n\r\n")).ended()
        slow = await door.asked(GET)
        answer = await slow.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert "0.1 s (head_s)" in answer.detail
        assert await slow.ended()
        dripping = await door.connection()
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await dripping.say(b"\r\n")
                    await asyncio.sleep(0.01)


async def test_each_request_of_a_connection_has_that_time(server: TestServer) -> None:
    async with listening(server.app, DoorLimits(head_s=0.2)) as door:
        connection = await door.connection()
        for _ in range(3):
            await connection.say(GET[:10])
            await asyncio.sleep(0.1)
            await connection.say(GET[10:] + b"\r\n")
            assert (await connection.answer()).status == 200
        await connection.say(GET[:10])
        assert (await connection.answer()).status == 408


async def test_an_idle_connection_is_closed(server: TestServer) -> None:
    async with listening(server.app, DoorLimits(keep_alive_s=0.1)) as door:
        connection = await door.asked(GET + b"\r\n")
        assert (await connection.answer()).status == 200
        assert await connection.ended()


def creation(server: TestServer, length: int, more: bytes = b"") -> bytes:
    return (
        f"POST /v1/models/{MODEL}/predictions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n"
    ).encode() + more


async def test_a_body_that_comes_too_slowly(server: TestServer) -> None:
    limits = DoorLimits(head_s=5.0, body_window_s=0.2, body_rate_bytes=100)
    async with listening(server.app, limits) as door:
        slow = await door.asked(creation(server, 1000) + b"\r\n{")
        answer = await slow.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert "100 bytes a second (body_rate_bytes)" in answer.detail
        assert await slow.ended()

        body = b'{"input": {"text": "' + b"x" * 400 + b'"}}'
        steady = await door.asked(creation(server, len(body)) + b"\r\n")
        for start in range(0, len(body), 40):
            await steady.say(body[start : start + 40])
            await asyncio.sleep(0.05)
        assert (await steady.answer()).status == 201


async def test_a_client_that_waits_for_leave_to_send_is_not_slow(server: TestServer) -> None:
    async with listening(server.app, DoorLimits()) as door:
        body = b'{"input": {"text": "x"}}'
        polite = await door.asked(creation(server, len(body), b"Expect: 100-continue\r\n\r\n"))
        assert (await polite.answer()).status == 100
        await polite.say(body)
        assert (await polite.answer()).status == 201


async def test_a_body_that_was_refused_is_not_read_for_ever(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.bounded_protocol.IGNORED_BODY_S", 0.2)
    async with listening(server.app, DoorLimits()) as door:
        large = await door.asked(creation(server, 1 << 30) + b"\r\n{")
        answer = await large.answer()
        assert (answer.status, answer.code) == (413, "too_large")
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await large.say(b"x" * 1000)
                    await asyncio.sleep(0.01)


async def test_a_refused_body_that_ends_leaves_the_connection_in_use(server: TestServer) -> None:
    async with listening(server.app, DoorLimits()) as door:
        refused = b"POST /v1/predictions HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"
        connection = await door.asked(refused)
        assert (await connection.answer()).status == 401
        await connection.say(b"abc" + GET + b"\r\n")
        assert (await connection.answer()).status == 200


async def test_chunked_bodies_have_the_same_limit(tmp_path: Path, server: TestServer) -> None:
    head = creation(server, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"\r\n"
    async with listening(server.app, DoorLimits()) as door:
        body = b'{"input": {"text": "x"}}'
        whole = await door.asked(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert (await whole.answer()).status == 201
        large = await door.asked(head)
        piece = b"x" * 65_536
        reading = asyncio.ensure_future(large.answer())
        with pytest.raises(ConnectionError):
            for _ in range(200):
                await large.say(b"%x\r\n%s\r\n" % (len(piece), piece))
                if reading.done():
                    raise ConnectionResetError
        assert (await reading).status == 413


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA B: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: \x00\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused(server: TestServer, garbage: bytes) -> None:
    async with listening(server.app, DoorLimits()) as door:
        connection = await door.asked(garbage)
        answer = await connection.answer()
        assert answer.status in (400, 405), answer
        assert await connection.ended()
        assert (await (await door.asked(GET + b"\r\n")).answer()).status == 200


async def test_garbage_behind_a_request_does_not_spoil_its_answer(server: TestServer) -> None:
    async with listening(server.app, DoorLimits()) as door:
        body = b'{"input": {"text": "x"}}'
        waiting = await door.asked(creation(server, len(body), b"Prefer: wait=5\r\n\r\n") + body)
        dispatch = await server.agent.start()
        await waiting.say(b"\x00\x01 garbage\r\n\r\n")
        await asyncio.sleep(0.05)
        server.agent.finish(dispatch, "done")
        answer = await waiting.answer()
        assert (answer.status, json.loads(answer.body)["output"]) == (201, "done")
        assert await waiting.ended()


async def test_requests_in_one_piece_are_answered_in_order(server: TestServer) -> None:
    async with listening(server.app, DoorLimits()) as door:
        connection = await door.asked((GET + b"\r\n") * 5 + b"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n")
        assert [(await connection.answer()).status for _ in range(6)] == [200] * 5 + [404]


async def test_so_many_connections_and_no_more(server: TestServer) -> None:
    async with listening(server.app, DoorLimits(connections=2)) as door:
        first, second = await door.asked(GET + b"\r\n"), await door.asked(GET + b"\r\n")
        assert [(await one.answer()).status for one in (first, second)] == [200, 200]
        third = await door.connection()
        answer = await third.answer()
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "connections_full", "5")
        assert "2, connections" in answer.detail
        assert await third.ended()
        assert len(door.seats) == 2
        await first.close()
        await until(lambda: len(door.seats) == 1, "there is one connection")
        assert (await (await door.asked(GET + b"\r\n")).answer()).status == 200


async def test_so_many_connections_of_one_address(server: TestServer) -> None:
    async with listening(server.app, DoorLimits(address_connections=1), trusted=()) as door:
        first = await door.asked(GET + b"\r\n")
        assert (await first.answer()).status == 200
        answer = await (await door.connection()).answer()
        assert (answer.status, answer.code) == (429, "throttled")
        assert "1, address_connections" in answer.detail
    async with listening(server.app, DoorLimits(address_connections=1)) as door:
        both = [await door.asked(GET + b"\r\n") for _ in range(2)]
        assert [(await one.answer()).status for one in both] == [200, 200]


async def test_a_websocket_keeps_its_seat_until_it_ends(server: TestServer) -> None:
    async with listening(server.app, DoorLimits()) as door:
        url = f"ws://127.0.0.1:{door.port}/v1/workers/websocket"
        worker = await server.secret("worker", scopes=("worker",))
        async with connect(
            url,
            additional_headers={"authorization": f"Bearer {worker}"},
            subprotocols=["cogflare.v1"],  # type: ignore[list-item]
        ):
            assert len(door.seats) == 1
        await until(lambda: len(door.seats) == 0, "there is no connection")
        with pytest.raises(InvalidStatus):
            await connect(url)
        await until(lambda: len(door.seats) == 0, "there is no connection")


async def test_an_upgrade_that_stalls_is_given_up(server: TestServer) -> None:
    async with listening(server.app, DoorLimits(head_s=0.1)) as door:
        upgrade = (
            b"GET /v1/workers/websocket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        )
        stalled = await door.asked(upgrade)
        assert (await stalled.answer()).status == 408
        assert await stalled.ended()


async def test_another_upgrade_is_declined_by_an_answer(server: TestServer) -> None:
    async with listening(server.app, DoorLimits()) as door:
        declined = await door.asked(GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert (await declined.answer()).status == 200


async def test_an_answer_that_nobody_reads_is_not_kept(server: TestServer) -> None:
    file = await server.http.post("/v1/files", files={"content": ("f", b"x" * 20_000_000)})
    path = file.json()["urls"]["get"]
    row = (await server.services.store.files.list("default", before=None, limit=1))[0]
    assert path.endswith(row.id)
    expiry = str(server.services.clock.now() // 1_000_000 + 60)
    signature = server.app._edge.links.download_signature("default", row.id, expiry)
    target = f"/v1/files/{row.id}/download?owner=default&expiry={expiry}&signature={signature}"
    async with listening(server.app, DoorLimits(unread_s=0.2)) as door:
        deaf = await door.asked(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: len(door.seats) == 1, "there is one connection")
        await until(lambda: len(door.seats) == 0, "there is no connection")
