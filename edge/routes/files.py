"""Files that clients upload, and the signed URLs under which stored files are read and outputs written."""

import hmac
from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import parse_qsl

from litestar import HttpMethod, delete, get, post, put, route
from litestar.types import ASGIApp

from coordinator.blobs.errors import ChecksumMismatch, Exists, Expired, GrantError, Missing, TooLarge
from coordinator.blobs.keys import from_url_path
from coordinator.store.files import FileRow
from edge.context import Edge, authorized, edge_of, json_reply
from edge.downloads import download
from edge.errors import Problem, not_found
from edge.pages import decode_cursor, encode_cursor
from edge.replies import HTTPRequest, Reply, header, too_large
from edge.uploads import receive_file

_READ = [HttpMethod.GET, HttpMethod.HEAD]


@post("/v1/files", opt={"keys": True, "creates": True})
async def create_file(request: HTTPRequest) -> ASGIApp:
    """Upload a file as multipart/form-data; its URL can then stand in an input."""
    edge, principal = await authorized(request, "submit")
    row = await receive_file(edge, request, principal)
    return json_reply(edge.render.file(row), 201)


@get("/v1/files")
async def list_files(request: HTTPRequest) -> ASGIApp:
    """A page of the account's files, newest first."""
    edge, principal = await authorized(request, "read")
    cursor = request.query_params.get("cursor")
    size = edge.services.limits.page_size
    rows = await edge.services.store.files.list(
        principal.account, before=decode_cursor(cursor) if cursor else None, limit=size + 1
    )
    page, following = rows[:size], None
    if len(rows) > size:
        following = {"cursor": encode_cursor((page[-1].created_at, page[-1].id))}
    shown = [edge.render.file(row) for row in page if _alive(edge, row)]
    return json_reply(edge.render.page(shown, "/v1/files", following))


@get("/v1/files/{id:str}")
async def get_file(request: HTTPRequest) -> ASGIApp:
    """What is known of a file; its bytes are under ``/download``."""
    edge, principal = await authorized(request, "read")
    row = await _file(edge, request.path_params["id"], principal.account)
    return json_reply(edge.render.file(row))


@delete("/v1/files/{id:str}", status_code=200)
async def delete_file(request: HTTPRequest) -> ASGIApp:
    """Delete a file. Predictions that wait for it will fail."""
    edge, principal = await authorized(request, "submit")
    files = edge.services.store.files
    row = await files.get(request.path_params["id"], principal.account)
    if row is None:
        raise not_found("File not found")
    await edge.services.blobs.delete(row.key)
    await files.delete(row.id, principal.account)
    return Reply(status=204)


@route("/v1/files/{id:str}/download", http_method=_READ)
async def download_file(request: HTTPRequest) -> ASGIApp:
    """A file's bytes, by ``owner``, ``expiry`` and ``signature``: Replicate's signed form."""
    edge = edge_of(request)
    query = request.query_params
    id, owner, expiry = request.path_params["id"], query.get("owner", ""), query.get("expiry", "")
    wanted = edge.links.download_signature(owner, id, expiry)
    if not hmac.compare_digest(wanted.encode(), query.get("signature", "").encode("utf-8", "replace")):
        raise Problem("bad_signature", "The link is not signed by this server.")
    # Signed by us, so it is a number.
    if int(expiry) * 1_000_000 <= edge.services.clock.now():
        raise Problem("link_expired", "This link has expired.")
    row = await edge.services.store.files.get(id, owner)
    if row is None or not _alive(edge, row):
        raise _gone()
    return await _sent(edge, request, row.key, row.name, row.content_type)


@route("/files/{key:path}", http_method=_READ)
async def get_stored(request: HTTPRequest) -> ASGIApp:
    """A stored file by its signed URL. The URL is the right to read it; other authentication is ignored."""
    edge = edge_of(request)
    key = request.path_params["key"].removeprefix("/")
    try:
        grant = edge.services.signer.verify_get(key, _query(request), edge.services.clock.now())
    except Expired as error:
        if await edge.services.blobs.stat(from_url_path(key)) is None:
            raise _gone() from None
        raise _refused(error) from None
    except GrantError as error:
        raise _refused(error) from None
    return await _sent(edge, request, grant.key, grant.name, grant.content_type)


@put("/uploads/{key:path}")
async def put_stored(request: HTTPRequest) -> ASGIApp:
    """Store an output file, or a part of one, under its signed URL: of that length and SHA-256, or not at
    all."""
    edge = edge_of(request)
    key = request.path_params["key"].removeprefix("/")
    try:
        grant = edge.services.signer.verify_put(key, _query(request), edge.services.clock.now())
    except GrantError as error:
        raise _refused(error) from None
    announced = header(request, b"content-length")
    if announced is not None and announced != str(grant.length):
        raise Problem("checksum_mismatch", f"This URL takes a file of exactly {grant.length} bytes.")
    try:
        async with aclosing(_chunks(request)) as chunks:
            if grant.part is not None:
                await edge.services.blobs.uploads.put(grant.key, grant.upload, grant.part, chunks)
            else:
                await edge.services.blobs.put(
                    grant.key,
                    chunks,
                    content_type=grant.content_type,
                    length=grant.length,
                    sha256=grant.sha256,
                    limit_bytes=edge.services.limits.output_file_bytes,
                )
    except ChecksumMismatch as error:
        raise Problem("checksum_mismatch", f"The upload was refused: {error}.") from None
    except TooLarge:
        limit_bytes = edge.services.limits.output_file_bytes
        raise too_large(limit_bytes, "An output file", "output_file_bytes") from None
    except Exists:
        raise Problem("conflict", "Another file is stored under this URL.") from None
    except Missing:
        raise not_found("Upload not found: it has ended") from None
    return Reply(status=201, headers=((b"etag", f'"{grant.sha256}"'.encode()),))


async def _sent(edge: Edge, request: HTTPRequest, key: str, name: str, content_type: str) -> ASGIApp:
    """What a URL names that we have signed: it was here once."""
    services = edge.services
    try:
        return await download(request, services.blobs, services.redirects, key, name, content_type)
    except Problem as problem:
        raise (_gone() if problem.code == "not_found" else problem) from None


async def _chunks(request: HTTPRequest) -> AsyncGenerator[bytes, None]:
    more = True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise Problem("bad_request", "The request ended before its body did.")
        if message["body"]:
            yield message["body"]
        more = message["more_body"]


async def _file(edge: Edge, id: str, account: str) -> FileRow:
    row = await edge.services.store.files.get(id, account)
    if row is None or not _alive(edge, row):
        raise not_found("File not found")
    return row


def _alive(edge: Edge, row: FileRow) -> bool:
    return row.expires_at is None or row.expires_at > edge.services.clock.now()


def _gone() -> Problem:
    detail = "This file was removed: the time was over for which it is kept, or it was deleted."
    return Problem("gone", detail)


def _query(request: HTTPRequest) -> dict[str, str]:
    return dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))


def _refused(error: GrantError) -> Problem:
    if isinstance(error, Expired):
        return Problem("link_expired", "This link has expired.")
    return Problem("bad_signature", "The link is not signed by this server.")


HANDLERS = [
    create_file,
    list_files,
    get_file,
    delete_file,
    download_file,
    get_stored,
    put_stored,
]
