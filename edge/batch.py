"""Creates many predictions by one request. Each stands for itself: it is created, or has its own problem."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from coordinator.errors import Unavailable
from coordinator.long_inputs import whole
from coordinator.prediction import Document
from edge.aliases import Name, digest_of, reserve, reserved
from edge.auth import Principal
from edge.catalog import Target
from edge.context import Edge
from edge.creation import Order, Taken, create_many, input_of, prepare, under
from edge.errors import InvalidField, Problem, invalid_input
from edge.lookup import find
from edge.schemas import BatchBody, BatchItemOut, BatchOut, parse_create, refuse_id
from edge.submit import accepted, shown, target_of

Headers = Iterable[tuple[bytes, bytes]]

_decode = msgspec.json.Decoder(BatchBody).decode


@dataclass(frozen=True, slots=True)
class Made:
    """A prediction; ``target`` says by what its input was checked, if it was checked now."""

    document: Document
    target: Target | None = None


def bodies_of(body: bytes, most: int) -> list[bytes]:
    """The body of each creation. Raises Problem ``bad_request``, ``invalid_input``."""
    try:
        batch = _decode(body)
    except msgspec.ValidationError as error:
        raise invalid_input(InvalidField("invalid_type", "", str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem("bad_request", "The request body is not valid JSON.") from None
    if batch.predictions is not UNSET and batch.template is UNSET and batch.inputs is UNSET:
        bodies = [bytes(each) for each in batch.predictions]
    elif batch.predictions is UNSET and batch.inputs is not UNSET:
        template = {} if batch.template is UNSET else batch.template
        bodies = [_filled(template, each) for each in batch.inputs]
    else:
        raise invalid_input(
            InvalidField("required", "", "Give either predictions, or inputs with a template")
        )
    if not 1 <= len(bodies) <= most:
        detail = f"There are {len(bodies)} predictions; there must be 1 to {most} (limit: batch_length)"
        raise invalid_input(InvalidField("number_lte", "", detail))
    return bodies


def _filled(template: dict[str, Raw], given: dict[str, Raw]) -> bytes:
    """A creation by the template; what its input has goes before what the template's has."""
    try:
        common = msgspec.json.decode(template.get("input", Raw(b"{}")), type=dict[str, Raw])
    except msgspec.ValidationError:
        raise invalid_input(InvalidField("invalid_type", "template.input", "Must be an object")) from None
    return msgspec.json.encode({**template, "input": {**common, **given}})


def digest(path: str, bodies: Sequence[bytes]) -> bytes:
    """The same for the same batch, however it is written."""
    return digest_of(path, *(_value(body) for body in bodies))


def _value(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body


async def create_batch(
    edge: Edge, principal: Principal, headers: Headers, bodies: Sequence[bytes]
) -> list[Made | Problem]:
    """What became of each, in their order."""
    orders = [await _prepared(edge, principal, headers, body) for body in bodies]
    made = await _create(edge, [order for order in orders if isinstance(order, Order)], again=False)
    return [made[order.call.id] if isinstance(order, Order) else order for order in orders]


async def create_named(
    edge: Edge, principal: Principal, headers: Headers, bodies: Sequence[bytes], name: Name, digest: bytes
) -> tuple[list[Made | Problem], bool]:
    """The same for a batch that may be sent again, and whether it was.

    Raises Problem ``key_reused``, and Unavailable when it is not known what there is of it.
    """
    services = edge.services
    ids = await reserved(services, principal, name, digest)
    replayed = bool(ids)
    if not ids:
        orders = [await _prepared(edge, principal, headers, body) for body in bodies]
        mine = [order.call.id if isinstance(order, Order) else "" for order in orders]
        ids = await reserve(services, principal, name, digest, mine)
        replayed = list(ids) != mine
    documents = await asyncio.gather(*(_found(edge, id, principal.account) for id in ids))
    results: list[Made | Problem | Order] = []
    for id, body, document in zip(ids, bodies, documents, strict=True):
        results.append(
            await _under(edge, await _prepared(edge, principal, headers, body), id)
            if document is None
            else Made(document)
        )
    made = await _create(edge, [one for one in results if isinstance(one, Order)], again=True)
    return [made[one.call.id] if isinstance(one, Order) else one for one in results], replayed


async def _prepared(edge: Edge, principal: Principal, headers: Headers, text: bytes) -> Order | Problem:
    try:
        body = parse_create(text)
        refuse_id(body)
        given = input_of(body, edge.services.limits.input_depth)
        target = await target_of(edge, principal, body)
        return await prepare(edge, principal, headers, body, given, target)
    except Problem as problem:
        return problem


async def _found(edge: Edge, id: str, account: str) -> Document | None:
    """None when there is none, or none yet. Raises Unavailable."""
    if not id:
        return None
    try:
        return await find(edge, id, account)
    except Problem:
        return None


async def _under(edge: Edge, order: Order | Problem, id: str) -> Order | Problem:
    if isinstance(order, Problem):
        return order
    if not id:
        detail = "This was refused when the batch was sent first. Send it under another Idempotency-Key."
        return Problem("refused_before", detail)
    try:
        return await under(edge, order, id)
    except Problem as problem:
        return problem


async def _create(edge: Edge, orders: Sequence[Order], *, again: bool) -> dict[str, Made | Problem]:
    """What became of each, by its id; all of one coordinator in one commit."""
    made: dict[str, Made | Problem] = {}
    groups: defaultdict[int, list[Order]] = defaultdict(list)
    taken: dict[str, Taken] = {}
    for order in orders:
        try:
            taken[order.call.id] = Taken(edge, order)
            groups[order.number].append(order)
        except Problem as problem:
            made[order.call.id] = problem

    async def create(number: int, group: Sequence[Order]) -> None:
        try:
            replies = await create_many(edge, number, group, again=again)
        except Unavailable as error:
            detail = "The server cannot tell now whether this was created."
            problem = Problem("unavailable", detail, retry_after_s=error.retry_after_s)
            made.update((order.call.id, problem) for order in group)
            return
        for order, reply in zip(group, replies, strict=True):
            taken[order.call.id].answered(reply)
            try:
                made[order.call.id] = Made(accepted(reply), order.target)
            except Problem as problem:
                made[order.call.id] = problem

    await asyncio.gather(*(create(number, group) for number, group in groups.items()))
    return made


async def rendered(edge: Edge, headers: Headers, made: Sequence[Made | Problem]) -> BatchOut:
    """The answer."""
    results = [await _item(edge, headers, one) for one in made]
    refused = sum(isinstance(one, Problem) for one in made)
    return BatchOut(len(made) - refused, refused, results)


async def _item(edge: Edge, headers: Headers, made: Made | Problem) -> BatchItemOut:
    if isinstance(made, Problem):
        return BatchItemOut(made.status, error=Raw(made.body().rstrip()))
    if made.target is not None:
        return BatchItemOut(201, prediction=await shown(edge, headers, made.target, made.document))
    document = await whole(edge.services.blobs, made.document)
    version, schema = await edge.catalog.shown(document)
    return BatchItemOut(201, prediction=edge.render.prediction(document, version, schema))
