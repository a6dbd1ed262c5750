"""Answers and refusals, as every route makes them. A refusal is ``{"detail": …}``, as Cog's first generation
had it: a sentence, or for a 422 the list of what is wrong, each with ``loc``, ``msg`` and ``type``."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
_NO_MORE = (b"connection", b"close")


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request: where, in words, and of which kind."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class Refused(Exception):
    """A request that is answered with an error. ``detail`` is a sentence or a list of problems."""

    def __init__(
        self, status: int, detail: str | Sequence[Problem], headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(str(detail))
        self.status = status
        self.detail = detail
        self.headers = tuple(headers)


async def reply(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = (JSON,)
) -> None:
    """Send a whole answer."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, refused: Refused) -> None:
    """Send a refusal."""
    body = msgspec.json.encode({"detail": refused.detail})
    await reply(send, refused.status, body, (JSON, *refused.headers))


class ClientGone(Exception):
    """The client went away before its request was whole: there is nobody to answer."""


async def read_body(headers: Headers, receive: Receive, limit_bytes: int) -> bytes:
    """The request's body. Raises ``Refused`` for one over the limit, and ``ClientGone``."""
    announced = header(headers, b"content-length")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    parts, length, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > limit_bytes:
            raise _too_large(limit_bytes)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def header(headers: Headers, name: bytes) -> bytes:
    """The first header of this name, in lower case; empty when there is none."""
    for each, value in headers:
        if each == name:
            return value
    return b""


def _too_large(limit_bytes: int) -> Refused:
    # What is left of the body is not worth reading.
    return Refused(413, f"the body is larger than {limit_bytes} bytes (--body-bytes)", [_NO_MORE])
