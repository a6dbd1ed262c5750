"""Finds a prediction: ended ones without waking anything, others where the truth is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from coordinator import calls, keeping
from coordinator.errors import NoSuchObject, Unavailable
from coordinator.letters import COGFLARE
from coordinator.prediction import Document
from edge.aliases import is_own_id
from edge.auth import Principal
from edge.context import Edge
from edge.errors import not_found

T = TypeVar("T")

_REPEAT_WITHIN_S = 2.0
_REPEAT_AFTER_S = 0.1


def own(principal: Principal, document: Document) -> None:
    """Raises Problem ``not_found`` for what another one made than the user whose key this is."""
    if principal.maker is not None and document.user != principal.token:
        raise not_found()


async def find(edge: Edge, id: str, account: str) -> Document:
    """The account's prediction as it is now, without its data if its time is over. Raises Problem
    ``not_found``, Unavailable."""
    return keeping.shown(await stored(edge, id, account), edge.services.clock.now())


async def stored(edge: Edge, id: str, account: str) -> Document:
    """The same with its data, as long as that is there.

    The index is believed for ended ones only; a miss or a running row asks the coordinator.
    """
    services = edge.services
    id, number = await _named(edge, id, account)
    recent = _recent(edge, id, account)
    if recent is not None:
        return recent
    live = services.models.live(number)
    if not live:
        indexed = await services.store.index.get(id, account)
        if indexed is not None and indexed.status.terminal:
            return indexed
    reply = await _asked(services.models.stub(number).get(calls.Get(id=id, account=account)))
    return await _latest(edge, reply, id, account)


async def find_by_id(edge: Edge, id: str) -> Document:
    """A prediction of whatever account, of the dialect in which its id is the right to read it. Raises as
    ``find`` does."""
    services = edge.services
    number = _number(edge, id)
    document = services.projector.recent(id)
    if document is None and not services.models.live(number):
        indexed = await services.store.index.find(id)
        document = indexed if indexed is not None and indexed.status.terminal else None
    if document is None:
        call = calls.Get(id=id, account="", by_id=True)
        reply = await _asked(services.models.stub(number).get(call))
        document = reply.document if isinstance(reply, calls.Found) else None
        if document is None or document.status.terminal:
            indexed = await services.store.index.find(id)
            known = indexed is not None and (document is None or indexed.status.terminal)
            document = indexed if known else document
    if document is None or document.dialect != COGFLARE:
        raise not_found()
    return keeping.shown(document, services.clock.now())


async def explain(edge: Edge, id: str, account: str) -> calls.Explained:
    """The account's prediction as it is now, and where it stands if it waits. Raises as ``find`` does."""
    id, number = await _named(edge, id, account)
    if _recent(edge, id, account) is None and edge.services.models.live(number):
        reply = await edge.services.models.stub(number).why(calls.Why(id=id, account=account))
        if isinstance(reply, calls.Explained) and not reply.document.status.terminal:
            return reply
    document = await find(edge, id, account)
    if document.status.terminal:
        return calls.Explained(document=document)
    reply = await edge.services.models.stub(number).why(calls.Why(id=id, account=account))
    return reply if isinstance(reply, calls.Explained) else calls.Explained(document=document)


async def cancel(edge: Edge, id: str, account: str) -> Document:
    """Ask for a prediction's end; an ended one stays as it is. Raises Problem ``not_found``, Unavailable."""
    services = edge.services
    id, number = await _named(edge, id, account)
    recent = _recent(edge, id, account)
    if recent is not None:
        return keeping.shown(recent, services.clock.now())
    if not services.models.live(number):
        indexed = await services.store.index.get(id, account)
        if indexed is not None and indexed.status.terminal:
            return keeping.shown(indexed, services.clock.now())
    stub = services.models.stub(number)
    reply = await _asked(repeated(edge, lambda: stub.cancel(calls.Cancel(id=id, account=account))))
    return keeping.shown(await _latest(edge, reply, id, account), services.clock.now())


async def deliveries(edge: Edge, document: Document) -> calls.Deliveries | None:
    """What became of the webhook of an ended prediction; None when nothing is known. Raises Unavailable."""
    stub = edge.services.models.stub(_number(edge, document.id))
    call = calls.AskDeliveries(id=document.id, account=document.account)
    try:
        reply = await repeated(edge, lambda: stub.deliveries(call))
    except NoSuchObject:
        return None
    return reply if isinstance(reply, calls.Deliveries) else None


async def redeliver(edge: Edge, document: Document) -> calls.Deliveries:
    """Have it sent again. Raises Unavailable."""
    stub = edge.services.models.stub(_number(edge, document.id))
    return await _asked(repeated(edge, lambda: stub.redeliver(calls.Redeliver(document=document))))


async def repeated(
    edge: Edge, call: Callable[[], Awaitable[T]], again: Callable[[], Awaitable[T]] | None = None
) -> T:
    """Make a call, and repeat it once, as ``again`` if that is another one, when the coordinator's instance
    went away."""
    clock = edge.services.clock
    started = clock.monotonic()
    try:
        return await call()
    except NoSuchObject:
        raise
    except Unavailable:
        if clock.monotonic() - started > _REPEAT_WITHIN_S:
            raise
    await asyncio.sleep(_REPEAT_AFTER_S)
    return await (again or call)()


async def _named(edge: Edge, id: str, account: str) -> tuple[str, int]:
    """Our id of a prediction that is asked for by it, or by its client's own, and its object's number."""
    services = edge.services
    number = services.ids.number(id)
    if number is None and is_own_id(id):
        alias = await services.store.aliases.get(account, "id", id, services.clock.now())
        if alias is not None:
            id = alias.ids[0]
            number = services.ids.number(id)
    if number is None:
        raise not_found()
    return id, number


async def _asked(answer: Awaitable[T]) -> T:
    """An id may be ours, and its coordinator be gone with all that it had. Raises Problem ``not_found``."""
    try:
        return await answer
    except NoSuchObject:
        raise not_found() from None


def _number(edge: Edge, id: str) -> int:
    number = edge.services.ids.number(id)
    if number is None:
        raise not_found()
    return number


def _recent(edge: Edge, id: str, account: str) -> Document | None:
    document = edge.services.projector.recent(id)
    return document if document is not None and document.account == account else None


async def _latest(edge: Edge, reply: calls.Found | calls.Unknown, id: str, account: str) -> Document:
    """What the coordinator has said. Of one that ended before the server's last start it does not know what
    has become of it since: the index does."""
    if not isinstance(reply, calls.Found):
        return await _left(edge, id, account)
    if reply.document.status.terminal:
        indexed = await edge.services.store.index.get(id, account)
        if indexed is not None and indexed.status.terminal:
            return indexed
    return reply.document


async def _left(edge: Edge, id: str, account: str) -> Document:
    """The coordinator does not have it (any more): then the index does, or nobody."""
    document = await edge.services.store.index.get(id, account)
    if document is None:
        raise not_found()
    return document
