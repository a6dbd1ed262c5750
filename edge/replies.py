"""What handlers take and give: Litestar's request, and a response that costs nothing but its bytes."""

from typing import Any

from litestar import Request
from litestar.types import Receive, Scope, Send

from edge.errors import Problem

HTTPRequest = Request[Any, Any, Any]
Header = tuple[bytes, bytes]

JSON = b"application/json; charset=utf-8"
PROBLEM_JSON = b"application/problem+json"
TEXT = b"text/plain; charset=utf-8"


class Reply:
    """A whole response, ready to send: an ASGI application."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes = b"",
        status: int = 200,
        content_type: bytes = JSON,
        headers: tuple[Header, ...] = (),
    ) -> None:
        self.body = body
        self.status = status
        self.headers: list[Header] = [(b"content-length", b"%d" % len(body)), *headers]
        if body:
            self.headers.append((b"content-type", content_type))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.status in (204, 304):
            self.headers = [header for header in self.headers if header[0] != b"content-length"]
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})

    def to_asgi_response(self, **_: Any) -> "Reply":
        """Litestar asks this of what an exception handler returns."""
        return self


def header(request: HTTPRequest, name: bytes) -> str | None:
    """The first header of this lower-case name, or None."""
    for key, value in request.scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


async def read_body(request: HTTPRequest, limit_bytes: int, setting: str = "body_bytes") -> bytes:
    """The request's body. Raises Problem ``too_large`` before it holds more than the limit."""
    announced = header(request, b"content-length")
    if announced is not None and announced.isascii() and announced.isdigit() and int(announced) > limit_bytes:
        raise too_large(limit_bytes, setting=setting)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise Problem("bad_request", "The request ended before its body did.")
        chunk = message["body"]
        size += len(chunk)
        if size > limit_bytes:
            raise too_large(limit_bytes, setting=setting)
        chunks.append(chunk)
        if not message["more_body"]:
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(limit_bytes: int, what: str = "The request body", setting: str = "") -> Problem:
    """``setting`` is the limit's name, for whoever may change it."""
    named = f" ({setting})" if setting else ""
    return Problem("too_large", f"{what} must not be larger than {limit_bytes} bytes{named}.")
