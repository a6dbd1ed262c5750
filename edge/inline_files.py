"""Large files that stand in an input as data URLs: each is stored as an uploaded file, out of the queue."""

import base64
import binascii
import mimetypes
import re
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from coordinator.blobs.disposition import media_type
from coordinator.blobs.keys import upload_key
from coordinator.protocol.limits import WireLimits
from coordinator.store.files import FileRow
from edge.context import Edge
from edge.errors import InvalidField, invalid_input
from edge.inputs import VersionSchema
from edge.json_values import replaced, strings_of
from edge.replies import too_large

PIECE_BYTES = 256 * 1024
_NAME_BYTES = WireLimits().name_bytes


class DataUrl(msgspec.Struct, frozen=True):
    """What a data URL holds. ``name`` is empty when it has none."""

    content: bytes
    content_type: str
    name: str


def data_url(text: str) -> DataUrl:
    """Read a data URL. Raises ValueError."""
    head, comma, data = text[5:].partition(",")
    if not comma:
        raise ValueError("a data URL without a comma")
    kind, *parameters = head.split(";")
    try:
        raw = unquote_to_bytes(data) if "%" in data else data.encode()
        content = base64.b64decode(raw) if "base64" in parameters else raw
    except binascii.Error:
        raise ValueError("a data URL whose base64 is broken") from None
    named = dict(part.partition("=")[::2] for part in parameters)
    name = unquote_to_bytes(named.get("filename") or named.get("name") or "").decode(errors="replace")
    return DataUrl(content, media_type(kind), re.split(r"[/\\]", name)[-1])


async def without_inline_files(
    edge: Edge, account: str, raw: bytes, value: dict[str, Any], schema: VersionSchema
) -> tuple[bytes, dict[str, Any]]:
    """The input with the URL of an uploaded file in place of each data URL above ``inline_bytes``, where the
    version's schema has a file. Elsewhere such a text is just a text.

    Raises Problem for one that cannot be read or is larger than a file may be.
    """
    least = edge.services.limits.inline_bytes
    if len(raw) <= least:
        return raw, value
    fields = {name: value[name] for name in schema.files & value.keys()}
    urls: dict[str, str] = {}
    for name, item in fields.items():
        for text in strings_of(item):
            if len(text) > least and text[:5].lower() == "data:" and text not in urls:
                urls[text] = await _stored(edge, account, name, text)
    if not urls:
        return raw, value
    value = value | {name: replaced(item, urls.get) for name, item in fields.items()}
    return msgspec.json.encode(value), value


async def _stored(edge: Edge, account: str, field: str, text: str) -> str:
    """The URL of the file that holds what the data URL held."""
    try:
        found = data_url(text)
    except ValueError as error:
        raise invalid_input(InvalidField("format", f"input.{field}", f"Must not be {error}")) from None
    services = edge.services
    if len(found.content) > services.limits.file_bytes:
        raise too_large(services.limits.file_bytes, f"The file in input.{field}", "file_bytes")
    id, now = secrets.token_hex(13), services.clock.now()
    name = found.name if 0 < len(found.name.encode(errors="replace")) <= _NAME_BYTES else _name(found)
    key = upload_key(id, name)
    stored = await services.blobs.put(
        key,
        _pieces(found.content),
        content_type=found.content_type,
        length=len(found.content),
        limit_bytes=services.limits.file_bytes,
    )
    row = FileRow(
        id=id,
        account=account,
        key=key,
        name=name,
        content_type=found.content_type,
        size=stored.length,
        sha256=stored.sha256,
        md5=stored.md5,
        created_at=now,
        # Until a prediction uses it; then it goes with that.
        expires_at=now + int(services.limits.file_ttl_s * 1_000_000),
        bound=True,
    )
    try:
        await services.store.files.create(row)
    except BaseException:
        await services.blobs.delete(key)
        raise
    return edge.links.uploaded(id)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), PIECE_BYTES):
        yield content[at : at + PIECE_BYTES]


def _name(found: DataUrl) -> str:
    """As the agent calls what has no name: with the extension of its type."""
    return f"file{mimetypes.guess_extension(found.content_type.partition(';')[0]) or ''}"
