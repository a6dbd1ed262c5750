"""Outputs as JSON: files stand in them as null until they are stored, and as references afterwards."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from coordinator.protocol.messages import BLOB_REFERENCE


class BadOutput(ValueError):
    """The output cannot be sent; the text says why and is fit for the user's eyes."""


def to_json(value: Any) -> bytes:
    """A value as JSON. Raises ``BadOutput``."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadOutput(f"the output is not JSON: {error}") from None


def fill(output: bytes, keys: Mapping[str, str]) -> bytes:
    """The output with a reference to a stored file at each JSON pointer. Raises ``BadOutput``."""
    if not keys:
        return output
    value = msgspec.json.decode(output)
    for pointer, key in keys.items():
        value = put(value, pointer, BLOB_REFERENCE + key)
    return to_json(value)


def join(items: Iterable[bytes]) -> bytes:
    """A JSON array of values that are JSON already."""
    return b"[" + b",".join(items) + b"]"


def put(value: Any, pointer: str, new: str) -> Any:
    """The value with ``new`` in the place of a JSON pointer; it is changed. Raises ``BadOutput``."""
    if pointer == "":
        return new
    *path, last = (part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))
    place = value
    try:
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        place[int(last) if isinstance(place, list) else last] = new
    except (LookupError, TypeError, ValueError):
        raise BadOutput(f"the output has no place {pointer} for a file") from None
    return value
