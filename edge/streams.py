"""Event streams: a prediction's output as it comes, by Server-Sent Events."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from litestar.types import Receive, Scope, Send

from coordinator.errors import Unavailable
from coordinator.prediction import Document
from edge.context import Edge
from edge.errors import Problem
from edge.frames import HEARTBEAT, HELLO, Frames
from edge.lookup import find
from edge.replies import Header
from edge.subscriptions import NotFound

log = logging.getLogger(__name__)

_RETRY_S = 0.2
_STALLED_HEARTBEATS = 4

HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    # The URL is the secret and no cookie counts: any page that has the URL may read it.
    (b"access-control-allow-origin", b"*"),
]


class EventStream:
    """The ASGI application of one open stream.

    It ends after ``done``, when the reader goes away or stops reading, when the prediction's token is
    revoked, and when the server is about to leave; a reader may come back with the last id that it has.
    """

    def __init__(self, edge: Edge, number: int, document: Document, frames: Frames) -> None:
        self._edge = edge
        self._number = number
        self._document = document
        self._frames = frames
        self._heartbeat_s = edge.services.limits.stream_heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        revoked = asyncio.get_running_loop().create_future()
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        leaving = asyncio.ensure_future(self._edge.services.draining.wait())
        waits = (sending, gone, leaving, revoked)
        try:
            with self._edge.authenticator.watch(self._document.token, lambda: _settle(revoked)):
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)
        if sending.cancelled():
            if gone.cancelled():
                # Ended by us: the answer is whole, and that no ``done`` came says that more would have.
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif (error := sending.exception()) is not None:
            _report(self._document.id, error)

    async def _send(self, send: Send) -> None:
        await self._write(send, HELLO)
        async with aclosing(self._chunks()) as chunks:
            while True:
                coming = asyncio.ensure_future(anext(chunks, b""))
                try:
                    while not (await asyncio.wait((coming,), timeout=self._heartbeat_s))[0]:
                        await self._write(send, HEARTBEAT)
                finally:
                    if not coming.done():
                        coming.cancel()
                        await asyncio.wait((coming,))
                chunk = coming.result()
                if not chunk:
                    break
                await self._write(send, chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send, chunk: bytes) -> None:
        async with asyncio.timeout(_STALLED_HEARTBEATS * self._heartbeat_s):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        """Never empty chunks, until ``done`` was one of them."""
        frames, document = self._frames, self._document
        while True:
            if document.status.terminal:
                yield frames.finish(document)
                return
            try:
                async with aclosing(self._listen()) as chunks:
                    async for chunk in chunks:
                        if chunk:
                            yield chunk
                        if frames.ended:
                            return
            except NotFound:
                log.debug("stream of %s: it has left its coordinator", document.id)
            except Unavailable as error:
                # The object will be back: the place is kept, and the reader hears heartbeats meanwhile.
                await asyncio.sleep(error.retry_after_s)
            try:
                await asyncio.sleep(_RETRY_S)
                document = await find(self._edge, document.id, document.account)
            except Unavailable as error:
                log.debug("stream of %s: %s", document.id, error)

    async def _listen(self) -> AsyncGenerator[bytes, None]:
        document = self._document
        listen = self._edge.services.subscriptions.listen
        async with aclosing(
            listen(self._number, document.id, document.account, self._frames.cursor)
        ) as source:
            async for events in source:
                yield self._frames.take(events)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _report(prediction: str, error: BaseException) -> None:
    if isinstance(error, TimeoutError):
        log.info("stream of %s: the reader stopped reading", prediction)
    elif isinstance(error, Problem):
        log.info("stream of %s ended: %s", prediction, error.detail)
    else:
        log.error("stream of %s failed", prediction, exc_info=error)
