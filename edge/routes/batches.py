"""Many predictions by one request."""

from litestar import post
from litestar.types import ASGIApp

from edge import batch
from edge.aliases import key_of
from edge.context import authorized
from edge.replies import HTTPRequest, Reply, read_body
from edge.schemas import encode
from edge.submit import REPLAYED


@post("/v1/predictions/batch", opt={"keys": True, "creates": True})
async def create_batch(request: HTTPRequest) -> ASGIApp:
    """Create many predictions. Each is created, or refused for itself: the answer says what became of each.
    Nothing is waited for."""
    edge, principal = await authorized(request, "submit")
    limits, headers = edge.services.limits, request.scope["headers"]
    bodies = batch.bodies_of(await read_body(request, limits.body_bytes), limits.batch_length)
    if len(bodies) > 1:  # one is counted already
        edge.throttle.charge(principal, creates=True, count=len(bodies) - 1)
    name = key_of(headers)
    if name is None:
        made, replayed = await batch.create_batch(edge, principal, headers, bodies), False
    else:
        digest = batch.digest(request.scope["path"].rstrip("/"), bodies)
        made, replayed = await batch.create_named(edge, principal, headers, bodies, name, digest)
    answer = encode(await batch.rendered(edge, headers, made))
    return Reply(answer, headers=(REPLAYED,) if replayed else ())


HANDLERS = [create_batch]
