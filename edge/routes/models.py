"""Models and their versions, as workers registered them."""

from litestar import get
from litestar.types import ASGIApp

from coordinator.store.errors import Invalid
from edge.context import authorized, json_reply
from edge.errors import InvalidField, invalid_input, not_found
from edge.replies import HTTPRequest

PAGE_SIZE = 25
"""Replicate's; lists of predictions and files have the limit page_size."""


@get("/v1/models")
async def list_models(request: HTTPRequest) -> ASGIApp:
    """A page of the account's models and public ones, newest version first."""
    edge, principal = await authorized(request, "read")
    cursor = request.query_params.get("cursor") or None
    try:
        rows, following = await edge.services.store.models.list(principal.account, cursor, PAGE_SIZE)
    except Invalid:
        raise invalid_input(InvalidField("cursor", "cursor", "Not a cursor of this list")) from None
    shown = [edge.render.model(row) for row in rows]
    return json_reply(
        edge.render.page(shown, "/v1/models", None if following is None else {"cursor": following})
    )


@get("/v1/models/{owner:str}/{name:str}")
async def get_model(request: HTTPRequest) -> ASGIApp:
    """One model with its newest version."""
    edge, principal = await authorized(request, "read")
    row = await edge.catalog.model(principal.account, _model(request))
    if row is None:
        raise not_found()
    return json_reply(edge.render.model(row))


@get("/v1/models/{owner:str}/{name:str}/versions")
async def list_versions(request: HTTPRequest) -> ASGIApp:
    """All versions of a model, newest first."""
    edge, principal = await authorized(request, "read")
    model = _model(request)
    rows = await edge.services.store.models.versions(principal.account, model)
    if not rows:
        raise not_found()
    shown = [edge.render.version(row) for row in rows]
    return json_reply(edge.render.page(shown, f"/v1/models/{model}/versions", None))


@get("/v1/models/{owner:str}/{name:str}/versions/{version:str}")
async def get_version(request: HTTPRequest) -> ASGIApp:
    """One version of a model."""
    edge, principal = await authorized(request, "read")
    row = await edge.catalog.version(principal.account, _model(request), request.path_params["version"])
    if row is None:
        raise not_found()
    return json_reply(edge.render.version(row))


def _model(request: HTTPRequest) -> str:
    return f"{request.path_params['owner']}/{request.path_params['name']}"


HANDLERS = [list_models, get_model, list_versions, get_version]
