"""Sends a stored file: ranges, caching, and headers that keep it from acting as a page of ours."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from litestar.types import Receive, Scope, Send

from coordinator.blobs.base import Blobs
from coordinator.blobs.disposition import disposition
from coordinator.blobs.errors import Missing
from edge.errors import Problem, not_found
from edge.redirects import Redirects
from edge.replies import Header, HTTPRequest, Reply, header

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


async def download(
    request: HTTPRequest, blobs: Blobs, redirects: Redirects, key: str, name: str, content_type: str
) -> "Reply | FileReply":
    """The answer to a GET or HEAD of a blob. Raises Problem ``not_found``, ``range_not_satisfiable``."""
    stat = await blobs.stat(key)
    if stat is None:
        raise not_found("File not found")
    etag = f'"{stat.sha256}"'
    headers = _headers(name, content_type, etag)
    if etag in (header(request, b"if-none-match") or ""):
        return Reply(status=304, headers=tuple(headers))
    elsewhere = await redirects.reply(request, blobs, key, name, content_type)
    if elsewhere is not None:
        return elsewhere
    if_range = header(request, b"if-range")
    wanted = header(request, b"range") if if_range is None or if_range == etag else None
    part = _range(wanted, stat.length)
    start, end = part or (0, stat.length)
    if part is not None:
        headers.append((b"content-range", f"bytes {start}-{end - 1}/{stat.length}".encode()))
    headers.append((b"content-length", str(end - start).encode()))
    if request.method == "HEAD":
        end = start
    return FileReply(blobs, key, start, end, 200 if part is None else 206, headers)


class FileReply:
    """The ASGI application that sends one range of one blob, piece by piece."""

    def __init__(
        self, blobs: Blobs, key: str, start: int, end: int, status: int, headers: list[Header]
    ) -> None:
        self._blobs = blobs
        self._key = key
        self._start = start
        self._end = end
        self._status = status
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._start == self._end:
            await self._begin(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        async with aclosing(_reading(self._blobs, self._key, self._start, self._end)) as pieces:
            try:
                piece = await anext(pieces, b"")
            except Missing:
                raise not_found("File not found") from None
            await self._begin(send)
            while piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await anext(pieces, b"")
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})


async def _reading(blobs: Blobs, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """The pieces of a blob; closing this closes the file."""
    pieces = blobs.read(key, start, end)
    try:
        async for piece in pieces:
            yield piece
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


def _range(wanted: str | None, length: int) -> tuple[int, int] | None:
    """(start, end) of a single range, end not included; None when the whole file is meant."""
    match = _RANGE.fullmatch(wanted.strip()) if wanted else None
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        start, end = max(0, length - int(match[2])), length
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, length) if match[2] else length
        if match[2] and int(match[2]) < start:
            return None
    if start >= end:
        raise Problem(
            "range_not_satisfiable",
            f"The file has {length} bytes.",
            headers=((b"content-range", b"bytes */%d" % length),),
        )
    return start, end


def _headers(name: str, content_type: str, etag: str) -> list[Header]:
    return [
        (b"content-type", content_type.encode("latin-1", "replace")),
        (b"content-disposition", disposition(name, content_type).encode("latin-1", "replace")),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"referrer-policy", b"no-referrer"),
        # The URL is the secret and no cookie counts: any page that has the URL may read it.
        (b"access-control-allow-origin", b"*"),
        (b"cache-control", b"private, max-age=3600, immutable"),
        (b"accept-ranges", b"bytes"),
        (b"etag", etag.encode()),
    ]
