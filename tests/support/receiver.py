"""An HTTP server in threads, for tests of what another process sends: it keeps each request."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from tests.support.commands import until
from tests.support.threads import start_deaf


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes
    connection: int
    """Requests of one connection have the same number."""

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found


@dataclass(frozen=True)
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hold: threading.Event | None = None
    """Answer only when it is set."""


Answer = Callable[[Received], Reply]


class Receiver:
    """``answer`` may be exchanged at any time; it is called in the connection's own thread."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Answer = lambda request: Reply()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, condition: Callable[[list[Received]], bool], what: str) -> list[Received]:
        until(lambda: condition(list(self.received)), what)
        return list(self.received)


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """A receiver for the length of the block."""
    found = Receiver()
    connections: dict[object, int] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self._body(headers)
            number = connections.setdefault(self.connection, len(connections))
            request = Received(self.command, self.path, headers, body, number)
            reply = found.answer(request)
            found.received.append(request)
            if reply.hold is not None:
                reply.hold.wait(30)
            self.send_response(reply.status)
            for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def _body(self, headers: dict[str, str]) -> bytes:
            if headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(headers.get("content-length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_PUT = do_POST = handle_any

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the other side went away, as it may

    server = Server(("127.0.0.1", port), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    start_deaf(thread)
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
