"""Accepts a prediction: from a parsed body to the coordinator's word, and to what the client gets."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.prediction import Document
from coordinator.scheduling.flow import Needs
from coordinator.stub import ModelStub
from edge.auth import BAD_TOKEN, Principal
from edge.catalog import Reference, Target, reference
from edge.context import Edge
from edge.errors import InvalidField, Problem, invalid_input, invalid_version, unauthenticated
from edge.hangups import HungUp, unless_hung_up
from edge.input_files import input_files
from edge.lookup import cancel, repeated
from edge.pools import choose_pool
from edge.prefer import Wait, wait_of
from edge.replies import Header, HTTPRequest, Reply
from edge.schemas import CreateBody, as_unfinished, encode
from edge.webhooks import webhook_of
from edge.wishes import wishes_of

log = logging.getLogger(__name__)


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
) -> Reply:
    """Create the prediction and answer 201, after the wait that the client asked for.

    Raises Problem for what is refused, and Unavailable when it is not known whether it was accepted.
    """
    webhook, events = webhook_of(body, edge.services.webhooks.rules)
    raw, value = _input(body)
    headers = request.scope["headers"]
    wishes = wishes_of(headers, body.priority, body.end_user, target.config)
    needs = Needs(target.pinned, wishes.gpu, wishes.gpu_memory)
    pool = await choose_pool(edge, target.pools, target.model, needs)
    target = await edge.catalog.within(principal.account, target, pool)
    if refused := target.schema.refused(value):
        raise invalid_input(*refused)
    files = await input_files(edge, principal.account, raw, value, target.schema)
    number = await edge.catalog.number(pool, target.model)
    call = calls.Create(
        id=edge.services.ids.make(number),
        account=principal.account,
        token=principal.token,
        pool=pool,
        model=target.model,
        input=raw,
        version=target.pinned,
        input_files=files,
        streams=target.schema.streams,
        queue_s=wishes.queue_s,
        run_s=wishes.run_s,
        total_s=wishes.total_s,
        lease_s=wishes.lease_s,
        retries=wishes.retries,
        urgency=wishes.urgency,
        user=wishes.user,
        gpu=wishes.gpu,
        gpu_memory=wishes.gpu_memory,
        account_share=principal.account_share,
        token_share=principal.share,
        max_running=principal.max_running,
        deployment=deployment,
        webhook=webhook,
        webhook_events=events,
    )
    reply = await _create(edge, edge.services.models.stub(number), call)
    if isinstance(reply, calls.Refused):
        raise Problem(reply.code, reply.detail, retry_after_s=reply.retry_after_s)
    wait = wait_of(headers, edge.services.limits.wait_s)
    document = reply.document
    if wait is not None:
        waiting = _waited(edge, principal, number, document, wait)
        if wishes.cancel_on_disconnect:
            waiting = _or_canceled(edge, request, document, waiting)
        document = await waiting
    return await _created(edge, target, document, wait)


async def _create(edge: Edge, stub: ModelStub, call: calls.Create) -> calls.Found | calls.Refused:
    """Create, and ask again once when the coordinator's instance went away. It may have been accepted, may
    even have ended: then it must not begin anew. The coordinator is asked first, for what has left it is in
    the index."""

    async def again() -> calls.Found | calls.Refused:
        known = await stub.get(calls.Get(id=call.id, account=call.account))
        if isinstance(known, calls.Found):
            return known
        ended = await edge.services.subscriptions.ended(call.id, call.account)
        return await stub.create(replace(call, again=True)) if ended is None else calls.Found(document=ended)

    return await repeated(edge, lambda: stub.create(call), again)


def _input(body: CreateBody) -> tuple[bytes, dict[str, object]]:
    """The input's bytes and value; decoded once, which also proves that it is UTF-8 and in range."""
    if body.input is UNSET or bytes(body.input) == b"null":
        return b"{}", {}
    raw = bytes(body.input)
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        detail = "The input must be JSON in UTF-8, with numbers in range and no more than moderate nesting"
        raise invalid_input(InvalidField("invalid_json", "input", detail)) from None
    if not isinstance(value, dict):
        raise invalid_input(InvalidField("invalid_type", "input", "Invalid type. Expected: object"))
    return raw, value


async def _waited(edge: Edge, principal: Principal, number: int, document: Document, wait: Wait) -> Document:
    """The prediction once it has ended; when the time is over, as one that has not begun."""
    if document.status.terminal:
        return document
    try:
        async with asyncio.timeout(None) as limit:
            with edge.authenticator.watch(principal.token, lambda: limit.reschedule(0)):
                document = await _ended(edge, number, document, wait.timeout_s)
    except TimeoutError:
        raise unauthenticated(BAD_TOKEN) from None
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


async def _ended(edge: Edge, number: int, document: Document, timeout_s: float) -> Document:
    """Wait in slices, so that a server that is about to leave answers instead of cutting the client off."""
    services = edge.services
    slice_s = max(0.1, services.limits.drain_s / 3)
    deadline = services.clock.monotonic() + timeout_s
    while True:
        left_s = deadline - services.clock.monotonic()
        if left_s <= 0 or services.draining.is_set():
            return document
        waited = await services.subscriptions.wait_terminal(
            number, document.id, document.account, min(left_s, slice_s)
        )
        document = waited or document
        if document.status.terminal:
            return document


async def _created(edge: Edge, target: Target, document: Document, wait: Wait | None) -> Reply:
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
    return Reply(encode(shown), 201, headers=tuple(headers))
