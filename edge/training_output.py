"""What a training gave, as clients see it: its weights by a URL, and the version that has them. Pure.

A training whose model takes weights, as the input ``replicate_weights``, makes a version of its destination:
the one that was trained, given these weights. No worker registers it, and no table has it: its id is the
training's own in another spelling.
"""

import hashlib
from typing import Any

import msgspec
from msgspec import Raw

from coordinator.prediction import Document, Status
from coordinator.protocol.limits import FOREVER_S
from coordinator.protocol.messages import BLOB_REFERENCE, StoredFile
from coordinator.protocol.names import valid_version
from edge.inputs import VersionSchema
from edge.links import Links

_WEIGHTS = "weights"
_ID_LENGTH = 26


def training_output(document: Document, schema: VersionSchema | None, links: Links) -> Raw:
    """``version`` and ``weights``, as far as there are such, and all else that the model gave."""
    if document.output is None:
        return Raw(b"null")
    files = {f"{BLOB_REFERENCE}{file.key}": file for file in document.files}
    given = msgspec.json.decode(document.output)
    shown = _with_urls({_WEIGHTS: given} if isinstance(given, str) else given, files, document, links)
    if isinstance(shown, dict) and makes_version(document, schema):
        shown = {"version": f"{document.destination}:{trained_version(document.id)}", **shown}
    return Raw(msgspec.json.encode(shown))


def makes_version(document: Document, schema: VersionSchema | None) -> bool:
    """Whether a training has given weights, and its model takes them. ``schema`` is the one of trainings."""
    return schema is not None and schema.takes_weights and weights_of(document) is not None


def weights_of(document: Document) -> StoredFile | None:
    """The file that the weights of a training are in."""
    if document.status is not Status.SUCCEEDED or document.output is None:
        return None
    given = msgspec.json.decode(document.output)
    named = given.get(_WEIGHTS) if isinstance(given, dict) else given
    return next((file for file in document.files if named == f"{BLOB_REFERENCE}{file.key}"), None)


def url_of(file: StoredFile, document: Document, links: Links) -> str:
    """Good for as long as the training is kept."""
    forever = document.created_at + int(FOREVER_S * 1e6)
    return links.stored(file, forever if document.expires_at is None else document.expires_at)


def trained_version(training: str) -> str:
    """The id, 64 hex, of the version that a training makes."""
    text = training.encode().hex()
    return text + _check(text)


def training_of(version: str) -> str | None:
    """The training that has made the version of this id; None for that of any other version."""
    text, check = version[: 2 * _ID_LENGTH], version[2 * _ID_LENGTH :]
    if not valid_version(version) or check != _check(text):
        return None
    return bytes.fromhex(text).decode("ascii", "replace")


def _check(text: str) -> str:
    return hashlib.sha256(b"version of the training " + text.encode()).hexdigest()[: 64 - 2 * _ID_LENGTH]


def _with_urls(value: Any, files: dict[str, StoredFile], document: Document, links: Links) -> Any:
    if isinstance(value, str):
        return url_of(files[value], document, links) if value in files else value
    if isinstance(value, list):
        return [_with_urls(item, files, document, links) for item in value]
    if isinstance(value, dict):
        return {name: _with_urls(item, files, document, links) for name, item in value.items()}
    return value
