"""What there is to find: hardware, collections, and models by words."""

from litestar import get, post
from litestar.types import ASGIApp

from edge.context import authorized, json_reply
from edge.errors import InvalidField, Problem, invalid_input, not_found
from edge.examples import shown_model
from edge.hardware import skus
from edge.replies import HTTPRequest, read_body
from edge.routes.models import model_page
from edge.schemas import FoundMetadata, FoundModel, HardwareOut, SearchOut
from edge.search import checked, words_of

QUERY_PATH = "/v1/models:query"
"""Where ``QUERY /v1/models`` goes: the router knows no such method."""
LARGEST_SEARCH = 50
USUAL_SEARCH = 20
"""Replicate's bounds of ``limit``."""
_SEARCH_BYTES = 4096


@get("/v1/hardware", opt={"keys": True})
async def list_hardware(request: HTTPRequest) -> ASGIApp:
    """The kinds of hardware that workers of the token's pools had."""
    edge, principal = await authorized(request, "read")
    known = skus(await edge.services.store.models.hardware(principal.pools))
    return json_reply([HardwareOut(name=name or "CPU", sku=sku) for sku, name in known.items()])


@get("/v1/collections", opt={"keys": True})
async def list_collections(request: HTTPRequest) -> ASGIApp:
    """Replicate's curated lists of models. A server of your own has none."""
    edge, _ = await authorized(request, "read")
    return json_reply(edge.render.page([], "/v1/collections", None))


@get("/v1/collections/{slug:str}", opt={"keys": True})
async def get_collection(request: HTTPRequest) -> ASGIApp:
    """One collection: there is none."""
    await authorized(request, "read")
    raise not_found()


@get("/v1/search", opt={"keys": True})
async def search(request: HTTPRequest) -> ASGIApp:
    """The models that have all the words of ``query``, newest version first, at most ``limit``."""
    edge, principal = await authorized(request, "read")
    query = checked(request.query_params.get("query", ""))
    if not query:
        raise Problem("bad_request", "The query parameter 'query' is required.")
    limit = _limit(request.query_params.get("limit"))
    rows, _ = await edge.services.store.models.list(principal.account, None, limit, query)
    # Each has all the words, so they score alike.
    found = [
        FoundModel(await shown_model(edge, row), FoundMetadata(row.description, (), score=1.0))
        for row in rows
    ]
    return json_reply(SearchOut(query=query, models=found))


@post(QUERY_PATH, status_code=200, include_in_schema=False, opt={"keys": True})
async def query_models(request: HTTPRequest) -> ASGIApp:
    """``QUERY /v1/models``: the models that have all the words of the body, in any client's form."""
    await authorized(request, "read")
    return await model_page(request, words_of(await read_body(request, _SEARCH_BYTES, "")))


def _limit(text: str | None) -> int:
    if not text:
        return USUAL_SEARCH
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LARGEST_SEARCH:
        raise invalid_input(InvalidField("range", "limit", f"Must be from 1 to {LARGEST_SEARCH}"))
    return int(text)


HANDLERS = [list_hardware, list_collections, get_collection, search, query_models]
