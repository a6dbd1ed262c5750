"""What a creation asks of a coordinator, and how it is asked so that it happens once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.letters import CALLBACK_EVENTS, COGFLARE
from coordinator.long_inputs import IN_ITS_PLACE, store
from coordinator.overflow.policy import Overflow
from coordinator.protocol.names import queue_of
from coordinator.scheduling.flow import Needs
from coordinator.store.tokens import ID_PREFIX
from coordinator.stub import ModelStub
from edge import daily
from edge.auth import Principal
from edge.catalog import Target
from edge.context import Edge
from edge.depth import too_deep
from edge.errors import InvalidField, Problem, invalid_input
from edge.inline_files import without_inline_files
from edge.input_files import input_files
from edge.keeping import retention_of
from edge.lookup import repeated
from edge.overflow import overflow_of
from edge.pools import choose_pool
from edge.room import need_room
from edge.schemas import CreateBody
from edge.tracing import trace_of
from edge.webhooks import webhook_of
from edge.wishes import wishes_of

_NO_LIFE = "none"
"""Of no coordinator: whoever does not know a prediction says so."""
_CLIENT_ITSELF = {"auth", "userAgent", "baseUrl", "fileEncodingStrategy"}
"""What only an object of npm's client has: its token must not become an input, which is stored and shown."""


class Input(msgspec.Struct, frozen=True):
    """An input's bytes and value; decoded once, which also proves that it is UTF-8 and in range."""

    raw: bytes
    value: dict[str, Any]


class Order(msgspec.Struct, frozen=True):
    """A creation that may be asked for: the coordinator's number, and the target in its pool. ``raw`` is the
    whole input, of which the call has only the place if it is long."""

    number: int
    call: calls.Create
    target: Target
    raw: bytes
    principal: Principal


def input_of(body: CreateBody, depth: int) -> Input:
    """``depth`` is the limit of what may be inside each other. Raises Problem ``invalid_input``."""
    if body.input is UNSET or bytes(body.input) == b"null":
        return Input(b"{}", {})
    raw = bytes(body.input)
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        detail = "The input must be JSON in UTF-8, with numbers in range and no more than moderate nesting"
        raise invalid_input(InvalidField("invalid_json", "input", detail)) from None
    if too_deep(raw, depth):
        detail = f"Must not have more than {depth} lists and objects inside each other (input_depth)"
        raise invalid_input(InvalidField("depth", "input", detail))
    if not isinstance(value, dict):
        raise invalid_input(InvalidField("invalid_type", "input", "Invalid type. Expected: object"))
    if value.keys() >= _CLIENT_ITSELF:
        detail = (
            "This is the client itself, with its token: the option fileEncodingStrategy 'data-uri' of npm's "
            "replicate 1.4.0 sends that instead of the input. Leave the option out"
        )
        raise invalid_input(InvalidField("invalid_input", "input", detail))
    return Input(raw, value)


def metadata_of(body: CreateBody, most_bytes: int) -> bytes:
    """The client's own object, written shortly; empty for none. Raises Problem ``invalid_input``."""
    if body.metadata is None:
        return b""
    text = msgspec.json.encode(body.metadata)
    if not isinstance(body.metadata, dict) or len(text) > most_bytes:
        detail = f"Must be a JSON object of at most {most_bytes} bytes (limit: metadata_bytes)"
        raise invalid_input(InvalidField("invalid_type", "metadata", detail))
    return text


