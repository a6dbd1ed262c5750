"""Predictions of all accounts, for administrators: cancel by a filter, dead letters, and their repetition."""

from litestar import get, post
from litestar.types import ASGIApp

from edge.bodies import parse
from edge.context import json_reply
from edge.control import CancelPredictions, ListDead, Redrive
from edge.errors import InvalidField, invalid_input
from edge.pages import decode_cursor, encode_cursor
from edge.replies import HTTPRequest, read_body
from edge.routes.admin.ordering import administrator, given, limit_of, ordered, whole
from edge.routes.admin.shapes import CancelBody, RedriveBody
from edge.times import parse_rfc3339


@post("/v1/admin/predictions/cancel", status_code=200)
async def admin_cancel_predictions(request: HTTPRequest) -> ASGIApp:
    """Cancel what a filter says of what waits and runs, whoever made it."""
    edge, who = await administrator(request)
    body = parse(CancelBody, await read_body(request, edge.services.limits.body_bytes))
    fields = given(body)
    fields["after"] = decode_cursor(body.cursor) if body.cursor else None
    fields["created_before"] = _time(body.created_before)
    fields["all"] = body.all or body.created_before is not None
    del fields["cursor"]
    done = await ordered(edge, who, CancelPredictions(**fields))
    after = done.pop("after")
    return json_reply({**done, "next": None if after is None else encode_cursor(after)})


@get("/v1/admin/predictions/dead")
async def admin_list_dead(request: HTTPRequest) -> ASGIApp:
    """Dead letters, newest first: predictions that workers or storage failed, not their model."""
    edge, who = await administrator(request)
    query = request.query_params
    size = limit_of(query, edge.services.limits.page_size)
    return json_reply(whole(await ordered(edge, who, ListDead(model=query.get("model") or None, limit=size))))


@post("/v1/admin/predictions/redrive", status_code=200)
async def admin_redrive(request: HTTPRequest) -> ASGIApp:
    """Create dead letters anew from their kept inputs, each once."""
    edge, who = await administrator(request)
    body = parse(RedriveBody, await read_body(request, edge.services.limits.body_bytes))
    return json_reply({"results": await ordered(edge, who, Redrive(ids=body.ids))})


def _time(text: str | None) -> int | None:
    at = parse_rfc3339(text) if text else None
    if text and at is None:
        raise invalid_input(InvalidField("format", "created_before", "Must be an ISO 8601 time"))
    return at


HANDLERS = [admin_cancel_predictions, admin_list_dead, admin_redrive]
