"""Files that clients upload: multipart bodies, streamed into storage as they come.

The three official clients send ``metadata`` in three ways (a text field, a file part, bracketed fields), and
name and type either on the part or as fields of their own.
"""

import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from coordinator.blobs.base import Stored
from coordinator.blobs.disposition import media_type
from coordinator.blobs.errors import TooLarge
from coordinator.blobs.keys import upload_key
from coordinator.protocol.limits import WireLimits
from coordinator.store.files import FileRow
from edge.auth import Principal
from edge.context import Edge
from edge.errors import InvalidField, Problem, invalid_input
from edge.replies import HTTPRequest, header, too_large
from edge.room import need_room

_PART_HEADERS, _PART_HEADER_BYTES = 8, 4096
"""Headers of one part of a form, and the length of each: no settings, three short ones are usual."""
_NAME_BYTES = WireLimits().name_bytes
_BRACKETED = re.compile(r"metadata\[(.+)\]")


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one part of the body."""

    name: str
    filename: str
    content_type: str


Event = Part | bytes | None
"""A part begins, some of its bytes, it ends."""


@dataclass(slots=True)
class _Form:
    """What has been read so far."""

    id: str
    part: str
    key: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    stored: Stored | None = None
    name: str = ""
    content_type: str = ""


async def receive_file(
    edge: Edge, request: HTTPRequest, principal: Principal, part: str = "content"
) -> FileRow:
    """Read the body, store the file of its ``part``, and record it. Raises Problem; then nothing is kept."""
    boundary = boundary_of(request, part)
    limits = edge.services.limits
    limit_bytes, most_bytes = limits.file_bytes, limits.file_bytes + limits.form_bytes
    announced = header(request, b"content-length") or ""
    if announced.isdecimal() and int(announced) > most_bytes:
        raise too_large(limit_bytes, "A file", "file_bytes")
    await need_room(edge, principal, int(announced) if announced.isdecimal() else 0)
    id = secrets.token_hex(13)
    form = _Form(id, part)
    try:
        async with aclosing(form_events(request, boundary, limits.form_parts, most_bytes)) as events:
            await _read(edge, form, events)
        row = _row(edge, form, principal.account)
        await edge.services.store.files.create(row)
    except BaseException as error:
        if form.stored is not None:
            await edge.services.blobs.delete(form.key)
        if isinstance(error, ParserLimitReached):
            raise _too_many_parts(limits.form_parts) from None
        if isinstance(error, MultipartError):
            raise Problem("bad_request", f"The multipart body cannot be read: {error}") from None
        if isinstance(error, TooLarge):
            raise too_large(limit_bytes, "A file", "file_bytes") from None
        raise
    return row


def boundary_of(request: HTTPRequest, part: str) -> str:
    """What separates the parts of a multipart body; ``part`` is the one with the file. Raises Problem."""
    kind, options = parse_options_header(header(request, b"content-type") or "")
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not boundary:
        raise Problem(
            "unsupported_media_type", f"Send the file as multipart/form-data, in a part named {part}."
        )
    return str(boundary)


async def form_events(
    request: HTTPRequest, boundary: str, parts: int, limit_bytes: int
) -> AsyncGenerator[Event, None]:
    """The body's parts as they come. Raises MultipartError, and Problem for a body that is cut off, or larger
    than the limit, whatever it consists of."""
    parser = PushMultipartParser(
        boundary,
        max_segment_count=parts,
        max_header_count=_PART_HEADERS,
        max_header_size=_PART_HEADER_BYTES,
    )
    left_bytes = limit_bytes
    while not parser.closed:
        message = await request.receive()
        if message["type"] != "http.request":
            raise Problem("bad_request", "The request ended before its body did.")
        left_bytes -= len(message["body"])
        if left_bytes < 0:
            raise too_large(limit_bytes, "The form")
        if message["body"]:
            for event in parser.parse(message["body"]):
                if isinstance(event, MultipartSegment):
                    yield Part(event.name or "", event.filename or "", event.content_type or "")
                else:
                    yield None if event is None else bytes(event)
        if not message["more_body"]:
            parser.close()


async def _read(edge: Edge, form: _Form, events: AsyncGenerator[Event, None]) -> None:
    form_bytes = left_bytes = edge.services.limits.form_bytes
    async for part in events:
        if not isinstance(part, Part):
            continue
        if part.name == form.part:
            if form.stored is not None:
                raise invalid_input(InvalidField("conflict", form.part, f"{form.part} must be given once"))
            form.name = part.filename
            form.content_type = part.content_type
            form.key = upload_key(form.id, form.fields.get("filename") or form.name)
            form.stored = await edge.services.blobs.put(
                form.key,
                body_of(events),
                content_type=media_type(form.content_type),
                limit_bytes=edge.services.limits.file_bytes,
            )
            continue
        value = bytearray()
        async for chunk in body_of(events):
            left_bytes -= len(chunk)
            if left_bytes < 0:
                raise too_large(form_bytes, "What is not the file", "form_bytes")
            value += chunk
        form.fields[part.name] = value.decode("utf-8", "replace")


def _too_many_parts(parts: int) -> Problem:
    return Problem(
        "too_large",
        f"A form must not have more than {parts} parts (form_parts), nor a part more than {_PART_HEADERS} "
        f"headers of {_PART_HEADER_BYTES} bytes.",
    )


async def body_of(events: AsyncGenerator[Event, None]) -> AsyncIterator[bytes]:
    """The bytes of the part that has just begun."""
    while True:
        event = await anext(events, None)
        if not isinstance(event, bytes):
            return
        yield event


def _row(edge: Edge, form: _Form, account: str) -> FileRow:
    if form.stored is None:
        raise invalid_input(InvalidField("required", form.part, f"{form.part} is required"))
    name = re.split(r"[/\\]", form.fields.get("filename") or form.name)[-1] or "file"
    if len(name.encode("utf-8", "replace")) > _NAME_BYTES:
        text = f"The file name must not be longer than {_NAME_BYTES} bytes (name_bytes)"
        raise invalid_input(InvalidField("string_lte", "filename", text))
    now = edge.services.clock.now()
    return FileRow(
        id=form.id,
        account=account,
        key=form.key,
        name=name,
        content_type=media_type(form.fields.get("type") or form.content_type),
        size=form.stored.length,
        sha256=form.stored.sha256,
        md5=form.stored.md5,
        metadata=_metadata(form.fields),
        created_at=now,
        expires_at=now + int(edge.services.limits.file_ttl_s * 1_000_000),
    )


def _metadata(fields: dict[str, str]) -> dict[str, Any]:
    metadata: Any = {}
    if fields.get("metadata", "").strip():
        try:
            metadata = msgspec.json.decode(fields["metadata"])
        except msgspec.DecodeError:
            metadata = None
    if not isinstance(metadata, dict):
        raise invalid_input(InvalidField("invalid_type", "metadata", "metadata must be a JSON object"))
    for name, value in fields.items():
        if match := _BRACKETED.fullmatch(name):
            metadata[match[1]] = value
    return metadata
