"""Server-sent events of one prediction: what was kept of it, then what happens, until its end."""

import asyncio
from collections.abc import Awaitable, Iterable

import msgspec

from gpu_agent.server.feed import Event, Feed
from gpu_agent.server.http import Headers, Receive, Send, header

CHUNK_BYTES = 256 * 1024
"""About how much is handed to the connection at a time."""
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


def wants_stream(headers: Headers) -> bool:
    """Whether ``Accept`` names event streams."""
    return any(kind == b"text/event-stream" for kind in _accepted(headers))


def takes_json(headers: Headers) -> bool:
    """Whether JSON will do as well."""
    return any(kind in (b"application/json", b"application/*", b"*/*") for kind in _accepted(headers))


def last_event_id(headers: Headers) -> int | None:
    """Where a stream that was cut goes on; None when it begins."""
    given = header(headers, b"last-event-id").strip()
    return int(given) if given.isdigit() else None


async def stream(feed: Feed, after: int, receive: Receive, send: Send, heartbeat_s: float) -> None:
    """Send events until the last one, or until the client has gone.

    ``after`` is the number of the last event that the client has. One that has missed some is told so by an
    ``error`` event, with which its stream ends.
    """
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        while not gone.done():
            events, missed = feed.since(after)
            if missed:
                await _send(send, _error(missed))
                break
            for chunk in _chunks(events):
                await _send(send, chunk)
            after = feed.last if not events else events[-1].number
            if feed.last > after:
                continue
            if feed.ended:
                break
            if not await _either(feed.more(), gone, heartbeat_s):
                await _send(send, b": still here\n\n")
        if not gone.done():
            await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


def _chunks(events: Iterable[Event]) -> Iterable[bytes]:
    parts, length = [], 0
    for event in events:
        data = event.data if isinstance(event.data, bytes) else msgspec.json.encode(event.data)
        parts.append(b"id: %d\nevent: %s\ndata: %s\n\n" % (event.number, event.kind.encode(), data))
        length += len(parts[-1])
        if length > CHUNK_BYTES:
            yield b"".join(parts)
            parts, length = [], 0
    if parts:
        yield b"".join(parts)


def _error(missed: int) -> bytes:
    data = msgspec.json.encode({"error": "events were missed, and are not kept any more", "skipped": missed})
    return b"event: error\ndata: %s\n\n" % data


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _either(news: "asyncio.Future[None]", gone: Awaitable[None], limit_s: float) -> bool:
    """Wait for news or for the client's end. False when there was neither in time."""
    done, _ = await asyncio.wait(
        (news, asyncio.ensure_future(gone)), timeout=limit_s, return_when="FIRST_COMPLETED"
    )
    news.cancel()
    return bool(done)


def _accepted(headers: Headers) -> Iterable[bytes]:
    for name, value in headers:
        if name == b"accept":
            for item in value.split(b","):
                kind, *parameters = item.split(b";")
                if not any(each.replace(b" ", b"") in (b"q=0", b"q=0.0") for each in parameters):
                    yield kind.strip().lower()
