"""Deployments: an account's names for a version and what it runs on, and predictions by them.

Replicate starts and stops machines for each; here workers come by themselves, so the numbers of instances are
kept and shown, and change nothing.
"""

import msgspec
from litestar import delete, get, patch, post
from litestar.types import ASGIApp

from coordinator.protocol.names import valid_model_name, valid_name
from coordinator.store.deployments import Deployment
from coordinator.store.errors import NameTaken
from edge.auth import Principal
from edge.bodies import parse
from edge.catalog import Reference
from edge.context import Edge, authorized, json_reply
from edge.errors import InvalidField, invalid_input, invalid_version, not_found
from edge.hardware import gpu_of, skus
from edge.pages import decode_cursor, encode_cursor
from edge.replies import HTTPRequest, Reply, read_body
from edge.schemas import DeploymentBody, DeploymentChanges, changed, parse_create, refuse_target
from edge.submit import submit
from edge.trained_versions import trained, trained_row


@post("/v1/deployments", status_code=200, opt={"creates": True})
async def create_deployment(request: HTTPRequest) -> ASGIApp:
    """Give a version of a model a name of the account's own."""
    edge, principal = await authorized(request, "submit")
    body = parse(DeploymentBody, await read_body(request, edge.services.limits.body_bytes))
    if not valid_name(body.name):
        detail = "A name has at most 64 letters, digits, and . _ @ - inside"
        raise invalid_input(InvalidField("format", "name", detail))
    _check_instances(body.min_instances, body.max_instances)
    await _check_version(edge, principal, body.model, body.version)
    now = edge.services.clock.now()
    row = Deployment(
        account=principal.account,
        name=body.name,
        created_at=now,
        number=1,
        released_at=now,
        model=body.model,
        version=body.version,
        gpu=await _gpu(edge, principal, body.hardware),
        min_instances=body.min_instances,
        max_instances=body.max_instances,
    )
    try:
        await edge.services.store.deployments.create(row)
    except NameTaken:
        raise invalid_input(
            InvalidField("unique", "name", "The account has a deployment of this name")
        ) from None
    edge.catalog.forget()
    return json_reply(edge.render.deployment(row))


@get("/v1/deployments")
async def list_deployments(request: HTTPRequest) -> ASGIApp:
    """A page of the account's deployments, newest first."""
    edge, principal = await authorized(request, "read")
    cursor, size = request.query_params.get("cursor"), edge.services.limits.page_size
    rows = await edge.services.store.deployments.list(
        principal.account, before=decode_cursor(cursor) if cursor else None, limit=size + 1
    )
    page, following = rows[:size], None
    if len(rows) > size:
        following = {"cursor": encode_cursor((page[-1].created_at, page[-1].name))}
    shown = [edge.render.deployment(row) for row in page]
    return json_reply(edge.render.page(shown, "/v1/deployments", following))


@get("/v1/deployments/{owner:str}/{name:str}")
async def get_deployment(request: HTTPRequest) -> ASGIApp:
    """One deployment with its current release."""
    edge, principal = await authorized(request, "read")
    return json_reply(edge.render.deployment(await _deployment(edge, request, principal)))


@patch("/v1/deployments/{owner:str}/{name:str}")
async def update_deployment(request: HTTPRequest) -> ASGIApp:
    """Change a deployment, which makes a new release of it."""
    edge, principal = await authorized(request, "submit")
    body = parse(DeploymentChanges, await read_body(request, edge.services.limits.body_bytes))
    known = await _deployment(edge, request, principal)
    changes = changed(body)
    if "version" in changes:
        await _check_version(edge, principal, known.model, changes["version"])
    if "hardware" in changes:
        changes["gpu"] = await _gpu(edge, principal, changes.pop("hardware"))
    after = msgspec.structs.replace(known, **changes)
    _check_instances(after.min_instances, after.max_instances)
    now = edge.services.clock.now()
    row = await edge.services.store.deployments.release(principal.account, known.name, changes, now)
    edge.catalog.forget()
    if row is None:
        raise not_found()
    return json_reply(edge.render.deployment(row))


@delete("/v1/deployments/{owner:str}/{name:str}", status_code=200)
async def delete_deployment(request: HTTPRequest) -> ASGIApp:
    """Take a deployment away. What was created by it goes on."""
    edge, principal = await authorized(request, "submit")
    params = request.path_params
    gone = params["owner"] == principal.account and await edge.services.store.deployments.delete(
        principal.account, params["name"]
    )
    edge.catalog.forget()
    if not gone:
        raise not_found()
    return Reply(status=204)


@post("/v1/deployments/{owner:str}/{name:str}/predictions", opt={"keys": True, "creates": True})
async def create_deployment_prediction(request: HTTPRequest) -> ASGIApp:
    """Create a prediction of the version that the deployment names, on what it names."""
    edge, principal = await authorized(request, "submit")
    body = parse_create(await read_body(request, edge.services.limits.body_bytes))
    refuse_target(body, "The path names the deployment already")
    params = request.path_params
    row = None
    if params["owner"] == principal.account:
        row = await edge.catalog.deployment(principal.account, params["name"])
    if row is None:
        raise not_found()
    wanted = Reference(row.model, row.version)
    target = await trained(edge, principal, wanted) or await edge.catalog.target(principal, wanted)
    if target is None:
        raise invalid_version()
    if row.gpu:
        target = msgspec.structs.replace(target, config=msgspec.structs.replace(target.config, gpu=row.gpu))
    return await submit(edge, request, principal, body, target, deployment=row.name)


async def _deployment(edge: Edge, request: HTTPRequest, principal: Principal) -> Deployment:
    """As it is now, not as it was a moment ago: it is what a change is made of."""
    params = request.path_params
    row = None
    if params["owner"] == principal.account:
        row = await edge.services.store.deployments.get(principal.account, params["name"])
    if row is None:
        raise not_found()
    return row


async def _gpu(edge: Edge, principal: Principal, hardware: str) -> str:
    return gpu_of(hardware, skus(await edge.services.store.models.hardware(principal.pools)))


async def _check_version(edge: Edge, principal: Principal, model: str, version: str) -> None:
    known = valid_model_name(model) and await edge.catalog.model(principal.account, model)
    if not known:
        raise invalid_input(InvalidField("not_found", "model", "There is no such model that you may use"))
    there = await edge.catalog.version(principal.account, model, version)
    if (there or await trained_row(edge, principal.account, model, version)) is None:
        detail = f"{model} has no such version; it is 64 hexadecimal digits"
        raise invalid_input(InvalidField("not_found", "version", detail))


def _check_instances(least: int, most: int) -> None:
    if least > most:
        raise invalid_input(InvalidField("range", "min_instances", "Must not be greater than max_instances"))


HANDLERS = [
    create_deployment,
    list_deployments,
    get_deployment,
    update_deployment,
    delete_deployment,
    create_deployment_prediction,
]
