"""The short way to the handlers that are asked most often: past the router and its hooks."""

from collections.abc import Callable, Iterable
from typing import Any

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.types import Receive, Scope, Send

from edge.replies import HTTPRequest, Reply

OnError = Callable[[HTTPRequest, Exception], Reply]


class Shortcut:
    """Serves requests whose method and path are, to the letter, those of handlers that are marked ``hot``.
    Such a handler takes nothing but the request, and has no guards. All others are for the router."""

    def __init__(self, app: Litestar, handlers: Iterable[Any], on_error: OnError) -> None:
        self._app = app
        self._on_error = on_error
        self._hot = [
            (method, path.split("/"), handler)
            for handler in handlers
            if isinstance(handler, HTTPRouteHandler) and handler.opt.get("hot")
            for path in handler.paths
            for method in handler.http_methods
        ]

    def handler(self, scope: Scope) -> HTTPRouteHandler | None:
        """Whose request this is, if it goes this way. Sets ``path_params``."""
        method, parts = scope.get("method"), scope["path"].split("/")
        for wanted, template, handler in self._hot:
            if method == wanted and len(template) == len(parts):
                params = _params(template, parts)
                if params is not None:
                    scope["path_params"] = params
                    return handler
        return None

    async def serve(self, handler: HTTPRouteHandler, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the router would, errors before the answer's begin included."""
        scope["app"] = scope["litestar_app"] = self._app
        scope["route_handler"] = handler
        request: HTTPRequest = HTTPRequest(scope, receive, send)
        try:
            reply = await handler.fn(request)
        except Exception as error:
            reply = self._on_error(request, error)
        await reply(scope, receive, send)


def _params(template: list[str], parts: list[str]) -> dict[str, str] | None:
    params = {}
    for wanted, part in zip(template, parts, strict=True):
        if wanted.startswith("{"):
            if not part:
                return None
            params[wanted[1:].partition(":")[0]] = part
        elif wanted != part:
            return None
    return params
