"""Predictions: create, read, list, cancel."""

import asyncio

from litestar import get, post, put
from litestar.types import ASGIApp
from msgspec import UNSET

from coordinator.long_inputs import whole
from coordinator.prediction import Document
from edge import listing, lookup
from edge.catalog import Reference
from edge.context import Edge, authorized, json_reply
from edge.errors import InvalidField, Problem, invalid_input, not_found
from edge.file_urls import contents
from edge.legacy import clients
from edge.prediction_stream import wants_events
from edge.replies import HTTPRequest, header, read_body
from edge.routes.streams import follow
from edge.schemas import PredictionOut, parse_create, refuse_target
from edge.submit import submit, target_of
from edge.trained_versions import newest_trained


@post("/v1/predictions", opt={"keys": True, "creates": True, "hot": True})
async def create_prediction(request: HTTPRequest) -> ASGIApp:
    """Create a prediction of the version, or model, that the body names."""
    edge, principal = await authorized(request, "submit")
    if clients.is_old(principal):
        return await clients.in_words(clients.create(edge, request, principal))
    body = parse_create(await read_body(request, edge.services.limits.body_bytes))
    target = await target_of(edge, principal, body)
    return await submit(edge, request, principal, body, target)


@put("/v1/predictions/{id:str}", opt={"creates": True})
async def put_prediction(request: HTTPRequest) -> ASGIApp:
    """Create a prediction under an id of the client's own, once: the same request again gets the same one,
    202 while it runs and 200 when it has ended. Cog's idempotent create."""
    edge, principal = await authorized(request, "submit")
    body = parse_create(await read_body(request, edge.services.limits.body_bytes))
    id = request.path_params["id"]
    if body.id not in (None, id):
        raise invalid_input(InvalidField("conflict", "id", "Must be the one of the path, or left out"))
    body.id = None
    target = await target_of(edge, principal, body)
    return await submit(edge, request, principal, body, target, own_id=id)


@post("/v1/models/{owner:str}/{name:str}/predictions", opt={"keys": True, "creates": True, "hot": True})
async def create_model_prediction(request: HTTPRequest) -> ASGIApp:
    """Create a prediction of a model, on whatever version a worker has."""
    edge, principal = await authorized(request, "submit")
    body = parse_create(await read_body(request, edge.services.limits.body_bytes))
    refuse_target(body, "The path names the model already")
    params = request.path_params
    model = f"{params['owner']}/{params['name']}"
    target = await edge.catalog.target(principal, Reference(model, None))
    target = target or await newest_trained(edge, principal, model)
    if target is None:
        raise not_found()
    return await submit(edge, request, principal, body, target)


@get("/v1/predictions/{id:str}", opt={"keys": True, "hot": True})
async def get_prediction(request: HTTPRequest) -> ASGIApp:
    """Read one prediction; with ``Accept: text/event-stream`` follow it to its end."""
    try:
        edge, principal = await authorized(request, "read")
    except Problem as refusal:
        return await clients.read_by_id(request, refusal)
    if clients.is_old(principal):
        return await clients.in_words(clients.read(edge, request.path_params["id"], principal))
    explained = await lookup.explain(edge, request.path_params["id"], principal.account)
    lookup.own(principal, explained.document)
    if wants_events(header(request, b"accept") or ""):
        return follow(edge, request, principal, explained)
    shown = await _shown(edge, request, explained.document)
    shown.queue = edge.render.queue(explained) or UNSET
    return json_reply(shown)


@get("/v1/predictions/{id:str}/why", opt={"keys": True})
async def explain_prediction(request: HTTPRequest) -> ASGIApp:
    """Say in a sentence why a prediction waits, or what became of it."""
    edge, principal = await authorized(request, "read")
    explained = await lookup.explain(edge, request.path_params["id"], principal.account)
    lookup.own(principal, explained.document)
    return json_reply(edge.render.why(explained))


@post("/v1/predictions/{id:str}/cancel", opt={"keys": True})
async def cancel_prediction(request: HTTPRequest) -> ASGIApp:
    """Ask for a prediction's end. Answers at once; an ended one comes back as it is."""
    edge, principal = await authorized(request, "submit")
    if clients.is_old(principal):
        return await clients.in_words(clients.cancel(edge, request.path_params["id"], principal))
    if principal.maker is not None:
        lookup.own(principal, await lookup.find(edge, request.path_params["id"], principal.account))
    document = await lookup.cancel(edge, request.path_params["id"], principal.account)
    return json_reply(await _shown(edge, request, document))


@get("/v1/predictions/{id:str}/webhooks", opt={"keys": True})
async def list_deliveries(request: HTTPRequest) -> ASGIApp:
    """Say what became of the webhook of a prediction's end, with the last tries."""
    edge, principal = await authorized(request, "read")
    document = await lookup.find(edge, request.path_params["id"], principal.account)
    lookup.own(principal, document)
    found = None
    if document.webhook and document.status.terminal:
        found = await lookup.deliveries(edge, document)
    return json_reply(edge.render.deliveries(document, found))


@post("/v1/predictions/{id:str}/redeliver", opt={"keys": True})
async def redeliver_webhook(request: HTTPRequest) -> ASGIApp:
    """Send the webhook of a prediction's end again, now."""
    edge, principal = await authorized(request, "submit")
    document = await lookup.find(edge, request.path_params["id"], principal.account)
    lookup.own(principal, document)
    if not document.webhook or "completed" not in document.webhook_events:
        detail = "This prediction was made without a webhook that hears of its end."
        raise Problem("no_webhook", detail)
    if not document.status.terminal:
        raise Problem("no_webhook", "This prediction has not ended yet; its webhook is sent when it does.")
    found = await lookup.redeliver(edge, document)
    return json_reply(edge.render.deliveries(document, found), 202)


@get("/v1/predictions", opt={"keys": True})
async def list_predictions(request: HTTPRequest) -> ASGIApp:
    """A page of the account's predictions, newest first."""
    edge, principal = await authorized(request, "read")
    if clients.is_old(principal):
        return await clients.in_words(clients.page(edge, request, principal))
    wanted = listing.filters(request.query_params)
    key = None if principal.maker is None else principal.token
    rows, following = await listing.page(edge, principal.account, wanted, key)
    current = await asyncio.gather(*(listing.current(edge, row) for row in rows))
    shown = [await _listed(edge, row) for row in current if wanted.status in (None, row.status)]
    return json_reply(edge.render.page(shown, "/v1/predictions", following))


async def _shown(edge: Edge, request: HTTPRequest, document: Document) -> PredictionOut:
    document = await whole(edge.services.blobs, document)
    version, schema = await edge.catalog.shown(document)
    inside = await contents(edge, request.scope["headers"], document)
    return edge.render.prediction(document, version, schema, contents=inside)


async def _listed(edge: Edge, document: Document) -> PredictionOut:
    document = await whole(edge.services.blobs, document)
    version, schema = await edge.catalog.shown(document)
    return edge.render.prediction(document, version, schema, in_list=True)


HANDLERS = [
    create_prediction,
    put_prediction,
    create_model_prediction,
    get_prediction,
    explain_prediction,
    cancel_prediction,
    list_deliveries,
    redeliver_webhook,
    list_predictions,
]
