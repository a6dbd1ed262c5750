"""The HTTP application: its routes, what becomes of errors, and what surrounds every request.

Around Litestar lies ``_Door``: both shapes of base URL, request ids, and the agents' websockets.
"""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Iterable
from functools import cache

from litestar import HttpMethod, Litestar
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.protocol.log_lines import about
from coordinator.protocol.messages import PATH as WORKERS_PATH
from edge.access_log import REQUEST_ID, AccessLog
from edge.catalog import Catalog
from edge.context import EDGE, RATE, Edge, edge_of
from edge.cors import Cors
from edge.errors import not_found
from edge.legacy import routes as legacy
from edge.legacy.door import LegacyDoor
from edge.links import Links
from edge.metrics.requests import Requests
from edge.openai import routes as openai
from edge.orders import Orders
from edge.problems import problem_of
from edge.provided import ProvidedModels
from edge.refusal import refuse_upgrade
from edge.replies import PROBLEM_JSON, Header, HTTPRequest, Reply
from edge.routes import (
    batches,
    deployments,
    discovery,
    files,
    keys,
    model_changes,
    models,
    monitoring,
    overflow,
    predictions,
    retention,
    server,
    streams,
    trainings,
    usage,
)
from edge.routes.admin import routes as admin
from edge.schemas import Renderer
from edge.services import Services
from edge.shortcut import Shortcut
from edge.stream_tokens import StreamTokens
from edge.throttle import Throttle
from edge.unanswered import Unanswered

log = logging.getLogger(__name__)

_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_CATALOG_TTL_S = 1.0
_ALLOWED = b"access-control-allow-origin"
_UNPREFIXED = (
    "/predictions",
    "/models",
    "/files",
    "/streams",
    "/account",
    "/usage",
    "/deployments",
    "/hardware",
    "/collections",
    "/search",
    "/webhooks",
    "/trainings",
)


def create_app(services: Services, orders: Orders) -> ASGIApp:
    """The ASGI application of one server. It owns nothing: ``services`` is stopped by who built it, and
    ``orders`` carries out what administrators order."""
    links = Links(services.public_url, services.signer, services.limits.file_url_ttl_s, services.clock.now)
    tokens = StreamTokens(services.signer)
    provided = None
    if services.overflow is not None:
        provided = ProvidedModels(
            services.overflow.access,
            services.store.provider_versions,
            services.clock,
            services.limits.overflow_lookup_s,
        )
    edge = Edge(
        services=services,
        orders=orders,
        authenticator=services.authenticator,
        catalog=Catalog(services.store, services.clock, _CATALOG_TTL_S, provided),
        provided=provided,
        links=links,
        stream_tokens=tokens,
        render=Renderer(links, tokens),
        throttle=Throttle(services.limits, services.clock.monotonic),
        unanswered=Unanswered(
            services.limits.lost_answer_s, services.limits.lost_answers, services.clock.monotonic
        ),
    )
    cors = Cors(services.cors_origins)
    return _Door(edge, services.gateway, services.legacy, cors, services.access, services.requests)


@cache
def _routes() -> tuple[Litestar, Shortcut]:
    """Made once in a process: what belongs to one server comes along with each request."""
    handlers = [
        *predictions.HANDLERS,
        *trainings.HANDLERS,
        *retention.HANDLERS,
        *batches.HANDLERS,
        *openai.HANDLERS,
        *models.HANDLERS,
        *model_changes.HANDLERS,
        *discovery.HANDLERS,
        *deployments.HANDLERS,
        *files.HANDLERS,
        *streams.HANDLERS,
        *server.HANDLERS,
        *usage.HANDLERS,
        *monitoring.HANDLERS,
        *overflow.HANDLERS,
        *admin.HANDLERS,
        *keys.HANDLERS,
        *legacy.HANDLERS,
    ]
    app = Litestar(
        handlers,
        exception_handlers={Exception: _on_error},  # type: ignore[dict-item]
        openapi_config=None,
        logging_config=None,
        # Each handler reads its body itself, against the limit that is meant for it.
        request_max_body_size=None,
    )
    shortcut = Shortcut(app, handlers, _on_error)
    return app, shortcut


