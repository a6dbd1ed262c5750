"""Accepts a prediction: from a parsed body to the coordinator's word, and to what the client gets."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.letters import COGFLARE
from coordinator.long_inputs import whole
from coordinator.prediction import Document, Status
from edge.access_log import CREATED
from edge.aliases import Name, digest_of, key_of, reserve, reserved
from edge.aliases import own_id as name_of
from edge.auth import BAD_TOKEN, Principal
from edge.catalog import Reference, Target, reference
from edge.context import Edge
from edge.creation import Input, Order, create, create_again, input_of, prepare, under
from edge.errors import InvalidField, Problem, invalid_input, invalid_version, unauthenticated
from edge.file_urls import contents
from edge.hangups import HungUp, departure, unless_hung_up
from edge.inputs import VersionSchema
from edge.legacy.shapes import CREATING
from edge.legacy.shapes import shown as shown_of_2022
from edge.lookup import cancel, find
from edge.prefer import Wait, wait_of
from edge.replies import Header, HTTPRequest, Reply
from edge.schemas import CreateBody, PredictionOut, as_unfinished, content_of, encode, refuse_id
from edge.trained_versions import newest_trained, trained
from edge.wishes import hangs_up

log = logging.getLogger(__name__)

T = TypeVar("T")

_NAMELESS = (
    "Whose version it is at Replicate is not known here: write owner/name:VERSION, or ask for the model "
    "first (GET /v1/models/owner/name)."
)
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


async def target_of(edge: Edge, principal: Principal, body: CreateBody) -> Target:
    """What is to run. Raises Problem."""
    wanted = wanted_version(body)
    target = await trained(edge, principal, wanted) or await edge.catalog.target(principal, wanted)
    if target is None and wanted.version is None and wanted.model is not None:
        target = await newest_trained(edge, principal, wanted.model)
    if target is None:
        raise invalid_version(_NAMELESS if principal.replicate and wanted.model is None else "")
    return target


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
    wait = wait_of(headers, edge.services.limits.wait_s)
    asked = _Asked(
        edge,
        request,
        principal,
        body,
        input_of(body, edge.services.limits.input_depth),
        deployment,
        own_id,
        target.destination,
        until=edge.services.clock.monotonic() + (0.0 if wait is None else wait.timeout_s),
        waits=wait is not None,
        may_leave=wait is not None and hangs_up(headers, target.config),
    )
    name = name_of(own_id) if own_id else key_of(headers)
    made = await (asked.once(target) if name is None else asked.by_name(target, name))
    request.scope[CREATED] = (made.document.id, made.document.model)  # type: ignore[literal-required]
    status = 201
    if own_id and made.replayed:
        status = 200 if made.document.status.terminal else 202  # as Cog has it
    return await _created(edge, headers, made, wait, status)


class _Made(NamedTuple):
    """What a request is answered with. ``replayed``: it has created nothing more."""

    document: Document
    target: Target
    replayed: bool


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request for a prediction."""

    edge: Edge
    request: HTTPRequest
    principal: Principal
    body: CreateBody
    given: Input
    deployment: str
    own_id: str
    destination: str
    until: float
    """Monotonic: how long the client waits."""
    waits: bool
    may_leave: bool
    """A client that hangs up has its prediction canceled: there is nothing that it could come back for."""

    def digest(self) -> bytes:
        """The same for the same request."""
        path = self.request.scope["path"].rstrip("/")
        return digest_of(path + self.destination, content_of(self.body), self.given.value)

    async def by_name(self, target: Target, name: Name) -> _Made:
        """What the name stands for; created when it stands for nothing yet, or for what never was."""
        services, digest = self.edge.services, self.digest()
        ids = await reserved(services, self.principal, name, digest)
        document = await self._found(ids[0]) if ids else None
        replayed = document is not None
        if document is None:
            order = await self._prepared(target)
            ids = await reserve(services, self.principal, name, digest, ids or (order.call.id,))
            replayed = ids[0] != order.call.id
            order = await under(self.edge, order, ids[0])
            document, target = accepted(await create_again(self.edge, order)), order.target
        return _Made(await self._waited(document), target, replayed)

    async def once(self, target: Target) -> _Made:
        """A new one, unless the client asks again for one whose answer it has lost."""
        headers, gone = self.request.scope["headers"], departure(self.request)
        with self.edge.unanswered.asking(
            self.principal.token, self.digest, headers, gone, waits=self.waits
        ) as asking:
            id = asking.predecessor()
            if id is not None and not self.may_leave:
                asking.creates(id)
            document = None if id is None else await self._found(id)
            if document is None:
                order = await self._prepared(target, wait_s=self._wait_s() if id is None else 0.0)
                order = order if id is None else await under(self.edge, order, id)
                if not self.may_leave:
                    asking.creates(order.call.id)
                reply = await (self._create(order) if id is None else create_again(self.edge, order))
                if isinstance(reply, calls.Refused):
                    asking.forget()
                document, target = accepted(reply), order.target
            document = await self._waited(document)
        return _Made(document, target, replayed=id is not None)

    async def _prepared(self, target: Target, wait_s: float = 0.0) -> Order:
        headers = self.request.scope["headers"]
        return await prepare(
            self.edge,
            self.principal,
            headers,
            self.body,
            self.given,
            target,
            deployment=self.deployment,
            own_id=self.own_id,
            wait_s=wait_s,
        )

    def _wait_s(self) -> float:
        """How long the coordinator may hold the answer to the creation."""
        return _slice_s(self.edge, self.until) if self.waits and not self.may_leave else 0.0

    async def _create(self, order: Order) -> calls.Found | calls.Refused:
        creating = create(self.edge, order)
        return await (unless_revoked(self.edge, self.principal, creating) if order.call.wait_s else creating)

    async def _found(self, id: str) -> Document | None:
        """A prediction of an id that was meant for it; None when it was not created."""
        try:
            return await find(self.edge, id, self.principal.account)
        except Problem as problem:
            if problem.code != "not_found":
                raise
            return None

    async def _waited(self, document: Document) -> Document:
        if not self.waits or document.status.terminal:
            return document
        waiting = unless_revoked(self.edge, self.principal, _waited(self.edge, document, self.until))
        if self.may_leave:
            waiting = _or_canceled(self.edge, self.request, document, waiting)
        return await waiting


