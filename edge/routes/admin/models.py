"""Models of all accounts and their queues, for administrators."""

from litestar import get, patch, post
from litestar.types import ASGIApp

from edge.bodies import parse
from edge.context import json_reply
from edge.control import ListModels, ListQueues, PauseModel, ResumeModel, SetModel
from edge.replies import HTTPRequest, read_body
from edge.routes.admin.ordering import administrator, given, ordered, switch, whole
from edge.routes.admin.shapes import AdminModelChanges, PoolBody


@get("/v1/admin/models")
async def admin_list_models(request: HTTPRequest) -> ASGIApp:
    """The models of all accounts, with what each sets."""
    edge, who = await administrator(request)
    return json_reply(whole(await ordered(edge, who, ListModels())))


@get("/v1/admin/models/{owner:str}/{name:str}")
async def admin_get_model(request: HTTPRequest) -> ASGIApp:
    """One model, with what it sets."""
    edge, who = await administrator(request)
    (found,) = await ordered(edge, who, ListModels(model=_model(request)))
    return json_reply(found)


@patch("/v1/admin/models/{owner:str}/{name:str}")
async def admin_update_model(request: HTTPRequest) -> ASGIApp:
    """Change who sees a model and how its predictions are treated, for what is submitted from then on."""
    edge, who = await administrator(request)
    body = parse(AdminModelChanges, await read_body(request, edge.services.limits.body_bytes))
    changed = await ordered(edge, who, SetModel(model=_model(request), changes=given(body)))
    edge.catalog.forget()
    return json_reply(changed)


@post("/v1/admin/models/{owner:str}/{name:str}/pause", status_code=200)
async def admin_pause_model(request: HTTPRequest) -> ASGIApp:
    """Let nothing of a model begin until it is resumed. What is created waits; what runs goes on."""
    edge, who = await administrator(request)
    body = parse(PoolBody, await read_body(request, edge.services.limits.body_bytes))
    order = PauseModel(model=_model(request), pool=body.pool)
    return json_reply({"results": await ordered(edge, who, order)})


@post("/v1/admin/models/{owner:str}/{name:str}/resume", status_code=200)
async def admin_resume_model(request: HTTPRequest) -> ASGIApp:
    """Let a paused model's predictions begin again."""
    edge, who = await administrator(request)
    body = parse(PoolBody, await read_body(request, edge.services.limits.body_bytes))
    order = ResumeModel(model=_model(request), pool=body.pool)
    return json_reply({"results": await ordered(edge, who, order)})


@get("/v1/admin/queues")
async def admin_list_queues(request: HTTPRequest) -> ASGIApp:
    """What waits and runs of each model in each pool: those in use and those paused, or ``all``."""
    edge, who = await administrator(request)
    query = request.query_params
    order = ListQueues(model=query.get("model") or None, all=switch(query, "all"))
    return json_reply(whole(await ordered(edge, who, order)))


def _model(request: HTTPRequest) -> str:
    return f"{request.path_params['owner']}/{request.path_params['name']}"


HANDLERS = [
    admin_list_models,
    admin_get_model,
    admin_update_model,
    admin_pause_model,
    admin_resume_model,
    admin_list_queues,
]