async def prepare(
    edge: Edge,
    principal: Principal,
    headers: Iterable[tuple[bytes, bytes]],
    body: CreateBody,
    given: Input,
    target: Target,
    *,
    deployment: str = "",
    own_id: str = "",
    wait_s: float = 0.0,
) -> Order:
    """Check a creation and say what it asks for. Raises Problem for what is refused."""
    principal.require_model(target.model)
    await need_room(edge, principal)
    if daily.limited(principal):
        services = edge.services
        daily.refuse(services.store.usage.today, principal, services.clock.now(), services.currency)
    webhook, events = webhook_of(body, edge.services.webhooks.rules)
    if webhook and principal.api == COGFLARE:
        events = CALLBACK_EVENTS
    wishes = wishes_of(headers, body.priority, body.end_user, body.max_wait, target.config, body.lifetime)
    metadata = metadata_of(body, edge.services.limits.metadata_bytes)
    needs = Needs(target.pinned, wishes.gpu, wishes.gpu_memory)
    pool = await choose_pool(edge, target, needs)
    target = await edge.catalog.within(principal.account, target, pool)
    given = _with(given, target.given)
    if refused := target.schema.refused(given.value):
        raise invalid_input(*refused)
    raw, value = await without_inline_files(edge, principal.account, given.raw, given.value, target.schema)
    files = await input_files(edge, principal.account, raw, value, target.schema)
    number = await edge.catalog.number(pool, target.queue)
    long = await store(edge.services.blobs, raw) if len(raw) > edge.services.limits.row_input_bytes else None
    call = calls.Create(
        id=edge.services.ids.make(number),
        account=principal.account,
        token=principal.counts_as,
        pool=pool,
        model=target.model,
        destination=target.destination,
        input=raw if long is None else IN_ITS_PLACE,
        long_input=long,
        version=target.pinned,
        input_files=files,
        streams=target.schema.streams,
        queue_s=wishes.queue_s,
        run_s=wishes.run_s,
        total_s=wishes.total_s,
        max_wait_s=wishes.max_wait_s,
        lease_s=wishes.lease_s,
        retries=wishes.retries,
        urgency=wishes.urgency,
        user=user_of(principal, wishes.user),
        gpu=wishes.gpu,
        gpu_memory=wishes.gpu_memory,
        account_share=principal.account_share,
        token_share=principal.share,
        max_running=principal.max_running,
        deployment=deployment,
        webhook=webhook,
        webhook_events=events,
        own_id=own_id,
        dialect=principal.api,
        wait_s=wait_s,
        metadata=metadata,
        overflow=await _overflow(edge, principal, target, files),
        retention_s=retention_of(body.retention, principal, target.config, edge.services.limits),
        trace=trace_of(headers),
    )
    return Order(number, call, target, raw, principal)


def user_of(principal: Principal, named: str) -> str:
    """For whom it is: of a key its one user, whatever the request says. Raises Problem ``invalid_input``."""
    if principal.maker is not None:
        return principal.token
    if named.startswith(ID_PREFIX):
        detail = f"Must not begin with {ID_PREFIX}: that is how users are called who have keys"
        raise invalid_input(InvalidField("format", "end_user", detail))
    return named


def _with(given: Input, more: Mapping[str, str]) -> Input:
    """The input with what its version has of its own."""
    added = {name: value for name, value in more.items() if given.value.get(name) is None}
    if not added:
        return given
    value = given.value | added
    return Input(msgspec.json.encode(value), value)


async def _overflow(
    edge: Edge, principal: Principal, target: Target, files: Mapping[str, str]
) -> Overflow | None:
    """How it may run at a provider. What has files that this one could not get waits for an own worker,
    unless none may have it."""
    door = edge.services.overflow
    overflow = None if door is None else overflow_of(principal, target)
    if door is None or overflow is None or not files or overflow.when == "always":
        return overflow
    return overflow if await door.takes_files(set(files.values())) else None


async def under(edge: Edge, order: Order, id: str) -> Order:
    """The same under an id that is reserved: its coordinator is the one that the id says.

    Raises Problem when the same words mean another model by now.
    """
    if id == order.call.id:
        return order
    number = edge.services.ids.number(id)
    row = None if number is None else await edge.services.store.objects.describe(number)
    if number is None or row is None or row.model != queue_of(order.call.model, order.call.destination):
        detail = (
            "What this request names is another model now than when it was sent first: use a new key or id."
        )
        raise Problem("key_reused", detail)
    return Order(number, replace(order.call, id=id, pool=row.pool), order.target, order.raw, order.principal)


