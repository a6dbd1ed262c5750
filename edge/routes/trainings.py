"""Trainings: create, read, list, cancel."""

import asyncio

from litestar import delete, get, post
from litestar.types import ASGIApp

from coordinator.long_inputs import whole
from coordinator.prediction import Document
from edge import listing, lookup, trainings
from edge.bodies import parse
from edge.catalog import Reference
from edge.context import Edge, authorized, json_reply
from edge.removal import remove
from edge.replies import HTTPRequest, Reply, read_body
from edge.schemas import PredictionOut


@post("/v1/models/{owner:str}/{name:str}/versions/{version:str}/trainings", opt={"creates": True})
async def create_training(request: HTTPRequest) -> ASGIApp:
    """Train a version: what comes of it is for the own model that the body names."""
    edge, principal = await authorized(request, "submit")
    params = request.path_params
    wanted = Reference(f"{params['owner']}/{params['name']}", params["version"])
    body = parse(trainings.TrainingBody, await read_body(request, edge.services.limits.body_bytes))
    return await trainings.create(edge, request, principal, wanted, body)


@get("/v1/trainings")
async def list_trainings(request: HTTPRequest) -> ASGIApp:
    """A page of the account's trainings, newest first."""
    edge, principal = await authorized(request, "read")
    wanted = listing.filters(request.query_params, trainings=True)
    rows, following = await listing.page(edge, principal.account, wanted)
    current = await asyncio.gather(*(listing.current(edge, row) for row in rows))
    shown = [await _shown(edge, row, in_list=True) for row in current if wanted.status in (None, row.status)]
    return json_reply(edge.render.page(shown, "/v1/trainings", following))


@get("/v1/trainings/{id:str}")
async def get_training(request: HTTPRequest) -> ASGIApp:
    """Read one training."""
    edge, principal = await authorized(request, "read")
    return json_reply(await _shown(edge, await trainings.find(edge, _id(request), principal.account)))


@post("/v1/trainings/{id:str}/cancel")
async def cancel_training(request: HTTPRequest) -> ASGIApp:
    """Ask for a training's end. Answers at once; an ended one comes back as it is."""
    edge, principal = await authorized(request, "submit")
    found = await trainings.find(edge, _id(request), principal.account)
    return json_reply(await _shown(edge, await lookup.cancel(edge, found.id, principal.account)))


@delete("/v1/trainings/{id:str}", status_code=200)
async def delete_training(request: HTTPRequest) -> ASGIApp:
    """Remove input, output, logs and files of a training that has ended, its weights among them, now."""
    edge, principal = await authorized(request, "submit")
    found = await trainings.find(edge, _id(request), principal.account)
    await remove(edge, found.id, principal.account)
    return Reply(status=204)


def _id(request: HTTPRequest) -> str:
    id: str = request.path_params["id"]
    return id


async def _shown(edge: Edge, document: Document, *, in_list: bool = False) -> PredictionOut:
    document = await whole(edge.services.blobs, document)
    version, schema = await edge.catalog.shown(document)
    return edge.render.prediction(document, version, schema, in_list=in_list)


HANDLERS = [create_training, list_trainings, get_training, cancel_training, delete_training]
