"""Where providers tell that what runs there has ended; only they know the URLs."""

import msgspec
from litestar import post
from litestar.types import ASGIApp

from coordinator.overflow.carrier import WEBHOOK_PATH
from edge.context import edge_of, json_reply
from edge.errors import not_found
from edge.replies import HTTPRequest, read_body


class _Told(msgspec.Struct):
    id: str = ""


@post(f"{WEBHOOK_PATH}/{{id:str}}/{{attempt:int}}/{{mark:str}}", include_in_schema=False)
async def told(request: HTTPRequest) -> ASGIApp:
    """Only a reason to look: what has become of it is asked of the provider itself."""
    services, given = edge_of(request).services, request.path_params
    body = await read_body(request, services.limits.body_bytes)
    try:
        remote = msgspec.json.decode(body, type=_Told).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        remote = ""
    door = services.overflow
    if door is None or not door.hint(given["id"], given["attempt"], given["mark"], remote):
        raise not_found()
    return json_reply({})


HANDLERS = [told]
