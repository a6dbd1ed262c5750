"""Event streams over HTTP: what a reader gets, when it ends, and how it goes on after a cut."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.protocol.limits import ServerLimits
from edge.asgi_listener import AsgiServer
from edge.frames import TOO_SLOW
from tests.support import sse
from tests.support.edge import BASE, MODEL, Reader, TestServer, running
from tests.support.sse import Event
from tests.support.waiting import until


async def test_output_comes_as_it_is_made(server: TestServer) -> None:
    made = await server.create()
    dispatch = await server.agent.start()
    reader = server.listen(made["urls"]["stream"])
    server.agent.progress(dispatch, (1, "output", "Hel"), (2, "output", "lo\n you"))
    assert await reader.until(2) == [Event("output", "1:1", "Hel"), Event("output", "1:2", "lo\n you")]
    assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert reader.text.startswith(": hi\nretry: 1000\n\n")
    server.agent.finish(dispatch, ["Hel", "lo\n you"])
    assert (await reader.end())[2:] == [Event("done", "1:2/end", "{}")]
    assert reader.ended


async def test_what_was_never_streamed_comes_at_the_end(server: TestServer) -> None:
    made = await server.create()
    dispatch = await server.agent.start()
    reader = server.listen(made["urls"]["stream"])
    server.agent.progress(dispatch, (1, "logs", "said\n"), (2, "output", "a"))
    await reader.until(2)
    server.agent.finish(dispatch, ["a", "b", {"c": 1}])
    assert await reader.end() == [
        Event("logs", "1:1.0.5", "said\n"),
        Event("output", "1:2.1.5", "a"),
        Event("output", "1:3.2.5", "b"),
        Event("output", "1:4.3.5", '{"c":1}'),
        Event("done", "1:4.3.5/end", "{}"),
    ]


async def test_an_ended_prediction_is_replayed_and_resumed(server: TestServer) -> None:
    done = await server.run(["a", "b", "c"], logs="said\n")
    url = done["urls"]["stream"]
    whole = await server.listen(url).end()
    assert whole == [
        Event("logs", "1:0.0.5", "said\n"),
        Event("output", "1:1.1.5", "a"),
        Event("output", "1:2.2.5", "b"),
        Event("output", "1:3.3.5", "c"),
        Event("done", "1:3.3.5/end", "{}"),
    ]
    await server.indexed(done["id"])
    for seen in range(4):
        assert await server.listen(url, whole[seen].id).end() == whole[seen + 1 :]
    stopped = server.listen(url, whole[-1].id)
    await stopped.end()
    assert stopped.status == 204


async def test_a_reader_that_comes_back_gets_the_rest(server: TestServer) -> None:
    made = await server.create()
    dispatch = await server.agent.start()
    first = server.listen(made["urls"]["stream"])
    server.agent.progress(dispatch, (1, "output", "a"), (2, "logs", "x"), (3, "output", "b"))
    seen = await first.until(3)
    await first.leave()
    second = server.listen(made["urls"]["stream"], seen[0].id)
    assert await second.until(2) == seen[1:]
    await second.leave()
    server.agent.finish(dispatch, ["a", "b", "c"])
    await server.ended(made["id"])
    rest = await server.listen(made["urls"]["stream"], seen[2].id).end()
    assert [one.data for one in rest] == ["c", "{}"]


async def test_failed_and_canceled_say_so(server: TestServer) -> None:
    failed = await server.run(None, status="failed", error="it broke")
    assert await server.listen(failed["urls"]["stream"]).end() == [
        Event("error", "1:0", '{"detail":"it broke"}'),
        Event("done", "1:0/end", '{"reason":"error"}'),
    ]
    queued = await server.create()
    reader = server.listen(queued["urls"]["stream"])
    await server.http.post(f"/v1/predictions/{queued['id']}/cancel")
    assert [(one.event, one.data) for one in await reader.end()] == [("done", '{"reason":"canceled"}')]


async def test_a_stream_ends_when_its_token_is_revoked(server: TestServer) -> None:
    secret = await server.secret("brief")
    made = await server.create(authorization=f"Bearer {secret}")
    reader = server.listen(made["urls"]["stream"])
    dispatch = await server.agent.start()
    server.agent.progress(dispatch, (1, "output", "a"))
    await reader.until(1)
    # Nobody tells the server: it finds out by itself, within a second.
    await server.services.store.tokens.revoke("brief")
    await reader.end()
    assert reader.text.endswith(": the token was revoked\n\n")
    again = server.listen(made["urls"]["stream"])
    await again.end()
    assert again.status == 404


async def test_a_stream_ends_when_the_server_leaves(server: TestServer) -> None:
    made = await server.create()
    reader = server.listen(made["urls"]["stream"])
    dispatch = await server.agent.start()
    server.agent.progress(dispatch, (1, "output", "a"))
    await reader.until(1)
    server.services.draining.set()
    assert len(await reader.end()) == 1
    assert reader.ended
    assert reader.text.endswith(": the server leaves: come back with the id of the last event\n\n")


async def test_made_up_stream_tokens_are_404(server: TestServer) -> None:
    made = await server.create()
    url = made["urls"]["stream"]
    for wrong in (url[:-2], url + "x", f"/v1/streams/{made['id']}", "/v1/streams/ä.b", "/v1/streams/a"):
        reader = server.listen(wrong)
        await reader.end()
        assert reader.status == 404


async def test_what_an_answer_says_of_itself(server: TestServer) -> None:
    done = await server.run(["a"])
    reader = server.listen(done["urls"]["stream"], method="HEAD", accept_encoding="gzip")
    await reader.end()
    assert (reader.status, reader.body, reader.ended) == (200, b"", True)
    assert reader.headers["cache-control"] == "no-store"
    assert reader.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in reader.headers


async def test_an_id_may_stand_in_the_query(server: TestServer) -> None:
    url = (await server.run(["a", "b"]))["urls"]["stream"]
    assert [one.data for one in await server.listen(f"{url}?last_event_id=1:1").end()] == ["b", "{}"]
    assert [one.data for one in await server.listen(f"{url}?last_event_id=1:1", "1:2").end()] == ["{}"]


async def test_what_is_no_id_is_refused(server: TestServer) -> None:
    url = (await server.run(["a"]))["urls"]["stream"]
    for reader in (server.listen(url, "what?"), server.listen(f"{url}?last_event_id=1:x")):
        await reader.end()
        assert reader.status == 422
        assert "Must be the id of an event of this stream, such as 1:42" in reader.text


async def test_an_id_of_the_future_is_waited_for(server: TestServer) -> None:
    """After a restart of the server the agent tells again what the reader has already."""
    made = await server.create()
    dispatch = await server.agent.start()
    reader = server.listen(made["urls"]["stream"], "1:2")
    server.agent.progress(dispatch, (1, "output", "a"))
    server.agent.progress(dispatch, (2, "output", "b"))
    server.agent.progress(dispatch, (3, "output", "c"))
    assert await reader.until(1) == [Event("output", "1:3", "c")]
    server.agent.finish(dispatch, ["a", "b", "c"])
    await reader.end()
    beyond = server.listen(made["urls"]["stream"], "1:9")
    assert [one.event for one in await beyond.end()] == ["done"]


async def test_an_id_of_an_attempt_that_never_was_ends_at_once(server: TestServer) -> None:
    made = await server.create()
    await server.agent.start()
    reader = server.listen(made["urls"]["stream"], "7:3")
    assert [one.event for one in await reader.end()] == ["error", "done"]
    assert (await told_again(server, made, reader)).status == 204


async def told_again(server: TestServer, made: dict[str, Any], reader: Reader) -> Reader:
    """What a browser gets that connects again by itself after the end."""
    again = server.listen(made["urls"]["stream"], reader.events[-1].id)
    await again.end()
    return again


async def test_an_idle_stream_has_heartbeats(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(stream_heartbeat_s=0.1)) as server:
        made = await server.create()
        reader = server.listen(made["urls"]["stream"])
        await until(lambda: reader.text.count(": still here\n\n") >= 2, "two heartbeats came")
        assert reader.events == []
        await reader.leave()


async def test_files_have_a_stream_of_their_own(server: TestServer) -> None:
    """The JavaScript client makes files of what comes from below /v1/files/."""
    outputs = server.services.store.models.register
    files = {"components": {"schemas": {"Output": {"type": "string", "format": "uri"}}}}
    await outputs(
        account="default",
        pool="default",
        model=MODEL,
        version="b" * 64,
        openapi_schema=msgspec.json.encode(files),
        cog_version="0.1.0",
        allowed=(),
        now=1_800_000_000_000_000,
    )
    answer = await server.http.post("/v1/predictions", json={"version": "b" * 64, "input": {}})
    url = answer.json()["urls"]["stream"]
    assert url.startswith(f"{BASE}/v1/files/streams/")
    await server.http.post(f"/v1/predictions/{answer.json()['id']}/cancel")
    assert [one.data for one in await server.listen(url).end()] == ['{"reason":"canceled"}']


async def test_a_page_of_a_named_origin_gets_one_header(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(), cors_origins=("*",)) as server:
        url = (await server.run(["a"]))["urls"]["stream"]
        answer = await server.http.get(url, headers={"origin": "https://app.example"})
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]


class TestSlowReader:
    """Over a socket: what is not read fills the buffers of both ends, and then the server's patience."""

    @pytest.fixture
    async def slow(self, tmp_path: Path) -> AsyncIterator[tuple[TestServer, int]]:
        limits = ServerLimits(stream_stall_s=0.2, history_bytes=16 * 1024 * 1024)
        async with running(tmp_path, limits) as server:
            listener = socket.create_server(("127.0.0.1", 0))
            http = AsgiServer(server.app, listener, last_answers_s=1.0)
            serving = asyncio.ensure_future(http.serve())
            await http.listening.wait()
            yield server, listener.getsockname()[1]
            http.leave(at_once=True)
            await serving
            listener.close()

    async def test_is_told_and_comes_back(
        self, slow: tuple[TestServer, int], caplog: pytest.LogCaptureFixture
    ) -> None:
        server, port = slow
        made = await server.create()
        dispatch = await server.agent.start()
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(reader, ("127.0.0.1", port))
        path = made["urls"]["stream"].removeprefix(BASE)
        await loop.sock_sendall(reader, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        lines = [f"{number} " + "x" * 50_000 for number in range(200)]
        with caplog.at_level(logging.INFO):
            for seq, line in enumerate(lines, 1):
                server.agent.progress(dispatch, (seq, "output", line))
            await until(lambda: "stopped reading" in caplog.text, "it was cut off")
        answer = b""
        while data := await asyncio.wait_for(loop.sock_recv(reader, 1 << 20), 5):
            answer += data
        reader.close()
        stream = dechunked(answer.partition(b"\r\n\r\n")[2])
        assert stream.endswith(TOO_SLOW)
        had = sse.parse(stream)[0]
        assert 0 < len(had) < len(lines)
        server.agent.finish(dispatch, lines)
        rest = await server.listen(path, had[-1].id).end()
        assert [one.data for one in (*had, *rest[:-1])] == lines


def dechunked(body: bytes) -> bytes:
    """A chunked body that ended properly."""
    whole = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            assert body == b"\r\n"
            return whole
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
