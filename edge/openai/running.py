"""Runs what an OpenAI client asks for: it waits for the end, and what it no longer waits for is canceled."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from coordinator.prediction import Document, Status
from edge.auth import Principal
from edge.catalog import Reference, Target, reference
from edge.context import Edge
from edge.creation import create, input_of, prepare
from edge.errors import Problem
from edge.hangups import HungUp, unless_hung_up
from edge.lookup import cancel
from edge.openai.answers import Failed, why_failed
from edge.replies import HTTPRequest
from edge.schemas import CreateBody, encode
from edge.submit import accepted, ended, unless_revoked


async def target_of(edge: Edge, principal: Principal, model: str) -> Target:
    """What ``model`` names: ``owner/name``, or ``owner/name:version``. Raises Problem ``not_found``."""
    wanted = reference(model) or Reference(None, None)
    target = None if wanted.model is None else await edge.catalog.target(principal, wanted)
    if target is None:
        raise Problem("not_found", f"The model {model[:200]!r} does not exist, or your token may not use it.")
    return target


async def begun(
    edge: Edge,
    request: HTTPRequest,
    principal: Principal,
    target: Target,
    inputs: Sequence[Mapping[str, Any]],
    user: str | None,
    metadata: Any,
) -> list[Document]:
    """A prediction of each input, accepted. Raises Problem, Unavailable."""
    headers = request.scope["headers"]
    orders = []
    for given in inputs:
        body = CreateBody(
            input=msgspec.Raw(encode(given)), end_user=user or None, metadata=metadata if metadata else None
        )
        checked = input_of(body, edge.services.limits.input_depth)
        orders.append(await prepare(edge, principal, headers, body, checked, target))
    documents: list[Document] = []
    try:
        for order in orders:
            documents.append(accepted(await create(edge, order)))
    except BaseException:
        await given_up(edge, documents)
        raise
    return documents


async def finished(
    edge: Edge, request: HTTPRequest, principal: Principal, documents: Sequence[Document]
) -> list[Document]:
    """Each once it has succeeded. All others are canceled when one did not, when the time is over, when the
    client hangs up (HungUp), and when its token is revoked. Raises Problem."""
    until = edge.services.clock.monotonic() + edge.services.limits.openai_s

    async def all_ended() -> list[Document]:
        return await asyncio.gather(*(ended(edge, document, until) for document in documents))

    done: list[Document] = []
    try:
        done = await unless_hung_up(request, unless_revoked(edge, principal, all_ended()))
        for document in done:
            if not document.status.terminal:
                raise _not_in_time(edge)
            if document.status is not Status.SUCCEEDED:
                raise why_failed(document)
    except (Problem, HungUp):
        await given_up(edge, [one for one in done or documents if not one.status.terminal])
        raise
    return done


async def given_up(edge: Edge, documents: Sequence[Document]) -> None:
    """Nobody waits for these any more. A server that leaves may have closed the connections itself."""
    for document in documents:
        await cancel(edge, document.id, document.account)


def _not_in_time(edge: Edge) -> Problem:
    if edge.services.draining.is_set():
        return Problem("unavailable", "The server is restarting. Ask again.", retry_after_s=1.0)
    seconds = edge.services.limits.openai_s
    return Failed("unavailable", f"There was no answer within {seconds:g} s (openai_s); it was canceled.")
