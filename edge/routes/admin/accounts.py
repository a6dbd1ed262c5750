"""Accounts and what they may have, for administrators."""

from litestar import get, patch, post
from litestar.types import ASGIApp

from edge.bodies import parse
from edge.context import json_reply
from edge.control import ListAccounts, RotateWebhookSecret, SetAccount
from edge.replies import HTTPRequest, read_body
from edge.routes.admin.ordering import administrator, given, ordered, whole
from edge.routes.admin.shapes import AdminAccountChanges


@get("/v1/admin/accounts")
async def admin_list_accounts(request: HTTPRequest) -> ASGIApp:
    """All accounts, their shares, and what their files take."""
    edge, who = await administrator(request)
    return json_reply(whole(await ordered(edge, who, ListAccounts())))


@get("/v1/admin/accounts/{account:str}")
async def admin_get_account(request: HTTPRequest) -> ASGIApp:
    """One account."""
    edge, who = await administrator(request)
    (found,) = await ordered(edge, who, ListAccounts(account=_account(request)))
    return json_reply(found)


@patch("/v1/admin/accounts/{account:str}")
async def admin_update_account(request: HTTPRequest) -> ASGIApp:
    """Change an account's share, or what its files may take. It holds within a second."""
    edge, who = await administrator(request)
    changes = given(parse(AdminAccountChanges, await read_body(request, edge.services.limits.body_bytes)))
    at_most = None
    if "storage_at_most_bytes" in changes:
        at_most = changes["storage_at_most_bytes"] or 0
    order = SetAccount(account=_account(request), share=changes.get("share"), storage_at_most=at_most)
    return json_reply(await ordered(edge, who, order))


@post("/v1/admin/accounts/{account:str}/webhook-secret", status_code=200)
async def admin_rotate_webhook_secret(request: HTTPRequest) -> ASGIApp:
    """Give an account another secret for its webhooks; for a day both sign."""
    edge, who = await administrator(request)
    return json_reply(await ordered(edge, who, RotateWebhookSecret(account=_account(request))))


def _account(request: HTTPRequest) -> str:
    return str(request.path_params["account"])


HANDLERS = [admin_list_accounts, admin_get_account, admin_update_account, admin_rotate_webhook_secret]
