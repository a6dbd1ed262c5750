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
    """Change what an account may have: share, storage, and in a day. It holds within a second."""
    edge, who = await administrator(request)
    changes = given(parse(AdminAccountChanges, await read_body(request, edge.services.limits.body_bytes)))
    limits = {name: value or 0 for name, value in changes.items() if name != "share"}
    if "storage_at_most_bytes" in limits:
        limits["storage_at_most"] = limits.pop("storage_at_most_bytes")
    order = SetAccount(account=_account(request), share=changes.get("share"), **limits)
    return json_reply(await ordered(edge, who, order))


@post("/v1/admin/accounts/{account:str}/webhook-secret", status_code=200)
async def admin_rotate_webhook_secret(request: HTTPRequest) -> ASGIApp:
    """Give an account another secret for its webhooks; for a day both sign."""
    edge, who = await administrator(request)
    return json_reply(await ordered(edge, who, RotateWebhookSecret(account=_account(request))))


def _account(request: HTTPRequest) -> str:
    return str(request.path_params["account"])


HANDLERS = [admin_list_accounts, admin_get_account, admin_update_account, admin_rotate_webhook_secret]
