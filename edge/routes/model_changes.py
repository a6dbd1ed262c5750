"""Models as clients make, describe and take them away.

Who may register a name may make and describe its model. Showing it or its predictions to others, and taking
away, need the scope admin: the tokens of GPU machines lie on those machines.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from litestar import delete, patch, post
from litestar.types import ASGIApp

from coordinator import calls
from coordinator.prediction import Document
from coordinator.protocol.names import valid_model_name
from coordinator.store.config import ModelConfig
from coordinator.store.errors import InUse, Invalid, NameTaken, NotAllowed, NotFound, StoreError
from coordinator.store.models import check_allowed
from edge import lookup
from edge.auth import Principal
from edge.bodies import parse
from edge.context import Edge, authorized, json_reply
from edge.errors import InvalidField, Problem, invalid_input, not_found
from edge.examples import chosen, shown_model
from edge.hardware import gpu_of, skus
from edge.removal import remove
from edge.replies import HTTPRequest, Reply, read_body
from edge.routes.admin.ordering import by
from edge.schemas import ModelBody, ModelChanges, changed, wrong_links
from edge.trained_versions import trained_row
from edge.training_output import training_of


@post("/v1/models", opt={"creates": True})
async def create_model(request: HTTPRequest) -> ASGIApp:
    """Make a model of the token's account, before a worker has it."""
    edge, principal = await authorized(request, "worker")
    body = parse(ModelBody, await read_body(request, edge.services.limits.body_bytes))
    if wrong := wrong_links(body):
        raise invalid_input(*wrong)
    model = f"{body.owner}/{body.name}"
    if not valid_model_name(model):
        detail = "A model is owner/name, each of at most 63 lower-case letters, digits, and . _ - inside"
        raise invalid_input(InvalidField("format", "name", detail))
    _check_allowed(principal, model)
    if body.visibility == "public":
        principal.require("admin")
    gpu = gpu_of(body.hardware, skus(await edge.services.store.models.hardware(principal.pools)))
    links = {name: value for name, value in changed(body).items() if name.endswith("_url") and value}
    acts = edge.orders.acts
    public = body.visibility == "public"
    noted = acts.doing(by(principal), "model.create", model, visibility="public") if public else nullcontext()
    async with noted:
        try:
            await edge.services.store.model_edits.create(
                account=principal.account,
                model=model,
                visibility=body.visibility,
                config=ModelConfig(gpu=gpu),
                description=body.description or "",
                links=links,
                now=edge.services.clock.now(),
            )
        except NameTaken:
            detail = "A model with this name and owner exists already"
            raise invalid_input(InvalidField("unique", "name", detail)) from None
    return json_reply(await _shown(edge, principal, model), 201)


@patch("/v1/models/{owner:str}/{name:str}")
async def update_model(request: HTTPRequest) -> ASGIApp:
    """Describe an own model; null takes a field away."""
    edge, principal = await authorized(request, "worker")
    body = parse(ModelChanges, await read_body(request, edge.services.limits.body_bytes))
    if wrong := wrong_links(body):
        raise invalid_input(*wrong)
    model, changes = _model(request, principal), changed(body)
    of_admins = {name: changes[name] for name in ("visibility", "examples") if name in changes}
    if of_admins:
        principal.require("admin")
        async with edge.orders.acts.doing(by(principal), "model.set", model, **of_admins):
            await _update(edge, principal.account, model, changes)
    else:
        await _update(edge, principal.account, model, changes)
    return json_reply(await _shown(edge, principal, model))


async def _update(edge: Edge, account: str, model: str, changes: dict[str, Any]) -> None:
    examples = changes.pop("examples") or () if "examples" in changes else None
    try:
        if examples:
            examples = await _chosen(edge, account, model, examples)
        await edge.services.store.model_edits.update(account, model, changes, examples)
    except NotFound:
        raise not_found() from None
    except Invalid as error:
        raise invalid_input(InvalidField("conflict", "examples", _said(error))) from None


@delete("/v1/models/{owner:str}/{name:str}", status_code=200)
async def delete_model(request: HTTPRequest) -> ASGIApp:
    """Take away an own private model that has no versions."""
    edge, principal = await authorized(request, "admin")
    model = _model(request, principal)
    async with edge.orders.acts.doing(by(principal), "model.delete", model):
        try:
            await edge.services.store.model_edits.delete(principal.account, model)
        except NotFound:
            raise not_found() from None
        except InUse as error:
            raise Problem("in_use", _said(error)) from None
    edge.catalog.forget()
    return Reply(status=204)


@delete("/v1/models/{owner:str}/{name:str}/versions/{version:str}", status_code=200)
async def delete_version(request: HTTPRequest) -> ASGIApp:
    """Take away a version of an own model that no connected worker serves; with one that a training has made
    goes all that the training has left."""
    edge, principal = await authorized(request, "admin")
    model, version = _model(request, principal), request.path_params["version"]
    async with edge.orders.acts.doing(by(principal), "version.delete", f"{model}:{version}"):
        await _delete_version(edge, principal.account, model, version)
    edge.catalog.forget()
    # Replicate's, where it is done later.
    return Reply(status=202)


async def _delete_version(edge: Edge, account: str, model: str, version: str) -> None:
    row = await edge.services.store.models.version(account, model, version)
    if row is None and await trained_row(edge, account, model, version) is not None:
        await _delete_trained(edge, account, model, version)
        return
    if row is None or row.account != account:
        raise not_found()
    for pool in row.pools:
        await _check_unserved(edge, pool, model, version)
    try:
        await edge.services.store.model_edits.delete_version(account, model, version)
    except NotFound:
        raise not_found() from None
    except InUse as error:
        raise Problem("in_use", _said(error)) from None


async def _delete_trained(edge: Edge, account: str, model: str, version: str) -> None:
    training = training_of(version)
    assert training is not None
    try:
        await edge.services.store.model_edits.refuse_deployed(account, model, version)
    except InUse as error:
        raise Problem("in_use", _said(error)) from None
    await remove(edge, training, account)


async def _check_unserved(edge: Edge, pool: str, model: str, version: str) -> None:
    """A worker that serves it would register it again."""
    number = await edge.catalog.number(pool, model)
    if not edge.services.models.live(number):
        return
    room = await edge.services.models.stub(number).room(calls.AskRoom(version=version))
    if room.workers:
        raise Problem("in_use", f"Workers serve this version of {model} now. Stop them first.")


async def _shown(edge: Edge, principal: Principal, model: str) -> object:
    edge.catalog.forget()
    row = await edge.catalog.model(principal.account, model)
    if row is None:
        raise not_found()  # somebody took it away in this moment
    return await shown_model(edge, row)


async def _chosen(edge: Edge, account: str, model: str, ids: Sequence[str]) -> tuple[str, ...]:
    row = await edge.services.store.models.any(model)
    if row.account != account:
        raise not_found()

    async def find(id: str) -> Document | None:
        try:
            return await lookup.find(edge, id, account)
        except Problem as problem:
            if problem.code == "not_found":
                return None
            raise

    return await chosen(model, account, ids, find)


def _model(request: HTTPRequest, principal: Principal) -> str:
    model = f"{request.path_params['owner']}/{request.path_params['name']}"
    _check_allowed(principal, model)
    return model


def _check_allowed(principal: Principal, model: str) -> None:
    try:
        check_allowed(model, principal.models)
    except NotAllowed as error:
        raise Problem("not_allowed", _said(error)) from None


def _said(error: StoreError) -> str:
    return f"{error}: {error.hint}."


HANDLERS = [create_model, update_model, delete_model, delete_version]
