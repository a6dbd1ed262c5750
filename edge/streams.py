"""Event streams: what a prediction says as it comes, by Server-Sent Events."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

from litestar.types import Receive, Scope, Send

from coordinator.calls import Events
from coordinator.errors import Unavailable
from coordinator.prediction import Document
from edge.context import Edge
from edge.errors import Problem
from edge.frames import HEARTBEAT, HELLO, LEAVING, REVOKED, TOO_SLOW, Frames
from edge.lookup import find
from edge.one_write import CUT_OFF
from edge.replies import Header
from edge.subscriptions import NotFound

log = logging.getLogger(__name__)

_RETRY_S = 0.2
_WRITE_BYTES = 64 * 1024
"""About how much is written at once: with what the socket holds, what a slow reader costs."""

HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Stalled(Exception):
    """The reader has stopped reading."""


class EventStream:
    """The ASGI application of one open stream.

    It ends after ``done``, when the reader goes away or stops reading, when the token that it stands on is
    revoked, and when the server is about to leave; a reader may come back with the last id that it has.
    """

    hello = HELLO
    """What is written at once."""

    def __init__(
        self, edge: Edge, document: Document, frames: Frames, *, token: str, headers: tuple[Header, ...] = ()
    ) -> None:
        self.edge = edge
        self.document = document
        self.frames = frames
        self._token = token
        self._headers = [*HEADERS, *headers]
        limits = edge.services.limits
        self.heartbeat_s = limits.stream_heartbeat_s
        self._stall_s = limits.stream_stall_s
        self._loop = asyncio.get_running_loop()
        self._written_at = self._loop.time()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        if scope["method"] == "HEAD":  # type: ignore[typeddict-item]
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        revoked = self._loop.create_future()
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        leaving = asyncio.ensure_future(self.edge.services.draining.wait())
        waits = (sending, gone, leaving, revoked)
        try:
            with self.edge.authenticator.watch(self._token, lambda: _settle(revoked)):
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)
        error = None if sending.cancelled() else sending.exception()
        if not gone.cancelled():
            return
        if sending.cancelled():
            await self._end_early(scope, send, LEAVING if revoked.cancelled() else REVOKED)
        elif isinstance(error, Stalled):
            log.info("stream of %s: the reader stopped reading", self.document.id)
            await self._end_early(scope, send, TOO_SLOW)
        elif error is not None:
            _report(self.document.id, error)

    async def _send(self, send: Send) -> None:
        await self._write(send, self.hello)
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                await self._write(send, chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send, chunk: bytes) -> None:
        """Raises Stalled when the reader does not take what it was sent before."""
        try:
            async with asyncio.timeout(self._stall_s):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            raise Stalled from None
        self._written_at = self._loop.time()

    async def _end_early(self, scope: Scope, send: Send, words: bytes) -> None:
        """That no ``done`` came says that there would have been more; a comment says why."""
        cut_off: Callable[[bytes], None] | None = scope.get(CUT_OFF)  # type: ignore[assignment]
        if cut_off is not None:
            cut_off(words)
        else:
            await send({"type": "http.response.body", "body": words, "more_body": False})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        """Never empty chunks, until ``done`` was one of them."""
        frames, document = self.frames, self.document
        for chunk in gathered(self._opening()):
            yield chunk
        while True:
            if document.status.terminal:
                for chunk in gathered(frames.finish(document)):
                    yield chunk
                return
            try:
                async with aclosing(self._listen()) as chunks:
                    async for chunk in chunks:
                        yield chunk
                if frames.ended:
                    return
            except NotFound:
                log.debug("stream of %s: it has left its coordinator", document.id)
            except Unavailable as error:
                # The object will be back: the place is kept, and the reader hears heartbeats meanwhile.
                await asyncio.sleep(error.retry_after_s)
            if self.heartbeat_is_due():
                yield HEARTBEAT
            try:
                await asyncio.sleep(_RETRY_S)
                document = await find(self.edge, document.id, document.account)
            except Unavailable as error:
                log.debug("stream of %s: %s", document.id, error)

    async def _listen(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._source()) as source:
            async for events in source:
                if events is None:
                    if idle := await self._idle():
                        yield idle
                    continue
                for chunk in gathered(self.frames.take(events)):
                    yield chunk
                if self.frames.ended:
                    return

    # --- what a stream of another kind does differently ---------------------------------------------------

    def _opening(self) -> Iterator[bytes]:
        """What is said first."""
        return iter(())

    def _source(self) -> AsyncGenerator[Events | None, None]:
        return self.listen(idle_s=self.heartbeat_s)

    async def _idle(self) -> bytes:
        """What is said when there was nothing for a while."""
        return HEARTBEAT

    def listen(self, **options: Any) -> AsyncGenerator[Events | None, None]:
        services, document = self.edge.services, self.document
        number = services.ids.number(document.id)
        assert number is not None
        cursor = self.frames.place.cursor
        return services.subscriptions.listen(number, document.id, document.account, cursor, **options)

    def heartbeat_is_due(self) -> bool:
        return self._loop.time() - self._written_at >= self.heartbeat_s


def gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks that are neither tiny nor large."""
    held: list[bytes] = []
    length = 0
    for piece in pieces:
        if held and length + len(piece) > _WRITE_BYTES:
            yield b"".join(held)
            held, length = [], 0
        if len(piece) > _WRITE_BYTES:
            for start in range(0, len(piece), _WRITE_BYTES):
                yield piece[start : start + _WRITE_BYTES]
        else:
            held.append(piece)
            length += len(piece)
    if held:
        yield b"".join(held)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _report(prediction: str, error: BaseException) -> None:
    if isinstance(error, Problem):
        log.info("stream of %s ended: %s", prediction, error.detail)
    else:
        log.error("stream of %s failed", prediction, exc_info=error)
