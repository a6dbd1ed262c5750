"""The agent's link: dialling, heartbeats, refusals, and dialling again."""

import asyncio
import contextlib
import json
import logging
import threading
import time
from http import HTTPStatus

import msgspec
import pytest
import websockets

from coordinator.protocol import messages as m
from coordinator.protocol.limits import WireLimits
from gpu_agent import line as module
from gpu_agent.connection import Connection
from gpu_agent.tls import client_context
from tests.support.wire_server import WireServer, wire_server

TLS = client_context()
COUNT = 400
"""Messages of 64 KiB that no kernel's buffers hold."""
HELLO = m.Hello(protocol=1, agent="agt", incarnation="i", name="box", slots=1)


class Listener:
    def __init__(self) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()

    def connected(self, welcome):
        self.told.put_nowait("connected")

    def received(self, message):
        self.told.put_nowait("received")

    def writable(self):
        self.told.put_nowait("writable")

    def disconnected(self):
        self.told.put_nowait("disconnected")

    async def next(self) -> str:
        return await asyncio.wait_for(self.told.get(), 20)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.005)
    monkeypatch.setattr(module, "LAST_RETRY_S", 0.05)
    monkeypatch.setattr(module, "REFUSED_RETRY_S", 0.02)


@contextlib.asynccontextmanager
async def running(server, token="tok", limits=None):
    listener = Listener()
    link = Connection(
        base_url=server.url, token=token, hello=HELLO, listener=listener, tls=TLS, limits=limits
    )
    task = asyncio.create_task(link.run())
    try:
        yield link, listener
    finally:
        await link.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_dials_with_its_token_and_comes_back_after_a_cut():
    async with wire_server() as server, running(server) as (link, listener):
        assert await listener.next() == "connected"
        assert link.welcome.server == "srv_test"
        assert server.tokens == ["Bearer tok"]
        server.cut()
        assert await listener.next() == "disconnected"
        assert await listener.next() == "connected"
        assert [hello.agent for hello in server.hellos] == ["agt", "agt"]


async def test_comes_back_when_the_server_does():
    async with wire_server() as server, running(server) as (link, listener):
        assert await listener.next() == "connected"
        await server.stop()
        assert await listener.next() == "disconnected"
        assert link.welcome is None
        assert not link.send(m.Beat())
        await server.start()
        assert await listener.next() == "connected"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (HTTPStatus.UNAUTHORIZED, "does not know this token"),
        (HTTPStatus.FORBIDDEN, "scope worker"),
        (HTTPStatus.NOT_FOUND, "no Cogflare server"),
        (HTTPStatus.SERVICE_UNAVAILABLE, "HTTP 503"),
    ],
)
async def test_a_refusal_is_told_once_and_tried_again(caplog, status, said):
    caplog.set_level(logging.INFO, "cogflare")
    async with wire_server() as server:
        server.refusals = [status] * 3
        async with running(server, token="sEcReT") as (_, listener):
            assert await listener.next() == "connected"
            assert server.refusals == []
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert said in told[0]
    assert "sEcReT" not in caplog.text


async def test_a_silent_server_is_given_up():
    async with wire_server() as server:
        server.limits = WireLimits(beat_s=0.05, silence_s=0.2)
        async with running(server) as (_, listener):
            assert await listener.next() == "connected"
            assert await listener.next() == "disconnected"
            assert await listener.next() == "connected"


async def test_close_codes_say_why(caplog):
    async with wire_server() as server, running(server) as (_, listener):
        assert await listener.next() == "connected"
        await server.close(4401)
        assert await listener.next() == "disconnected"
        assert await listener.next() == "connected"
        assert "the token was revoked" in caplog.text


async def test_a_slow_link_holds_progress_back_and_says_when_not():
    async with wire_server() as server, running(server) as (link, listener):
        assert await listener.next() == "connected"
        schema = msgspec.Raw(b"{}")
        link.send(
            m.Attach(
                channel=0,
                model="o/n",
                version="0" * 64,
                openapi_schema=schema,
                cog_version="",
                concurrency=1,
                granted=1,
            )
        )
        assert not link.congested
        await server.attach()
        assert await listener.next() == "received"
        data = msgspec.json.encode("x" * 64 * 1024)
        for seq in range(1, COUNT + 1):
            event = m.Event(seq=seq, kind="logs", data=msgspec.Raw(data))
            assert link.send(m.Progress(channel=0, prediction="p", attempt=1, events=(event,)))
        assert link.congested
        assert await listener.next() == "writable"
        events = await server.events("p", COUNT)
        assert [event.seq for event in events] == list(range(1, COUNT + 1))


class Elsewhere:
    """A server in a thread of its own, as little hindered by ours as one on another machine."""

    def __init__(self, limits: WireLimits) -> None:
        self.server = WireServer()
        self.server.limits = limits
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> WireServer:
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.server.start(), self.loop).result(10)
        self.beating = asyncio.run_coroutine_threadsafe(self._beat(), self.loop)
        return self.server

    async def _beat(self) -> None:
        while True:
            if self.server.connected:
                with contextlib.suppress(websockets.ConnectionClosed):
                    await self.server.send(m.Beat())
            await asyncio.sleep(self.server.limits.beat_s)

    def __exit__(self, *_: object) -> None:
        self.beating.cancel()
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


async def test_a_busy_main_thread_delays_no_beat():
    with Elsewhere(WireLimits(beat_s=0.1, silence_s=0.6)) as server:
        async with running(server) as (link, listener):
            assert await listener.next() == "connected"
            before = server.beats
            end = time.monotonic() + 1.8  # three times the silence
            items = {str(number): [number] * 10 for number in range(2000)}
            while time.monotonic() < end:
                json.dumps(items)  # as an output of many MB keeps it busy
            assert server.beats - before >= 6
            assert server.connected
            assert link.welcome is not None
            assert link.send(m.Beat())
        assert len(server.hellos) == 1
