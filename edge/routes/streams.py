"""Event streams of predictions."""

from litestar import get
from litestar.types import ASGIApp

from edge import lookup
from edge.context import edge_of
from edge.errors import not_found
from edge.frames import Frames
from edge.replies import HTTPRequest, Reply, header
from edge.streams import EventStream


@get("/v1/streams/{token:str}")
async def stream_prediction(request: HTTPRequest) -> ASGIApp:
    """A prediction's output as it comes, as Server-Sent Events. The URL itself is the right to read it."""
    edge = edge_of(request)
    named = edge.stream_tokens.read(request.path_params["token"])
    if named is None:
        raise not_found()
    document = await lookup.find(edge, *named)
    number = edge.services.ids.number(document.id)
    if number is None or not document.streams or not await edge.authenticator.usable(document.token):
        raise not_found()
    frames = Frames(edge.render.value, header(request, b"last-event-id") or "")
    if document.status.terminal and frames.saw_the_end(document):
        # Nothing is left: 204 tells a browser's EventSource not to connect again.
        return Reply(status=204)
    return EventStream(edge, number, document, frames)


HANDLERS = [stream_prediction]
