"""Event streams of predictions."""

from litestar import HttpMethod, route
from litestar.types import ASGIApp

from coordinator.calls import Explained
from coordinator.keeping import is_over
from coordinator.prediction import Document
from coordinator.store.index import key_of
from edge import lookup
from edge.auth import Principal
from edge.context import Edge, edge_of
from edge.errors import InvalidField, invalid_input, not_found
from edge.frames import Frames, saw_the_end
from edge.keeping import removed
from edge.places import Place, read_place
from edge.prediction_stream import PredictionFrames, PredictionStream
from edge.replies import Header, HTTPRequest, Reply, header
from edge.streams import EventStream

# The URL is the secret and no cookie counts: any page that has the URL may read it.
_FOR_ALL: Header = (b"access-control-allow-origin", b"*")


_READ = [HttpMethod.GET, HttpMethod.HEAD]


@route("/v1/streams/{token:str}", http_method=_READ)
async def stream_prediction(request: HTTPRequest) -> ASGIApp:
    """A prediction's output as it comes, as Server-Sent Events. The URL itself is the right to read it."""
    return await _stream(request)


@route("/v1/files/streams/{token:str}", http_method=_READ)
async def stream_files(request: HTTPRequest) -> ASGIApp:
    """The same of a model whose outputs are files: each event is the URL of one."""
    return await _stream(request)


async def _stream(request: HTTPRequest) -> ASGIApp:
    edge = edge_of(request)
    named = edge.stream_tokens.read(request.path_params["token"])
    if named is None:
        raise not_found()
    place = place_of(request)
    document = await lookup.stored(edge, *named)
    token = key_of(document) or document.token
    if not document.streams or not await edge.authenticator.usable(token):
        raise not_found()
    refuse_removed(edge, document)
    if saw_the_end(place, document):
        # Nothing is left: 204 tells a browser's EventSource not to connect again.
        return Reply(status=204, headers=(_FOR_ALL,))
    frames = Frames(edge.render.value, place, edge.frames)
    return EventStream(edge, document, frames, token=token, headers=(_FOR_ALL,))


def follow(edge: Edge, request: HTTPRequest, principal: Principal, explained: Explained) -> ASGIApp:
    """A prediction's own stream, for somebody who may read it. Raises Problem."""
    refuse_removed(edge, explained.document)
    place = place_of(request)
    if saw_the_end(place, explained.document):
        return Reply(status=204)
    frames = PredictionFrames(edge.render, place, edge.frames, explained)
    return PredictionStream(edge, frames, token=principal.token)


def refuse_removed(edge: Edge, document: Document) -> None:
    """Raises Problem ``gone`` for what has nothing left to say."""
    if document.status.terminal and is_over(document, edge.services.clock.now()):
        raise removed(document)


def place_of(request: HTTPRequest) -> Place:
    """Where the reader says that it is. Raises Problem for what is no id of ours: to begin at the start
    instead would give it twice what it has."""
    given = header(request, b"last-event-id") or request.query_params.get("last_event_id") or ""
    place = read_place(given.strip())
    if place is None:
        what = "Must be the id of an event of this stream, such as 1:42; leave it out to read from the start"
        raise invalid_input(InvalidField("invalid_id", "Last-Event-ID", what))
    return place


HANDLERS = [stream_prediction, stream_files]
