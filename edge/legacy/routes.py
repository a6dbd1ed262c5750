"""The files of the workers of 2022: how they upload them, and where anybody reads them.

Their upload URL stands on a command line and carries no token, and an upload names neither job nor session.
So one is taken only while a worker of 2022 has a job of that model open, and is charged to that job. Who
knows the URL of a file may read it: it cannot be guessed.
"""

import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from litestar import HttpMethod, get, route
from litestar.types import ASGIApp
from multipart import MultipartError  # type: ignore[import-untyped]

from coordinator.blobs.disposition import OCTET_STREAM
from coordinator.blobs.errors import TooLarge
from coordinator.protocol.messages import StoredFile
from edge.auth import tokens_of
from edge.context import Edge, edge_of, json_reply
from edge.downloads import download
from edge.errors import InvalidField, Problem, invalid_input, not_found
from edge.legacy import clients
from edge.legacy.allowance import Allowance
from edge.legacy.places import file_key, file_name, file_url, new_file_key
from edge.replies import HTTPRequest, too_large
from edge.uploads import Event, Part, body_of, boundary_of, form_events

FIELD = "file"
_READ = [HttpMethod.GET, HttpMethod.HEAD]
_WRITE = [HttpMethod.PUT, HttpMethod.POST]
_KINDS = ("image/", "audio/", "video/", "font/", "model/")
_TYPES = {"text/plain", "text/csv", "application/json", "application/pdf", "application/zip"}
_types = mimetypes.MimeTypes()


@route("/v1/models/{owner:str}/{name:str}/websocket", http_method=HttpMethod.GET, include_in_schema=False)
async def without_token(request: HTTPRequest) -> ASGIApp:
    """A worker of 2022 dials in here, with its token in the path."""
    raise _no_upgrade()


@get(
    [
        "/v1/models/{owner:str}/{name:str}/websocket/{rest:path}",
        "/v1/models/{owner:str}/{name:str}/websockets/{rest:path}",
    ],
    include_in_schema=False,
)
async def without_upgrade(request: HTTPRequest) -> ASGIApp:
    """A worker of 2022 dials in here, by websocket."""
    raise _no_upgrade()


@route(
    ["/v1/models/{owner:str}/{name:str}/files", "/v1/models/{owner:str}/{name:str}/files/{rest:path}"],
    http_method=_WRITE,
    status_code=200,
    include_in_schema=False,
)
async def upload_worker_file(request: HTTPRequest) -> ASGIApp:
    """A worker of 2022 uploads an output file, as multipart field ``file``, or a client with its token one
    for an input; gives its URL."""
    edge = edge_of(request)
    if tokens_of(request.scope["headers"]):
        principal = await edge.authenticator.principal(request.scope)
        if clients.is_old(principal):
            return await clients.in_words(clients.upload(edge, request, principal))
    params = request.path_params
    model = f"{params['owner']}/{params['name']}".lower()
    allowance = edge.services.legacy.upload_allowance(model)
    if allowance is None:
        raise Problem("no_open_job", "No worker that uploads here has a job of this model now.")
    if not allowance.take_file():
        raise Problem("throttled", "This job has uploaded as many files as a job may (legacy_job_files).")
    key = await _receive(edge, request, model, allowance)
    return json_reply({"url": file_url(edge.links.base, key)})


@route("/v1/models/{owner:str}/{name:str}/files/{rest:path}", http_method=_READ, include_in_schema=False)
async def read_worker_file(request: HTTPRequest) -> ASGIApp:
    """A file that a worker of 2022 uploaded."""
    params = request.path_params
    return await _send(request, f"models/{params['owner']}/{params['name']}/files{params['rest']}")


@route("/outputs/{key:path}", http_method=_READ, include_in_schema=False)
async def read_output(request: HTTPRequest) -> ASGIApp:
    """The same file, under the other URL that it had in 2022; and every output file of a client of 2022."""
    path = request.path_params["key"].removeprefix("/")
    if file_key(path) is None:
        return await clients.output_file(request, path)
    return await _send(request, path)


def _no_upgrade() -> Problem:
    return Problem("bad_request", "expected websocket")


async def _receive(edge: Edge, request: HTTPRequest, model: str, allowance: Allowance) -> str:
    """Store the file of the body, and remember it until a result names it. Raises Problem."""
    limits = edge.services.limits
    limit_bytes, most_bytes = limits.output_file_bytes, limits.output_file_bytes + limits.form_bytes
    boundary = boundary_of(request, FIELD)
    file: StoredFile | None = None
    try:
        async with aclosing(form_events(request, boundary, limits.form_parts, most_bytes)) as events:
            async for part in events:
                if file is None and isinstance(part, Part) and part.name == FIELD:
                    file = await _store(edge, events, model, part.filename, allowance)
                elif isinstance(part, bytes):
                    _count(part, allowance)
    except BaseException as error:
        if file is not None:
            await edge.services.blobs.delete(file.key)
        if isinstance(error, MultipartError):
            raise Problem("bad_request", f"The multipart body cannot be read: {error}") from None
        if isinstance(error, TooLarge):
            raise too_large(limit_bytes, "An output file", "output_file_bytes") from None
        raise
    if file is None:
        raise invalid_input(InvalidField("required", FIELD, f"{FIELD} is required"))
    edge.services.legacy.uploaded(file)
    return file.key


async def _store(
    edge: Edge, events: AsyncGenerator[Event, None], model: str, filename: str, allowance: Allowance
) -> StoredFile:
    key = new_file_key(model, filename)
    kind = content_type_of(filename)
    stored = await edge.services.blobs.put(
        key,
        _counted(body_of(events), allowance),
        content_type=kind,
        limit_bytes=edge.services.limits.output_file_bytes,
    )
    return StoredFile(
        key=key, name=file_name(key), content_type=kind, length=stored.length, sha256=stored.sha256
    )


async def _counted(chunks: AsyncIterator[bytes], allowance: Allowance) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        _count(chunk, allowance)
        yield chunk


def _count(chunk: bytes, allowance: Allowance) -> None:
    if not allowance.take_bytes(len(chunk)):
        raise Problem("throttled", "This job has uploaded as many bytes as a job may (legacy_job_bytes).")


async def _send(request: HTTPRequest, path: str) -> ASGIApp:
    edge = edge_of(request)
    key = file_key(path)
    stat = None if key is None else await edge.services.blobs.stat(key)
    if key is None or stat is None:
        raise not_found("File not found")
    services = edge.services
    return await download(request, services.blobs, services.redirects, key, file_name(key), stat.content_type)


def content_type_of(filename: str) -> str:
    """By its name, if that is a kind that no browser takes for a page; the worker says nothing of it."""
    kind = _types.guess_type(filename)[0] or OCTET_STREAM
    return kind if kind.startswith(_KINDS) or kind in _TYPES else OCTET_STREAM


HANDLERS = [without_token, without_upgrade, upload_worker_file, read_worker_file, read_output]
