"""Trainings: predictions of what trains a version, with queues of their own, made for a model.

Where it waits, what runs it, how it ends and who is told of it is all as with predictions.
"""

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from coordinator.prediction import Document
from coordinator.protocol.limits import FOREVER_S
from coordinator.protocol.names import training_queue, valid_model_name
from edge import lookup
from edge.auth import Principal
from edge.catalog import NEVER, Reference, Target
from edge.context import Edge
from edge.errors import Problem, not_found
from edge.legacy.clients import is_old
from edge.replies import HTTPRequest, Reply
from edge.schemas import CreateBody
from edge.submit import submit


class TrainingBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a training's creation. ``webhook_completed`` is taken and means nothing."""

    destination: str
    """``owner/name`` of an own model that is to have the version that comes of it."""
    input: dict[str, Any]
    webhook: Any = None
    webhook_events_filter: Any = None
    webhook_completed: Any = None
    metadata: Any = None


async def create(
    edge: Edge, request: HTTPRequest, principal: Principal, wanted: Reference, body: TrainingBody
) -> Reply:
    """Create a training of a version, and answer 201. Raises as ``submit``, and Problem ``not_found``,
    ``not_trainable``."""
    if is_old(principal):
        raise Problem("not_allowed", "Trainings are for tokens of today's API, not for those of 2022.")
    target = await edge.catalog.target(principal, wanted, here=True)
    if target is None:
        raise not_found()
    await _check_destination(edge, principal.account, body.destination)
    # It is kept as long as anything may be: what it gave is worth more than what it took.
    limits = edge.services.limits
    creation = CreateBody(
        input=Raw(msgspec.json.encode(body.input)),
        webhook=body.webhook,
        webhook_events_filter=body.webhook_events_filter,
        metadata=body.metadata,
        retention=min(FOREVER_S, limits.retention_at_most_s),
    )
    return await submit(edge, request, principal, creation, await _trainer(edge, target, body.destination))


async def find(edge: Edge, id: str, account: str) -> Document:
    """The account's training. Raises Problem ``not_found``, Unavailable."""
    document = await lookup.find(edge, id, account)
    if not document.destination:
        raise not_found()
    return document


async def _trainer(edge: Edge, target: Target, destination: str) -> Target:
    """What trains a version, held to the limits of trainings."""
    model = target.model
    if target.schema.training is None:
        detail = f"This version of {model} cannot be trained: its cog.yaml names no train."
        raise Problem("not_trainable", detail)
    objects, queue = edge.services.store.objects, training_queue(model)
    pools = tuple([pool for pool in target.pools if await objects.find(pool, queue) is not None])
    if not pools:
        raise Problem(
            "not_trainable",
            f"No worker of your pools has ever trained {model}: serve its folder with a current "
            "`cogflare agent`, without --no-trainings. Containers of Cog and older agents only predict.",
        )
    limits = edge.services.limits
    config = replace(
        target.config,
        queue_s=limits.training_queue_s,
        run_s=limits.training_s,
        total_s=None,
        overflow=NEVER,
        cancel_on_disconnect=None,
    )
    return replace(target, pools=pools, schema=target.schema.training, config=config, destination=destination)


async def _check_destination(edge: Edge, account: str, destination: str) -> None:
    row = None
    if valid_model_name(destination):
        row = await edge.services.store.models.get(account, destination)
    if row is None or row.account != account:
        raise not_found("The specified training destination does not exist")