def accepted(reply: calls.Found | calls.Refused) -> Document:
    """Raises Problem for what the coordinator has refused."""
    if isinstance(reply, calls.Refused):
        raise Problem(reply.code, reply.detail, retry_after_s=reply.retry_after_s)
    return reply.document


async def unless_revoked(edge: Edge, principal: Principal, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives, which may take long. Raises Problem when the token is revoked before that."""
    task = asyncio.current_task()
    assert task is not None
    # As asyncio.timeout() does it, whose timer there is no use for.
    with edge.authenticator.watch(principal.token, task.cancel) as watch:
        try:
            return await work
        except asyncio.CancelledError:
            if watch.called and not task.uncancel():
                raise unauthenticated(BAD_TOKEN) from None
            raise


async def _waited(edge: Edge, document: Document, until: float) -> Document:
    """The prediction once it has ended; when the time is over, as one that has not begun."""
    try:
        document = await ended(edge, document, until)
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


async def ended(edge: Edge, document: Document, until: float) -> Document:
    """It once it has ended, or as it is when the time is over: ``until`` is monotonic.

    Waits in slices, so that a server that is about to leave answers instead of cutting the client off.
    """
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


async def shown(edge: Edge, asked: Iterable[Header], target: Target, document: Document) -> PredictionOut:
    """A prediction as the answer to its creation has it."""
    document = await whole(edge.services.blobs, document)
    version, schema = await _made_by(edge, target, document)
    out = edge.render.prediction(document, version, schema, contents=await contents(edge, asked, document))
    if document.webhook:
        out.webhook, out.webhook_events_filter = document.webhook, document.webhook_events
    return out


async def _made_by(edge: Edge, target: Target, document: Document) -> tuple[str, VersionSchema]:
    """The version to show, and the schema that says which inputs are secret."""
    if document.version in ("", target.version):
        return target.version, target.schema
    return await edge.catalog.shown(document)


async def _created(edge: Edge, asked: Iterable[Header], made: _Made, wait: Wait | None, status: int) -> Reply:
    document = made.document
    if document.dialect == COGFLARE:
        document = await whole(edge.services.blobs, document)
        version, schema = await _made_by(edge, made.target, document)
        old = shown_of_2022(edge.render, edge.links, document, version, schema)
        if document.status is Status.STARTING:
            old.status = CREATING  # the answer's word, also when a worker has it by now
        return Reply(encode(old), headers=(REPLAYED,) if made.replayed else ())
    out = await shown(edge, asked, made.target, document)
    headers: list[Header] = [(b"location", out.urls.get.encode())]
    if wait is not None:
        headers.append((b"preference-applied", wait.applied.encode()))
    if made.replayed:
        headers.append(REPLAYED)
    return Reply(encode(out), status, headers=tuple(headers))
