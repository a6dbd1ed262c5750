"""Models and their versions, as workers registered them; of those that nobody has, as a provider has them."""

from collections.abc import Mapping, Sequence

from litestar import get
from litestar.types import ASGIApp

from coordinator.store.errors import Invalid
from coordinator.store.model_rows import ModelRow, Sorting
from edge.auth import Principal
from edge.context import Edge, authorized, json_reply
from edge.errors import InvalidField, invalid_input, not_found
from edge.examples import examples_of, shown_model
from edge.pages import decode_cursor, encode_cursor
from edge.replies import TEXT, HTTPRequest, Reply
from edge.search import checked
from edge.trained_versions import trained_row, trained_rows, with_newest

PAGE_SIZE = 25
"""Replicate's; lists of predictions and files have the limit page_size."""
DIRECTIONS = ("desc", "asc")
SORTING: dict[str, Sorting] = {"latest_version_created_at": "latest_at", "model_created_at": "created_at"}


@get("/v1/models", opt={"keys": True})
async def list_models(request: HTTPRequest) -> ASGIApp:
    """A page of the account's models and public ones, newest version first, or by ``sort_by`` and
    ``sort_direction``; with ``query`` only those that have all its words."""
    return await model_page(request, request.query_params.get("query", ""))


@get("/v1/models/{owner:str}/{name:str}", opt={"keys": True})
async def get_model(request: HTTPRequest) -> ASGIApp:
    """One model with its newest version."""
    edge, principal = await authorized(request, "read")
    row = await _found(edge, principal, _model(request))
    return json_reply(await shown_model(edge, await with_newest(edge, principal.account, row)))


@get("/v1/models/{owner:str}/{name:str}/readme", opt={"keys": True})
async def get_readme(request: HTTPRequest) -> ASGIApp:
    """A model's readme, in Markdown."""
    edge, principal = await authorized(request, "read")
    row = await _found(edge, principal, _model(request))
    if not row.readme:
        raise not_found()
    return Reply(row.readme.encode(), content_type=TEXT)


@get("/v1/models/{owner:str}/{name:str}/examples", opt={"keys": True})
async def list_examples(request: HTTPRequest) -> ASGIApp:
    """The predictions of a model that its owner chose to show, in the order of choice: one page."""
    edge, principal = await authorized(request, "read")
    model = _model(request)
    row = await _found(edge, principal, model)
    shown = [example async for example in examples_of(edge, row)]
    return json_reply(edge.render.page(shown, f"/v1/models/{model}/examples", None))


@get("/v1/models/{owner:str}/{name:str}/versions", opt={"keys": True})
async def list_versions(request: HTTPRequest) -> ASGIApp:
    """A page of a model's versions, newest first."""
    edge, principal = await authorized(request, "read")
    model = _model(request)
    rows = await edge.services.store.models.versions(principal.account, model)
    if not rows and await edge.catalog.model(principal.account, model) is None:
        await _found(edge, principal, model)
        rows = [] if edge.provided is None else await edge.provided.versions(principal, model)
    if made := await trained_rows(edge, principal.account, model):
        rows = sorted((*rows, *made), key=lambda row: (row.created_at, row.id), reverse=True)
    cursor, following = request.query_params.get("cursor"), None
    if cursor:
        before = decode_cursor(cursor)
        rows = [row for row in rows if (row.created_at, row.id) < before]
    if len(rows) > PAGE_SIZE:
        rows = rows[:PAGE_SIZE]
        following = {"cursor": encode_cursor((rows[-1].created_at, rows[-1].id))}
    shown = [edge.render.version(row) for row in rows]
    return json_reply(edge.render.page(shown, f"/v1/models/{model}/versions", following))


@get("/v1/models/{owner:str}/{name:str}/versions/{version:str}", opt={"keys": True})
async def get_version(request: HTTPRequest) -> ASGIApp:
    """One version of a model."""
    edge, principal = await authorized(request, "read")
    model, version = _model(request), request.path_params["version"]
    row = await edge.catalog.version(principal.account, model, version)
    row = row or await trained_row(edge, principal.account, model, version)
    if row is None and edge.provided is not None:
        row = await edge.provided.version(principal, model, version)
    if row is None:
        raise not_found()
    return json_reply(edge.render.version(row))


async def model_page(request: HTTPRequest, words: str) -> ASGIApp:
    """A page of models that have these words; all of them without any. The next page is a plain GET."""
    edge, principal = await authorized(request, "read")
    query, words = request.query_params, checked(words)
    by = SORTING[_one_of(query, "sort_by", tuple(SORTING))]
    ascending = _one_of(query, "sort_direction", DIRECTIONS) == "asc"
    try:
        rows, following = await edge.services.store.models.list(
            principal.account, query.get("cursor") or None, PAGE_SIZE, words, by=by, ascending=ascending
        )
    except Invalid:
        raise invalid_input(InvalidField("cursor", "cursor", "Not a cursor of this list")) from None
    rest = None
    if following is not None:
        kept = {name: query[name] for name in ("sort_by", "sort_direction") if query.get(name)}
        rest = {"cursor": following, **({"query": words} if words else {}), **kept}
    shown = [await shown_model(edge, row) for row in rows]
    return json_reply(edge.render.page(shown, "/v1/models", rest))


async def _found(edge: Edge, principal: Principal, model: str) -> ModelRow:
    """One that the account may see, else one of the provider. Raises Problem."""
    row = await edge.catalog.model(principal.account, model)
    if row is None and edge.provided is not None:
        row = await edge.provided.model(principal, model)
    if row is None:
        raise not_found()
    return row


def _one_of(query: Mapping[str, str], name: str, known: Sequence[str]) -> str:
    """A parameter's value, the first one known when it is not given. Raises Problem ``invalid_input``."""
    value = query.get(name) or known[0]
    if value not in known:
        raise invalid_input(InvalidField("enum", name, f"Must be one of {', '.join(known)}"))
    return value


def _model(request: HTTPRequest) -> str:
    return f"{request.path_params['owner']}/{request.path_params['name']}"


HANDLERS = [list_models, get_model, get_readme, list_examples, list_versions, get_version]
