"""Keys that an account's token of scope ``keys`` makes for users of its own, named by id or name."""

from typing import Annotated, Literal

import msgspec
from litestar import delete, get, post
from litestar.types import ASGIApp
from msgspec import Meta

from edge.bodies import parse
from edge.context import authorized, json_reply
from edge.control import CreateKey, ListKeys, RevokeKey, RotateKey
from edge.replies import HTTPRequest, read_body
from edge.routes.admin.ordering import by, given, limit_of, ordered, page, place, position
from edge.routes.admin.shapes import Lifetime, RotateBody

Rate = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
KeyScope = Literal["submit", "read"]


class KeyBody(msgspec.Struct):
    """A key to be made; what is left out is as its maker has it."""

    name: str
    scopes: tuple[KeyScope, ...] = ("submit", "read")
    pools: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    expire_s: Lifetime | None = None
    creations_per_min: Rate | None = None
    requests_per_min: Rate | None = None


class KeyOut(msgspec.Struct):
    """A key's record, without its secret."""

    id: str
    name: str
    scopes: list[KeyScope]
    pools: list[str]
    models: list[str]
    creations_per_min: int | None
    requests_per_min: int | None
    prefix: str
    created_at: str
    last_used_at: str | None
    expires_at: str | None
    previous_until: str | None
    revoked_at: str | None


class NewKeyOut(KeyOut):
    """A key's record with its secret, ``key``, which is shown this once."""

    key: str


@post("/v1/keys", opt={"creates": True})
async def create_key(request: HTTPRequest) -> ASGIApp:
    """Make a key for a user of the account's own. Its secret is in this answer alone."""
    edge, maker = await authorized(request, "keys")
    fields = given(parse(KeyBody, await read_body(request, edge.services.limits.body_bytes)))
    return json_reply(await ordered(edge, by(maker), CreateKey(maker=maker.token, **fields)), 201)


@get("/v1/keys")
async def list_keys(request: HTTPRequest) -> ASGIApp:
    """A page of the keys that the token has made, revoked ones too, oldest first."""
    edge, maker = await authorized(request, "keys")
    size = limit_of(request.query_params, edge.services.limits.page_size)
    order = ListKeys(maker=maker.token, after=position(request), limit=size + 1)
    rows = await ordered(edge, by(maker), order)
    return json_reply(page(edge, request, rows, size, place, ("limit",)))


@get("/v1/keys/{key:str}")
async def get_key(request: HTTPRequest) -> ASGIApp:
    """One key's record."""
    edge, maker = await authorized(request, "keys")
    (found,) = await ordered(edge, by(maker), ListKeys(maker=maker.token, key=_key(request)))
    return json_reply(found)


@post("/v1/keys/{key:str}/rotate", status_code=200)
async def rotate_key(request: HTTPRequest) -> ASGIApp:
    """Give a key another secret; the one before goes on for ``overlap_s``."""
    edge, maker = await authorized(request, "keys")
    body = parse(RotateBody, await read_body(request, edge.services.limits.body_bytes))
    order = RotateKey(maker=maker.token, key=_key(request), overlap_s=body.overlap_s)
    return json_reply(await ordered(edge, by(maker), order))


@delete("/v1/keys/{key:str}", status_code=200)
async def revoke_key(request: HTTPRequest) -> ASGIApp:
    """End a key for good. What uses it is cut off within a second."""
    edge, maker = await authorized(request, "keys")
    return json_reply(await ordered(edge, by(maker), RevokeKey(maker=maker.token, key=_key(request))))


def _key(request: HTTPRequest) -> str:
    return str(request.path_params["key"])


HANDLERS = [create_key, list_keys, get_key, rotate_key, revoke_key]
