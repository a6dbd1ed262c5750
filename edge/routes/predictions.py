"""Predictions: create, read, list, cancel."""

import asyncio

from litestar import get, post
from litestar.types import ASGIApp
from msgspec import UNSET

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.prediction import Document
from edge import lookup
from edge.catalog import Reference
from edge.context import Edge, authorized, json_reply
from edge.errors import InvalidField, invalid_input, invalid_version, not_found
from edge.pages import decode_cursor, encode_cursor
from edge.replies import HTTPRequest, Reply, read_body
from edge.schemas import PredictionOut, parse_create
from edge.submit import submit, wanted_version
from edge.times import parse_rfc3339


@post("/v1/predictions", opt={"creates": True})
async def create_prediction(request: HTTPRequest) -> ASGIApp:
    """Create a prediction of the version, or model, that the body names."""
    edge, principal = await authorized(request, "submit")
    body = parse_create(await read_body(request, edge.services.limits.body_bytes))
    target = await edge.catalog.target(principal, wanted_version(body))
    if target is None:
        raise invalid_version()
    return await submit(edge, request, principal, body, target)


@post("/v1/models/{owner:str}/{name:str}/predictions", opt={"creates": True})
async def create_model_prediction(request: HTTPRequest) -> ASGIApp:
    """Create a prediction of a model, on whatever version a worker has."""
    edge, principal = await authorized(request, "submit")
    body = parse_create(await read_body(request, edge.services.limits.body_bytes))
    if body.version is not None or body.model is not None:
        raise invalid_input(
            *(
                InvalidField("additional_property_not_allowed", name, "The path names the model already")
                for name in ("version", "model")
                if getattr(body, name) is not None
            )
        )
    params = request.path_params
    target = await edge.catalog.target(principal, Reference(f"{params['owner']}/{params['name']}", None))
    if target is None:
        raise not_found()
    return await submit(edge, request, principal, body, target)


@get("/v1/predictions/{id:str}")
async def get_prediction(request: HTTPRequest) -> ASGIApp:
    """Read one prediction."""
    edge, principal = await authorized(request, "read")
    explained = await lookup.explain(edge, request.path_params["id"], principal.account)
    shown = await _shown(edge, explained.document)
    shown.queue = edge.render.queue(explained) or UNSET
    return json_reply(shown)


@get("/v1/predictions/{id:str}/why")
async def explain_prediction(request: HTTPRequest) -> ASGIApp:
    """Say in a sentence why a prediction waits, or what became of it."""
    edge, principal = await authorized(request, "read")
    explained = await lookup.explain(edge, request.path_params["id"], principal.account)
    return json_reply(edge.render.why(explained))


@post("/v1/predictions/{id:str}/cancel")
async def cancel_prediction(request: HTTPRequest) -> ASGIApp:
    """Ask for a prediction's end. Answers at once; an ended one comes back as it is."""
    edge, principal = await authorized(request, "submit")
    return await _reply(edge, await lookup.cancel(edge, request.path_params["id"], principal.account))


@get("/v1/predictions")
async def list_predictions(request: HTTPRequest) -> ASGIApp:
    """A page of the account's predictions, newest first."""
    edge, principal = await authorized(request, "read")
    query = request.query_params
    before = decode_cursor(query["cursor"]) if query.get("cursor") else None
    after_at, before_at = _time(query.get("created_after"), "created_after"), None
    before_at = _time(query.get("created_before"), "created_before")
    size = edge.services.limits.page_size
    rows = await edge.services.store.index.list(
        principal.account,
        before=before,
        created_after=after_at,
        created_before=before_at,
        limit=size + 1,
    )
    merged = {row.id: row for row in rows}
    for document in edge.services.projector.pending(principal.account):
        known = merged.get(document.id)
        in_page = (
            (before is None or (document.created_at, document.id) < before)
            and (after_at is None or document.created_at >= after_at)
            and (before_at is None or document.created_at < before_at)
        )
        if in_page and (known is None or known.sequence < document.sequence):
            merged[document.id] = document
    newest = sorted(merged.values(), key=lambda row: (row.created_at, row.id), reverse=True)
    page = await asyncio.gather(*(_current(edge, row) for row in newest[:size]))
    following = None
    if len(newest) > size:
        following = {"cursor": encode_cursor((page[-1].created_at, page[-1].id))}
        following |= {name: query[name] for name in ("created_after", "created_before") if query.get(name)}
    shown = [await _shown(edge, row, in_list=True) for row in page]
    return json_reply(edge.render.page(shown, "/v1/predictions", following))


async def _current(edge: Edge, document: Document) -> Document:
    """What the index does not follow while a prediction runs, when it costs nothing to ask."""
    number = edge.services.ids.number(document.id)
    if document.status.terminal or number is None or not edge.services.models.live(number):
        return document
    try:
        reply = await edge.services.models.stub(number).get(
            calls.Get(id=document.id, account=document.account)
        )
    except Unavailable:
        return document
    return reply.document if isinstance(reply, calls.Found) else document


async def _shown(edge: Edge, document: Document, *, in_list: bool = False) -> PredictionOut:
    version, schema = await edge.catalog.shown(document)
    return edge.render.prediction(document, version, schema, in_list=in_list)


async def _reply(edge: Edge, document: Document) -> Reply:
    return json_reply(await _shown(edge, document))


def _time(text: str | None, name: str) -> int | None:
    if not text:
        return None
    # A plus that was not escaped arrives as a space.
    at = parse_rfc3339(text.replace(" ", "+") if "T" in text else text)
    if at is None:
        raise invalid_input(InvalidField("format", name, "Must be an ISO 8601 time"))
    return at


HANDLERS = [
    create_prediction,
    create_model_prediction,
    get_prediction,
    explain_prediction,
    cancel_prediction,
    list_predictions,
]
