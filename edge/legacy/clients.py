"""What clients of 2022 ask: their tokens' records say that they are such, and nothing in a request does.

A prediction of theirs may be read by whoever knows its id, without a token, as then. What is wrong is told in
plain words, as then. There was no way to cancel, and no list: both work here.
"""

import asyncio
from collections.abc import Awaitable

import msgspec
from litestar.types import ASGIApp

from coordinator.letters import COGFLARE
from coordinator.long_inputs import whole
from coordinator.prediction import Document
from coordinator.protocol.names import legacy_version, valid_version
from edge import listing, lookup
from edge.auth import Principal
from edge.catalog import Reference, Target, reference
from edge.context import Edge, edge_of, json_reply
from edge.downloads import download
from edge.errors import Problem, not_found
from edge.keeping import removed
from edge.legacy.shapes import Body, Shown, marked_file, shown
from edge.replies import TEXT, HTTPRequest, Reply, read_body
from edge.schemas import CreateBody
from edge.submit import submit
from edge.uploads import receive_file
from edge.webhooks import url_fault

_decode = msgspec.json.Decoder(Body).decode


def is_old(principal: Principal) -> bool:
    """Whether the token is one of a client of 2022."""
    return principal.api == COGFLARE


async def in_words(answering: Awaitable[ASGIApp]) -> ASGIApp:
    """The answer; a refusal as a text."""
    try:
        return await answering
    except Problem as problem:
        headers = list(problem.headers)
        if problem.retry_after_s is not None:
            headers.append((b"retry-after", str(problem.retry_after_s).encode()))
        return Reply(problem.detail.encode(), problem.status, TEXT, tuple(headers))


async def create(edge: Edge, request: HTTPRequest, principal: Principal) -> ASGIApp:
    """Create a prediction, and answer 200 with it."""
    body = _body(await read_body(request, edge.services.limits.body_bytes))
    callback = body.callback_url or None
    if (fault := url_fault(callback, edge.services.webhooks.rules)) is not None:
        raise Problem("bad_request", f"callbackUrl: {fault}")
    target = await _target(edge, principal, body)
    return await submit(edge, request, principal, CreateBody(input=body.input, webhook=callback), target)


async def read(edge: Edge, id: str, principal: Principal) -> ASGIApp:
    """Read a prediction of the account, or one that its id alone gives the right to read."""
    try:
        document = await lookup.find(edge, id, principal.account)
    except Problem as problem:
        if problem.code != "not_found":
            raise
        document = await lookup.find_by_id(edge, id)
    return json_reply(await _shown(edge, document))


async def read_by_id(request: HTTPRequest, refusal: Problem) -> ASGIApp:
    """Read without a token. Raises ``refusal``, which says that one is needed, for all but what its id alone
    gives the right to read."""
    # Too many wrong tokens of its address do not matter either: a read needs none.
    if refusal.code not in ("unauthenticated", "throttled"):
        raise refusal
    edge = edge_of(request)
    edge.throttle.charge_address(edge.authenticator.address(request.scope))
    try:
        document = await lookup.find_by_id(edge, request.path_params["id"])
    except Problem as problem:
        raise (refusal if problem.code == "not_found" else problem) from None
    return json_reply(await _shown(edge, document))


async def cancel(edge: Edge, id: str, principal: Principal) -> ASGIApp:
    """Ask for a prediction's end."""
    return json_reply(await _shown(edge, await lookup.cancel(edge, id, principal.account)))


async def page(edge: Edge, request: HTTPRequest, principal: Principal) -> ASGIApp:
    """A page of the account's predictions, as far as they are listed."""
    wanted = listing.filters(request.query_params)
    rows, following = await listing.page(edge, principal.account, wanted)
    found = await asyncio.gather(*(_shown(edge, row) for row in rows))
    return json_reply(edge.render.page(found, "/v1/predictions", following))


async def upload(edge: Edge, request: HTTPRequest, principal: Principal) -> ASGIApp:
    """Keep a file for an input, from the multipart field that workers use, too; gives its URL."""
    principal.require("submit")
    edge.throttle.charge(principal, creates=True)
    row = await receive_file(edge, request, principal, part="file")
    return json_reply({"url": edge.links.download(row.id, row.account)})


async def output_file(request: HTTPRequest, path: str) -> ASGIApp:
    """A file of a prediction that its id alone gives the right to read: ``ID/MARK/NAME``."""
    edge, parts = edge_of(request), path.split("/")
    if len(parts) != 3:
        raise not_found("File not found")
    document = await lookup.find_by_id(edge, parts[0])
    if document.data_removed:
        raise removed(document)
    file = marked_file(document, parts[1])
    if file is None:
        raise not_found("File not found")
    services = edge.services
    return await download(request, services.blobs, services.redirects, file.key, file.name, file.content_type)


def _body(raw: bytes) -> Body:
    try:
        return _decode(raw)
    except msgspec.ValidationError:
        raise Problem("bad_request", "The request body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem("bad_request", "The request body is not valid JSON.") from None


async def _target(edge: Edge, principal: Principal, body: Body) -> Target:
    """What is to run. A version that is not known here is one of another server: it says nothing, as then."""
    if not body.model and not body.version:
        raise Problem("bad_request", "Model and/or version must be specified")
    named = reference(body.model.strip().lower()) if isinstance(body.model, str) else None
    if body.model and (named is None or named.model is None):
        raise Problem("bad_request", "model must be a text such as owner/name")
    model = None if named is None else named.model
    version = body.version if isinstance(body.version, str) else None if named is None else named.version
    # That of workers of 2022 is no version: newer ones may run it as well.
    known = version if version and valid_version(version) and version != legacy_version(model or "") else None
    for here in (True, False):
        # Own workers first: a version that they do not have is no reason to pay for it elsewhere.
        for wanted in (Reference(model, known), Reference(model, None)):
            target = await edge.catalog.target(principal, wanted, here=here)
            if target is not None:
                return target
    if model is None:
        raise Problem("bad_request", "There is no such version here, please supply model name")
    raise not_found(f"There is no model {model} here: no worker of yours has ever served it.")


async def _shown(edge: Edge, document: Document) -> Shown:
    document = await whole(edge.services.blobs, document)
    version, schema = await edge.catalog.shown(document)
    return shown(edge.render, edge.links, document, version, schema)
