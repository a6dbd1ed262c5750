"""Inputs that are too long for the queue's rows: each lies in the storage of files, and is read when its
prediction is dispatched or shown. A row, and whatever goes from one to the other, has ``{}`` in its place."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from coordinator.actor.clock import Clock, sleep
from coordinator.blobs.base import Blobs
from coordinator.blobs.errors import BlobsUnavailable, Missing
from coordinator.blobs.keys import long_input_key
from coordinator.overflow.errand import Errand
from coordinator.prediction import Document, LongInput
from coordinator.protocol import messages as wire

log = logging.getLogger(__name__)

IN_ITS_PLACE = b"{}"
GONE = b"null"
"""What an agent gets whose input has been deleted: it says so."""
PIECE_BYTES = 256 * 1024
AGAIN_S = 1.0


class LongDispatch(msgspec.Struct, frozen=True):
    """A dispatch whose input is still to be read."""

    dispatch: wire.Dispatch | Errand
    input: LongInput


async def store(blobs: Blobs, raw: bytes) -> LongInput:
    """Keep an input; once this returns it survives a power cut. Raises BlobsUnavailable."""
    key = long_input_key()
    await blobs.put(key, _pieces(raw), content_type="application/json", length=len(raw), limit_bytes=len(raw))
    return LongInput(key=key, length=len(raw))


async def read(blobs: Blobs, input: LongInput) -> bytes:
    """The input. Raises Missing, BlobsUnavailable."""
    buffer = io.BytesIO()
    async for piece in blobs.read(input.key):
        buffer.write(piece)
    return buffer.getvalue()


async def whole(blobs: Blobs, document: Document) -> Document:
    """The document with its input, for who shows it. Raises BlobsUnavailable; an input that is gone is
    ``{}``."""
    if document.long_input is None:
        return document
    try:
        raw = await read(blobs, document.long_input)
    except Missing:
        return document
    return msgspec.structs.replace(document, input=raw, long_input=None)


async def _pieces(raw: bytes) -> AsyncIterator[bytes]:
    view = memoryview(raw)
    for at in range(0, len(raw), PIECE_BYTES):
        yield bytes(view[at : at + PIECE_BYTES])


Deliver = Callable[[Any, Any], None]


class LongDispatches:
    """Sends dispatches once their inputs are read. What is said of such a prediction meanwhile, as its
    cancel, waits behind it. ``stop`` it at the end; safe twice."""

    def __init__(self, blobs: Blobs, clock: Clock, deliver: Deliver) -> None:
        self._blobs = blobs
        self._clock = clock
        self._deliver = deliver
        self._behind: dict[tuple[Any, str], list[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, address: Any, message: Any) -> bool:
        """Whether it has taken the message; else it may be delivered as it is."""
        if not isinstance(message, LongDispatch):
            if not self._behind:
                return False
            waiting = self._behind.get((address, getattr(message, "prediction", "")))
            if waiting is None:
                return False
            waiting.append(message)
            return True
        key = (address, message.dispatch.prediction)
        if key in self._behind:  # sent again before it was read
            return True
        self._behind[key] = []
        task = asyncio.get_running_loop().create_task(self._send(key, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, key: tuple[Any, str], message: LongDispatch) -> None:
        try:
            raw, dispatch = await self._read(message), message.dispatch
            given = raw if isinstance(dispatch, Errand) else msgspec.Raw(raw)
            self._deliver(key[0], msgspec.structs.replace(dispatch, input=given))
        finally:
            for each in self._behind.pop(key):
                self._deliver(key[0], each)

    async def _read(self, message: LongDispatch) -> bytes:
        """Asks until storage answers. The prediction's run limit bounds it, for its deadline runs."""
        while True:
            try:
                return await read(self._blobs, message.input)
            except Missing:
                log.error("the input of %s is gone from storage", message.dispatch.prediction)  # noqa: TRY400
                return GONE
            except BlobsUnavailable as error:
                log.warning("storage did not give an input, asking again: %s", error)
                await sleep(self._clock, AGAIN_S)
