"""Accepts a prediction: from a parsed body to the coordinator's word, and to what the client gets."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.prediction import Document
from edge.aliases import digest_of, key_of, reserve, reserved
from edge.aliases import own_id as name_of
from edge.auth import BAD_TOKEN, Principal
from edge.catalog import Reference, Target, reference
from edge.context import Edge
from edge.creation import create, create_again, input_of, prepare, under
from edge.errors import InvalidField, Problem, invalid_input, invalid_version, unauthenticated
from edge.hangups import HungUp, unless_hung_up
from edge.lookup import cancel, find
from edge.prefer import Wait, wait_of
from edge.replies import Header, HTTPRequest, Reply
from edge.schemas import CreateBody, as_unfinished, content_of, encode, refuse_id
from edge.wishes import hangs_up

log = logging.getLogger(__name__)

T = TypeVar("T")

REPLAYED: Header = (b"idempotent-replayed", b"true")
"""On the answer to a request that has created nothing more."""


def wanted_version(body: CreateBody) -> Reference:
    """What ``version`` and ``model`` of a body name together. Raises Problem."""
    if body.version is None and body.model is None:
        raise invalid_input(InvalidField("required", "", "version is required"))
    wanted = None if body.version is None else reference(body.version)
    if body.version is not None and wanted is None:
        raise invalid_version()
    if body.model is not None:
        named = reference(body.model)
        if named is None or named.model is None:
            raise invalid_version()
        if wanted is None:
            return named
        if wanted.model not in (None, named.model):
            raise invalid_input(InvalidField("conflict", "model", "version names another model"))
        return Reference(named.model, wanted.version or named.version)
    assert wanted is not None
    return wanted


async def submit(
    edge: Edge,
    request: HTTPRequest,
    principal: Principal,
    body: CreateBody,
    target: Target,
    *,
    deployment: str = "",
    own_id: str = "",
) -> Reply:
    """Create the prediction and answer 201, after the wait that the client asked for. A request that repeats
    another, by its Idempotency-Key or by ``own_id``, gets the prediction of that one.

    Raises Problem for what is refused, and Unavailable when it is not known whether it was accepted.
    """
    headers = request.scope["headers"]
    if not own_id:
        refuse_id(body)
    given = input_of(body)
    name = name_of(own_id) if own_id else key_of(headers)
    wait = wait_of(headers, edge.services.limits.wait_s)
    until = edge.services.clock.monotonic() + (0.0 if wait is None else wait.timeout_s)
    may_leave = wait is not None and hangs_up(headers, target.config)
    document = None
    if name is None:
        wait_s = 0.0 if wait is None or may_leave else _slice_s(edge, until)
        order = await prepare(
            edge, principal, headers, body, given, target, deployment=deployment, wait_s=wait_s
        )
        creating = create(edge, order)
        reply = await (_unless_revoked(edge, principal, creating) if wait_s else creating)
        document, replayed = accepted(reply), False
        target = order.target
    else:
        digest = digest_of(request.scope["path"].rstrip("/"), *content_of(body), given.value)
        ids = await reserved(edge.services, principal, name, digest)
        if ids:
            document = await _found(edge, ids[0], principal.account)
        replayed = document is not None
        if document is None:
            order = await prepare(
                edge, principal, headers, body, given, target, deployment=deployment, own_id=own_id
            )
            ids = await reserve(edge.services, principal, name, digest, ids or (order.call.id,))
            replayed = ids[0] != order.call.id
            order = await under(edge, order, ids[0])
            document, target = accepted(await create_again(edge, order)), order.target
    if wait is not None and not document.status.terminal:
        waiting = _unless_revoked(edge, principal, _waited(edge, document, until))
        if may_leave:
            waiting = _or_canceled(edge, request, document, waiting)
        document = await waiting
    status = 201
    if own_id and replayed:
        status = 200 if document.status.terminal else 202  # as Cog has it
    return await _created(edge, target, document, wait, status, replayed)


def accepted(reply: calls.Found | calls.Refused) -> Document:
    """Raises Problem for what the coordinator has refused."""
    if isinstance(reply, calls.Refused):
        raise Problem(reply.code, reply.detail, retry_after_s=reply.retry_after_s)
    return reply.document


async def _found(edge: Edge, id: str, account: str) -> Document | None:
    """A prediction that a reserved id stands for; None when it was not created then."""
    try:
        return await find(edge, id, account)
    except Problem as problem:
        if problem.code != "not_found":
            raise
        return None


async def _unless_revoked(edge: Edge, principal: Principal, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives, which may take long. Raises Problem when the token is revoked before that."""
    try:
        async with asyncio.timeout(None) as limit:
            with edge.authenticator.watch(principal.token, lambda: limit.reschedule(0)):
                return await work
    except TimeoutError:
        raise unauthenticated(BAD_TOKEN) from None


async def _waited(edge: Edge, document: Document, until: float) -> Document:
    """The prediction once it has ended; when the time is over, as one that has not begun."""
    try:
        document = await _ended(edge, document, until)
    except Unavailable as error:
        # It is accepted: a 503 would make the client create it again. It can be polled.
        log.warning("wait for %s ended early: %s", document.id, error)
    return document if document.status.terminal else as_unfinished(document)


async def _or_canceled(
    edge: Edge, request: HTTPRequest, document: Document, waiting: Coroutine[Any, Any, Document]
) -> Document:
    """What the wait gives; when the client hangs up before that, the prediction is canceled: nobody else
    may know of it."""
    try:
        return await unless_hung_up(request, waiting)
    except HungUp:
        if edge.services.draining.is_set():
            return document  # it may be us who closed the connection
        log.info("the client of %s hung up: canceling it", document.id)
        return await cancel(edge, document.id, document.account)


async def _ended(edge: Edge, document: Document, until: float) -> Document:
    """Wait in slices, so that a server that is about to leave answers instead of cutting the client off."""
    services = edge.services
    number = services.ids.number(document.id)
    assert number is not None  # we made it
    while (slice_s := _slice_s(edge, until)) > 0:
        waited = await services.subscriptions.wait_terminal(number, document.id, document.account, slice_s)
        document = waited or document
        if document.status.terminal:
            break
    return document


def _slice_s(edge: Edge, until: float) -> float:
    """How long to wait at once; 0 when the time is over, or the server is about to leave."""
    services = edge.services
    if services.draining.is_set():
        return 0.0
    return max(0.0, min(until - services.clock.monotonic(), max(0.1, services.limits.drain_s / 3)))


async def _created(
    edge: Edge, target: Target, document: Document, wait: Wait | None, status: int, replayed: bool
) -> Reply:
    version, schema = target.version, target.schema
    if document.version not in ("", version):
        version, schema_of_version = await edge.catalog.shown(document)
        schema = schema_of_version or schema
    shown = edge.render.prediction(document, version, schema)
    if document.webhook:
        shown.webhook, shown.webhook_events_filter = document.webhook, document.webhook_events
    headers: list[Header] = [(b"location", shown.urls.get.encode())]
    if wait is not None:
        headers.append((b"preference-applied", wait.applied.encode()))
    if replayed:
        headers.append(REPLAYED)
    return Reply(encode(shown), status, headers=tuple(headers))