class _Door:
    """What every connection passes first."""

    def __init__(
        self,
        edge: Edge,
        gateway: ASGIApp,
        legacy_door: LegacyDoor,
        cors: Cors,
        access: AccessLog,
        requests: Requests,
    ) -> None:
        self._app, self._shortcut = _routes()
        self._edge = edge
        self._cors = cors
        self._access = access
        self._requests = requests
        self._gateway = gateway
        self._legacy_door = legacy_door
        self._prefix = secrets.token_hex(5)
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind == "websocket":
            await self._websocket(scope, receive, send)
            return
        if kind != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _given_id(scope["headers"]) or f"{self._prefix}-{next(self._count):x}"
        named: Header = (b"x-request-id", request_id.encode())
        cors = self._cors.headers(scope["headers"])
        scope[REQUEST_ID] = request_id  # type: ignore[literal-required]
        scope[EDGE] = self._edge  # type: ignore[literal-required]
        scope["path"] = _api_path(scope["path"], scope["query_string"])
        _route_query(scope)
        started = False
        tracing = self._edge.services.tracing
        begun = None if tracing is None else tracing.begin(scope)
        answer = 500

        async def send_with_id(message: Message) -> None:
            nonlocal started, answer
            if message["type"] == "http.response.start":
                started, answer = True, message["status"]
                self._access.answered(scope, message["status"], began)
                self._requests.answered(scope, message["status"], began)
                # What any page may read says so itself, and a browser takes that header only once.
                given = cors and any(name == _ALLOWED for name, _ in message["headers"])
                rate: tuple[Header, ...] = scope.get(RATE, ())  # type: ignore[assignment]
                message["headers"] = [*message["headers"], named, *(() if given else cors), *rate]
            await send(message)

        preflight = self._cors.preflight(str(scope.get("method")), scope["headers"])
        if preflight is not None:
            await Reply(status=204, headers=preflight)(scope, receive, send_with_id)
            return
        try:
            if (handler := self._shortcut.handler(scope)) is not None:
                await self._shortcut.serve(handler, scope, receive, send_with_id)
            else:
                await self._app(scope, receive, send_with_id)
        except Exception:
            # Too late for another answer: the connection is cut, so the client sees that this one is broken.
            ids = about(request_id=request_id)
            log.exception("request %s failed while its answer was being sent", request_id, extra=ids)
            if not started:
                raise
        finally:
            if tracing is not None and begun is not None:
                tracing.ended(begun, scope, answer)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _api_path(scope["path"], b"").rstrip("/") == WORKERS_PATH:
            await self._gateway(scope, receive, send)
        elif self._legacy_door.serves(scope):
            await self._legacy_door(scope, receive, send)
        else:
            await refuse_upgrade(receive, send, not_found())


def _api_path(path: str, query: bytes) -> str:
    """``/v1/v1/x`` and ``/x`` as ``/v1/x``: the official clients disagree on what a base URL is.

    ``/files/…`` is also where stored files are read; those URLs carry a signature.
    """
    if path.startswith("/v1/v1/"):
        return path[3:]
    if path.startswith(_UNPREFIXED) and not (path.startswith("/files/") and b"signature=" in query):
        head = path.find("/", 1)
        if (path if head < 0 else path[:head]) in _UNPREFIXED:
            return "/v1" + path
    return path


def _given_id(headers: Iterable[Header]) -> str | None:
    """The client's own id of the request, if it is one that does no harm in a header or a log."""
    for name, value in headers:
        if name == b"x-request-id":
            return value.decode("ascii") if _SANE_ID.fullmatch(value) else None
    return None


def _route_query(scope: Scope) -> None:
    """``QUERY /v1/models`` to where it is served: the router refuses a method that it does not know."""
    if scope.get("method") == "QUERY" and scope["path"].rstrip("/") == "/v1/models":
        scope.update(method=HttpMethod.POST, path=discovery.QUERY_PATH)  # type: ignore[call-arg]


def _on_error(request: HTTPRequest, error: Exception) -> Reply:
    """Litestar's exception handler: every error is a problem document; unexpected ones tell nothing."""
    problem = problem_of(request, error)
    edge_of(request).services.requests.refusals[problem.code] += 1
    headers = list(problem.headers)
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(problem.retry_after_s).encode()))
    route = request.scope.get("route_handler")
    creates = route is not None and route.opt.get("creates")
    if creates and 400 <= problem.status < 500 and problem.status != 429:
        # The beta client would repeat some of these by itself.
        headers.append((b"x-should-retry", b"false"))
    body = problem.body(str(request.scope.get(REQUEST_ID, "")))
    return Reply(body, problem.status, PROBLEM_JSON, tuple(headers))
