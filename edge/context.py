"""What the handlers of one application share, and how they get at it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.access_log import TOKEN
from edge.auth import Authenticator, Principal
from edge.catalog import Catalog
from edge.errors import Problem
from edge.frames import SharedFrames
from edge.links import Links
from edge.provided import ProvidedModels
from edge.replies import HTTPRequest, Reply
from edge.schemas import Renderer, encode
from edge.services import Services
from edge.stream_tokens import StreamTokens
from edge.throttle import Throttle
from edge.unanswered import Unanswered

if TYPE_CHECKING:
    from edge.orders import Orders

EDGE = "cogflare.edge"
"""Where a request's scope has the ``Edge`` that serves it."""
RATE = "cogflare.rate"
"""Where a request's scope has the headers that say how much of its token's rate is left."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One application's parts."""

    services: Services
    orders: "Orders"
    authenticator: Authenticator
    catalog: Catalog
    links: Links
    stream_tokens: StreamTokens
    render: Renderer
    throttle: Throttle
    unanswered: Unanswered
    provided: ProvidedModels | None = None
    """Of tokens with a key of a provider; None where there is no provider."""
    frames: SharedFrames = field(default_factory=SharedFrames)
    """Of all event streams."""


def edge_of(request: HTTPRequest) -> Edge:
    edge: Edge = request.scope[EDGE]  # type: ignore[literal-required]
    return edge


async def authorized(request: HTTPRequest, scope: str) -> tuple[Edge, Principal]:
    """The application and who is asking, counted. Raises Problem ``unauthenticated``, ``missing_scope``,
    ``throttled``, and ``not_allowed`` for a user's key unless the route is marked ``keys``: such a one keeps
    what one key made from the others."""
    edge = edge_of(request)
    principal = await edge.authenticator.principal(request.scope)
    request.scope[TOKEN] = principal.token  # type: ignore[literal-required]
    creates = bool(request.scope["route_handler"].opt.get("creates"))
    standing = edge.throttle.charge(principal, creates=creates)
    if standing is not None:
        request.scope[RATE] = standing.headers()  # type: ignore[literal-required]
    principal.require(scope)
    if principal.maker is not None and not request.scope["route_handler"].opt.get("keys"):
        raise Problem("not_allowed", "This is a key of a user, which creates and reads its own predictions.")
    return edge, principal


def json_reply(value: object, status: int = 200) -> Reply:
    return Reply(encode(value), status)
