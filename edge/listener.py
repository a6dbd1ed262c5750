"""The HTTP server's outside: its certificate, its URLs, and what listens."""

import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Any

from coordinator.protocol.addresses import http_url
from edge.access_log import AccessLog
from edge.asgi_listener import AsgiServer
from edge.bounded_protocol import BoundedProtocol, Door, SeatedWebSocket
from edge.client_address import ClientAddresses
from edge.exits import CommandFailed, ExitCode
from edge.seats import Seats, most_connections
from edge.settings import ServeSettings


def tls(settings: ServeSettings) -> ssl.SSLContext | None:
    """The context to serve https with; None for http. Raises CommandFailed."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise CommandFailed("--tls-cert and --tls-key go together", ExitCode.TLS)
    for path in (cert, key):
        _check_readable(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # With a passphrase it would ask on the terminal; a server has none.
        context.load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, ValueError, OSError) as error:
        raise CommandFailed(
            f"{cert} and {key} cannot be used: {getattr(error, 'reason', None) or error}",
            ExitCode.TLS,
            "they must be PEM, belong together, and have no passphrase",
        ) from error
    return context


def urls(settings: ServeSettings, listener: socket.socket) -> tuple[str, str]:
    """Where the server listens, and how others reach it (``--public-url``). Raises CommandFailed."""
    scheme = "http" if settings.tls_cert is None else "https"
    host = settings.host
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - that is what the operator gave
        host = "127.0.0.1" if host != "::" else "::1"
    port = listener.getsockname()[1]
    local = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    if settings.public_url is None:
        return local, local
    public = settings.public_url.rstrip("/")
    parts = http_url(public)
    if parts is None or parts.query or parts.fragment:
        raise CommandFailed(
            f"--public-url: {settings.public_url!r} is not a URL such as https://cogflare.example.org",
            ExitCode.USAGE,
        )
    return local, public


def http_server(
    app: Any, listener: socket.socket, settings: ServeSettings, context: ssl.SSLContext | None
) -> AsgiServer:
    """The server of ``cogflare serve``. Agents come by websocket, so frames may be as long as theirs."""
    limits = settings.door
    clients = ClientAddresses(settings.trusted_proxy)
    seats = Seats(limits, clients, most_connections(limits.connections))
    access = AccessLog(settings.access_log, clients)
    return AsgiServer(
        app,
        listener,
        last_answers_s=settings.limits.drain_s,
        http=partial(BoundedProtocol, door=Door(limits, seats, access)),
        keep_alive_s=limits.keep_alive_s,
        ws=SeatedWebSocket,
        ws_max_size=settings.wire.frame_bytes,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        ssl_context_factory=None if context is None else lambda *_: context,
    )


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}", ExitCode.TLS) from error
