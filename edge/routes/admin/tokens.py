"""Tokens of all accounts, for administrators. One is named by its id, or by its name and ``?account=``."""

from litestar import delete, get, patch, post
from litestar.types import ASGIApp

from edge.bodies import parse
from edge.context import json_reply
from edge.control import (
    CreateToken,
    ImportedToken,
    ImportTokens,
    ListTokens,
    RevokeToken,
    RotateToken,
    SetToken,
)
from edge.errors import InvalidField, invalid_input
from edge.replies import HTTPRequest, read_body
from edge.routes.admin.ordering import administrator, given, limit_of, ordered, page, place, position
from edge.routes.admin.shapes import ImportBody, RotateBody, TokenBody, TokenChanges

_KEPT = ("account", "limit")


@get("/v1/admin/tokens")
async def admin_list_tokens(request: HTTPRequest) -> ASGIApp:
    """A page of all tokens, or of an account's, revoked ones too, oldest first."""
    edge, who = await administrator(request)
    size = limit_of(request.query_params, edge.services.limits.page_size)
    order = ListTokens(account=_account(request), after=position(request), limit=size + 1)
    rows = await ordered(edge, who, order)
    return json_reply(page(edge, request, rows, size, place, _KEPT))


@post("/v1/admin/tokens")
async def admin_create_token(request: HTTPRequest) -> ASGIApp:
    """Make a token, and its account when that is new. Its secret is in this answer alone."""
    edge, who = await administrator(request)
    body = parse(TokenBody, await read_body(request, edge.services.limits.body_bytes))
    fields = given(body)
    if body.worker is not None:
        fields["scopes"], fields["pools"] = _workers(body)
    return json_reply(await ordered(edge, who, CreateToken(**fields)), 201)


@post("/v1/admin/tokens/import", status_code=200)
async def admin_import_tokens(request: HTTPRequest) -> ASGIApp:
    """Take over tokens of a Cogflare of 2022 with their secrets."""
    edge, who = await administrator(request)
    body = parse(ImportBody, await read_body(request, edge.services.limits.body_bytes))
    entries = tuple(ImportedToken(**given(entry)) for entry in body.entries)
    return json_reply(await ordered(edge, who, ImportTokens(**{**given(body), "entries": entries})))


@get("/v1/admin/tokens/{token:str}")
async def admin_get_token(request: HTTPRequest) -> ASGIApp:
    """One token's record."""
    edge, who = await administrator(request)
    (found,) = await ordered(edge, who, ListTokens(token=_token(request), account=_account(request)))
    return json_reply(found)


@patch("/v1/admin/tokens/{token:str}")
async def admin_update_token(request: HTTPRequest) -> ASGIApp:
    """Change what a token may do, and how often. It holds within a second."""
    edge, who = await administrator(request)
    body = parse(TokenChanges, await read_body(request, edge.services.limits.body_bytes))
    order = SetToken(token=_token(request), changes=given(body), account=_account(request))
    return json_reply(await ordered(edge, who, order))


@post("/v1/admin/tokens/{token:str}/rotate", status_code=200)
async def admin_rotate_token(request: HTTPRequest) -> ASGIApp:
    """Give a token another secret; the one before goes on for ``overlap_s``."""
    edge, who = await administrator(request)
    body = parse(RotateBody, await read_body(request, edge.services.limits.body_bytes))
    order = RotateToken(token=_token(request), overlap_s=body.overlap_s, account=_account(request))
    return json_reply(await ordered(edge, who, order))


@delete("/v1/admin/tokens/{token:str}", status_code=200)
async def admin_revoke_token(request: HTTPRequest) -> ASGIApp:
    """End a token for good, and the keys that it has made. What uses it is cut off within a second."""
    edge, who = await administrator(request)
    order = RevokeToken(token=_token(request), account=_account(request))
    return json_reply(await ordered(edge, who, order))


def _token(request: HTTPRequest) -> str:
    return str(request.path_params["token"])


def _account(request: HTTPRequest) -> str | None:
    return request.query_params.get("account") or None


def _workers(body: TokenBody) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """``worker`` says both, as the command's ``--worker`` does."""
    assert body.worker is not None  # the caller has looked
    if tuple(body.scopes) not in (("submit", "read"), ("worker",)):
        raise invalid_input(InvalidField("conflict", "scopes", "worker makes a token of scope worker"))
    if body.pools not in (("default",), (body.worker,)):
        raise invalid_input(InvalidField("conflict", "pools", "worker names the token's pool"))
    return ("worker",), (body.worker,)


HANDLERS = [
    admin_list_tokens,
    admin_create_token,
    admin_import_tokens,
    admin_get_token,
    admin_update_token,
    admin_rotate_token,
    admin_revoke_token,
]
