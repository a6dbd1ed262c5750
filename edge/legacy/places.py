"""The paths of 2022: where its workers dial in, and where the files that they upload are. Pure."""

import re
import secrets
import uuid
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote

from coordinator.blobs.errors import BadKey
from coordinator.blobs.keys import check_key, from_url_path, safe_name
from coordinator.legacy import files_prefix

_SOCKET = re.compile(r"/(?:v1/)+models/([^/]*)/([^/]*)/websockets?(?:/([^/]*))?(?:/.*)?")
_FILE = re.compile(r"models/[^/]+/[^/]+/files/[0-9a-f-]{36}/[^/]+")
_OUTPUTS = "/outputs/"
_API = "/v1/"


class Place(NamedTuple):
    """Where a worker dials in. ``secrets`` are what its token may be: as it stands in the path, decoded."""

    model: str
    secrets: tuple[str, ...]


def socket_place(scope: Any) -> Place | None:
    """What the path of a websocket names; None when it is not one of these. What follows the token is not
    looked at, and names of models are lower-case here, however the worker writes them."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    match = _SOCKET.fullmatch(raw.decode("latin-1"))
    if match is None:
        return None
    owner, name, token = match.groups()
    model = f"{unquote(owner)}/{unquote(name)}".lower()
    return Place(model, tuple(dict.fromkeys(filter(None, (token, unquote(token or ""))))))


def session_id(query: bytes) -> str:
    """The ``session_id`` of a websocket's query: a worker's process. Empty when there is none."""
    return parse_qs(query.decode("latin-1")).get("session_id", [""])[0]


def new_file_key(model: str, filename: str) -> str:
    """A key for an uploaded file, which nobody can guess."""
    id = uuid.UUID(bytes=secrets.token_bytes(16), version=4)
    return check_key(f"{files_prefix(model)}{id}/{safe_name(filename)}")


def file_key(path: str) -> str | None:
    """The key of an uploaded file by the path under ``/v1/`` or ``/outputs/``; None for anything else."""
    try:
        key = from_url_path(path)
    except BadKey:
        return None
    return key if _FILE.fullmatch(key) else None


def file_url(base: str, key: str) -> str:
    return f"{base}{_API}{key}"


def key_of_url(base: str, url: str, model: str) -> str | None:
    """The key of an upload for this model that a worker names in an output; None for any other text."""
    for path in (_API, _OUTPUTS):
        if url.startswith(base + path):
            key = file_key(url[len(base + path) :])
            return key if key is not None and key.startswith(files_prefix(model)) else None
    return None


def file_name(key: str) -> str:
    return unquote(key.rpartition("/")[2])
