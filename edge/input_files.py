"""The stored files that an input names by our own URLs: the agent gets them by a signed path instead."""

from typing import Any
from urllib.parse import parse_qsl, unquote

from coordinator.blobs.errors import GrantError
from edge.context import Edge
from edge.errors import InvalidField, Problem, invalid_input
from edge.inputs import VersionSchema
from edge.json_values import strings_of
from edge.legacy.places import file_key
from edge.legacy.shapes import OUTPUTS, marked_file
from edge.lookup import find_by_id


async def input_files(
    edge: Edge, account: str, raw: bytes, value: dict[str, Any], schema: VersionSchema
) -> dict[str, str]:
    """URL as it stands in the input -> key of the blob behind it.

    Raises Problem ``invalid_input`` when a file input names a file that is unknown, expired or not of this
    account. In other inputs such a text is just a text.
    """
    if not any(mark in raw for mark in (b"/files/", rb"\/files\/", b"/outputs/", rb"\/outputs\/")):
        return {}
    found: dict[str, str] = {}
    wrong: list[InvalidField] = []
    for name, item in value.items():
        for text in strings_of(item):
            if text in found or not text.startswith(edge.links.base):
                continue
            key, is_ours = await _key(edge, account, text[len(edge.links.base) :])
            if key is not None:
                found[text] = key
            elif is_ours and name in schema.files:
                wrong.append(InvalidField("file_not_found", f"input.{name}", "File not found or expired"))
    if wrong:
        raise invalid_input(*wrong)
    return found


async def _key(edge: Edge, account: str, path: str) -> tuple[str | None, bool]:
    """(key of the blob behind this path and query, whether it is the path of a file at all)."""
    path, _, query = path.partition("?")
    now = edge.services.clock.now()
    if path.startswith("/v1/files/"):
        row = await edge.services.store.files.get(unquote(path.split("/")[3]), account)
        alive = row is not None and (row.expires_at is None or row.expires_at > now)
        return (row.key if row is not None and alive else None), True
    if path.startswith("/files/"):
        claims = dict(parse_qsl(query, keep_blank_values=True))
        try:
            return edge.services.signer.verify_get(path.removeprefix("/files/"), claims, now).key, True
        except GrantError:
            return None, True
    if (key := file_key(path.removeprefix("/v1/").removeprefix("/outputs/"))) is not None:
        return (key if await edge.services.blobs.stat(key) is not None else None), True
    if path.startswith(OUTPUTS):
        return await _key_of_output(edge, path.removeprefix(OUTPUTS)), True
    return None, False


async def _key_of_output(edge: Edge, path: str) -> str | None:
    """Of a file of a prediction of a client of 2022."""
    id, _, rest = path.partition("/")
    try:
        file = marked_file(await find_by_id(edge, id), rest.partition("/")[0])
    except Problem:
        return None
    return None if file is None else file.key
