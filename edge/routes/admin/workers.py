"""Workers of all accounts, for administrators. One is named by its agent id, or by its name."""

from typing import Literal

from litestar import get, post
from litestar.types import ASGIApp

from edge.bodies import parse
from edge.context import json_reply
from edge.control import ListWorkers, MarkWorker
from edge.replies import HTTPRequest, read_body
from edge.routes.admin.ordering import administrator, ordered, switch, whole
from edge.routes.admin.shapes import MarkBody


@get("/v1/admin/workers")
async def admin_list_workers(request: HTTPRequest) -> ASGIApp:
    """The workers of the models in use, and what keeps work away from them; ``all`` that are remembered."""
    edge, who = await administrator(request)
    query = request.query_params
    order = ListWorkers(model=query.get("model") or None, all=switch(query, "all"))
    return json_reply(whole(await ordered(edge, who, order)))


@post("/v1/admin/workers/{worker:str}/drain", status_code=200)
async def admin_drain_worker(request: HTTPRequest) -> ASGIApp:
    """Give a worker nothing new until it is resumed; what it runs ends as usual."""
    return await _mark(request, "drain")


@post("/v1/admin/workers/{worker:str}/resume", status_code=200)
async def admin_resume_worker(request: HTTPRequest) -> ASGIApp:
    """Give a drained worker work again."""
    return await _mark(request, "resume")


@post("/v1/admin/workers/{worker:str}/quarantine", status_code=200)
async def admin_quarantine_worker(request: HTTPRequest) -> ASGIApp:
    """Give a worker nothing but a prediction now and then, until one of these succeeds or it is released."""
    return await _mark(request, "quarantine")


@post("/v1/admin/workers/{worker:str}/release", status_code=200)
async def admin_release_worker(request: HTTPRequest) -> ASGIApp:
    """End a worker's quarantine or distrust."""
    return await _mark(request, "release")


async def _mark(request: HTTPRequest, mark: Literal["quarantine", "release", "drain", "resume"]) -> ASGIApp:
    edge, who = await administrator(request)
    body = parse(MarkBody, await read_body(request, edge.services.limits.body_bytes))
    order = MarkWorker(worker=str(request.path_params["worker"]), mark=mark, model=body.model)
    return json_reply({"results": await ordered(edge, who, order)})


HANDLERS = [
    admin_list_workers,
    admin_drain_worker,
    admin_resume_worker,
    admin_quarantine_worker,
    admin_release_worker,
]
