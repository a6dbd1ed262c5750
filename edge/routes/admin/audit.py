"""What administrators have done."""

from typing import Any

from litestar import get
from litestar.types import ASGIApp

from edge.context import json_reply
from edge.control import ListAudit
from edge.replies import HTTPRequest
from edge.routes.admin.ordering import administrator, limit_of, ordered, page, position

_KEPT = ("act", "target", "token", "limit")


@get("/v1/admin/audit")
async def admin_list_acts(request: HTTPRequest) -> ASGIApp:
    """A page of what administrators have done by any way, newest first."""
    edge, who = await administrator(request)
    query, after = request.query_params, position(request)
    size = limit_of(query, edge.services.limits.page_size)
    order = ListAudit(
        act=query.get("act") or None,
        target=query.get("target") or None,
        token=query.get("token") or None,
        before=None if after is None else after[0],
        limit=size + 1,
    )
    return json_reply(page(edge, request, await ordered(edge, who, order), size, _place, _KEPT))


def _place(row: dict[str, Any]) -> tuple[int, str]:
    return int(row["id"]), "act"


HANDLERS = [admin_list_acts]