class Taken:
    """A creation counts for its day from before it is asked for; what was refused does not, nor what was
    there already. Of what nobody knows it counts. Raises Problem ``daily_limit`` when it is one too many."""

    def __init__(self, edge: Edge, order: Order) -> None:
        self._give_back: Callable[[str], None] | None = None
        if not daily.limited(order.principal):
            return
        services = edge.services
        today, self._at = services.store.usage.today, services.clock.now()
        if daily.take(today, order.principal, order.call, self._at, services.currency):
            self._give_back = today.give_back
        self._id = order.call.id

    def answered(self, reply: calls.Found | calls.Refused) -> None:
        if self._give_back is None:
            return
        if isinstance(reply, calls.Refused) or reply.document.created_at < self._at:
            self._give_back(self._id)


async def create(edge: Edge, order: Order) -> calls.Found | calls.Refused:
    """Create what nobody else can ask for, and ask again once when the coordinator's instance went away."""
    stub = edge.services.models.stub(order.number)
    taken = Taken(edge, order)
    reply = await repeated(edge, lambda: stub.create(order.call), lambda: _again(edge, stub, order.call))
    taken.answered(reply)
    return await _with_input(edge, order, reply)


async def create_again(edge: Edge, order: Order) -> calls.Found | calls.Refused:
    """Create what may have been created before, may even have ended: then it does not begin anew."""
    stub = edge.services.models.stub(order.number)
    taken = Taken(edge, order)
    reply = await repeated(edge, lambda: _again(edge, stub, order.call))
    taken.answered(reply)
    return await _with_input(edge, order, reply)


async def _with_input(
    edge: Edge, order: Order, reply: calls.Found | calls.Refused
) -> calls.Found | calls.Refused:
    """The reply with a long input that we have at hand. One that nobody will ask for is not kept."""
    long = order.call.long_input
    if long is None:
        return reply
    if isinstance(reply, calls.Found) and reply.document.long_input == long:
        return calls.Found(document=replace(reply.document, input=order.raw, long_input=None))
    with suppress(Unavailable):
        await edge.services.blobs.delete(long.key)
    return reply


async def create_many(
    edge: Edge, number: int, orders: Sequence[Order], *, again: bool
) -> list[calls.Found | calls.Refused]:
    """Create several of one coordinator's, in one commit; ``again`` as ``create_again``."""
    stub = edge.services.models.stub(number)
    creates = [order.call for order in orders]

    async def afresh() -> list[calls.Found | calls.Refused]:
        return [_settled(reply) for reply in await stub.create_many(creates)]

    async def anew() -> list[calls.Found | calls.Refused]:
        return await _many_again(edge, stub, creates)

    replies = await repeated(edge, anew if again else afresh, anew)
    return [await _with_input(edge, order, reply) for order, reply in zip(orders, replies, strict=True)]


async def _many_again(
    edge: Edge, stub: ModelStub, creates: Sequence[calls.Create]
) -> list[calls.Found | calls.Refused]:
    known: dict[str, calls.Found | calls.Refused] = {}
    missing, life = list(creates), _NO_LIFE
    while missing:
        replies = await stub.create_many([replace(call, again=True, life=life) for call in missing])
        left = []
        for call, reply in zip(missing, replies, strict=True):
            if not isinstance(reply, calls.Unknown):
                known[call.id] = reply
                continue
            life = reply.life
            ended = await edge.services.subscriptions.ended(call.id, call.account)
            if ended is None:
                left.append(call)
            else:
                known[call.id] = calls.Found(document=ended)
        missing = left
    return [known[call.id] for call in creates]


def _settled(reply: calls.Creation) -> calls.Found | calls.Refused:
    if isinstance(reply, calls.Unknown):
        raise Unavailable("the coordinator does not know what it was asked to create")
    return reply


async def _again(edge: Edge, stub: ModelStub, call: calls.Create) -> calls.Found | calls.Refused:
    """The coordinator is asked first, for what has left it is in the index."""
    known: calls.Found | calls.Refused | calls.Unknown
    known = await stub.get(calls.Get(id=call.id, account=call.account))
    while isinstance(known, calls.Unknown):
        ended = await edge.services.subscriptions.ended(call.id, call.account)
        if ended is not None:
            return calls.Found(document=ended)
        known = await stub.create_again(replace(call, again=True, life=known.life, wait_s=0.0))
    return known
