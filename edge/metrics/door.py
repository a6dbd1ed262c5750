"""Where monitoring reads without a token: an address of its own (``--metrics-address``)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

from litestar.types import Receive, Scope, Send

from edge.address import bind
from edge.asgi_listener import AsgiServer
from edge.exits import CommandFailed, ExitCode
from edge.metrics.exposition import CONTENT_TYPE
from edge.metrics.page import metrics_page
from edge.metrics.scale import scale_page
from edge.replies import TEXT, Reply
from edge.services import Services

_GOODBYE_S = 1.0


def metrics_address(given: str) -> tuple[str, int] | None:
    """(host, port) of ``--metrics-address``; None when nothing is given. Raises CommandFailed."""
    if not given:
        return None
    host, colon, port = given.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535 or "/" in host:
        raise CommandFailed(
            f"--metrics-address: {given!r} is not HOST:PORT, such as 127.0.0.1:9090", ExitCode.USAGE
        )
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - ":9090" is what the operator gave


@asynccontextmanager
async def metrics_door(given: str, services: Services) -> AsyncIterator[str]:
    """Answers there as long as the block runs; gives the URL, empty when there is none. Raises
    CommandFailed."""
    address = metrics_address(given)
    if address is None:
        yield ""
        return
    try:
        listener = bind(*address)
    except CommandFailed as error:
        raise CommandFailed(f"--metrics-address: {error}", error.code, "give another one") from None
    with listener:
        server = AsgiServer(_Door(services), listener, last_answers_s=_GOODBYE_S)
        serving = asyncio.create_task(server.serve())
        try:
            await server.listening.wait()
            host, port = listener.getsockname()[:2]
            yield f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"
        finally:
            server.leave()
            await serving


class _Door:
    """Two paths, for whoever can reach the address."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = await self._answer(scope)
        await reply(scope, receive, send)

    async def _answer(self, scope: Scope) -> Reply:
        if scope["path"] == "/metrics":
            return Reply(await metrics_page(self._services), content_type=CONTENT_TYPE)
        if scope["path"] == "/scale":
            asked = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
            page = await scale_page(self._services, asked.get("model"), asked.get("pool"))
            return Reply(b"no such model\n", 404, TEXT) if page is None else Reply(page)
        return Reply(b"GET /metrics or /scale\n", 404, TEXT)
