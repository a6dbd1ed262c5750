"""How a prediction looks to clients of 2022: the home of that dialect's field names. Pure.

Measured on the server of 2022: ``creating`` until a worker gets it, ``cancelled`` with two l, the log as a
list of lines, times with milliseconds. What was missing or wrong there, and nothing can depend on, is there
and right here: a status at all times, lists as lists, numbers and texts as outputs, when it ran.
"""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Raw, UnsetType

from coordinator.prediction import Document, Status
from coordinator.protocol.messages import StoredFile
from edge.inputs import VersionSchema
from edge.legacy.places import file_key, file_url
from edge.links import Links
from edge.schemas import HIDDEN_VERSION, Renderer, shown_id
from edge.times import rfc3339

OUTPUTS = "/outputs/"
CREATING = "creating"
_decode = msgspec.json.Decoder(dict[str, Raw]).decode


class Body(msgspec.Struct):
    """The body of a creation; fields that nobody knows mean nothing, as then."""

    input: Raw | UnsetType = UNSET
    model: Any = None
    version: Any = None
    callback_url: Any = msgspec.field(default=None, name="callbackUrl")


class Urls(msgspec.Struct):
    get: str
    cancel: str


_WORKER = "runpod"


class Shown(msgspec.Struct):
    """The answer to a creation and to a GET, and the body of a callback."""

    id: str
    urls: Urls
    created_at: str
    version: str
    model: str
    status: str
    input: Raw
    logs: list[str] | str
    """Lines; of what ran at Replicate one text."""
    output: Raw | UnsetType = UNSET
    error: str | UnsetType = UNSET
    metrics: dict[str, Raw] | UnsetType = UNSET
    started_at: str | UnsetType = UNSET
    completed_at: str | UnsetType = UNSET
    source: str = "cogflare"
    cogflare: bool | UnsetType = True
    runner: str = _WORKER
    """What it said then of any worker; the other word was for Replicate."""
    replicate_id: str | UnsetType = msgspec.field(default=UNSET, name="replicateId")


def shown(
    render: Renderer, links: Links, document: Document, version: str, schema: VersionSchema | None
) -> Shown:
    """A prediction in this dialect. ``version`` stands in where the document has none yet."""
    get = links.prediction(shown_id(document))
    metrics = _decode(document.metrics)
    output = document.output
    there = document.attempts[-1] if document.attempts and document.attempts[-1].provider else None
    return Shown(
        id=shown_id(document),
        urls=Urls(get, f"{get}/cancel"),
        created_at=_time(document.created_at),
        version=document.version or version or HIDDEN_VERSION,
        model=document.model,
        status=_status(document),
        input=Raw(document.input if schema is None else schema.masked(document.input)),
        logs=_lines(document.logs) if there is None else document.logs,
        output=UNSET
        if output is None or output == b"null"
        else render.value(output, document.files, file_urls(links, document)),
        error=document.error or UNSET,
        metrics=metrics or UNSET,
        started_at=UNSET if document.started_at is None else _time(document.started_at),
        completed_at=UNSET if document.completed_at is None else _time(document.completed_at),
        cogflare=True if there is None else UNSET,
        runner=_WORKER if there is None else there.provider,
        replicate_id=(there and there.remote) or UNSET,
    )


def file_urls(links: Links, document: Document) -> Mapping[str, str]:
    """Key of each output file -> a URL that needs no token and does not expire, as then: who knows the id of
    the prediction may read it, and so its files. A worker's own upload has the URL that the worker got."""
    urls = {}
    for file in document.files:
        if file_key(file.key) is not None:
            urls[file.key] = file_url(links.base, file.key)
        else:
            name = quote(file.name, safe="")
            urls[file.key] = links.to(f"{OUTPUTS}{document.id}/{_mark(file)}/{name}")
    return urls


def marked_file(document: Document, mark: str) -> StoredFile | None:
    """The output file that a URL of ``file_urls`` means."""
    return next((file for file in document.files if _mark(file) == mark), None)


def _mark(file: StoredFile) -> str:
    return hashlib.sha256(file.key.encode()).hexdigest()[:16]


def _status(document: Document) -> str:
    if document.status is Status.STARTING and not document.attempts:
        return CREATING
    return "cancelled" if document.status is Status.CANCELED else document.status.value


def _lines(log: str) -> list[str]:
    lines = log.split("\n")
    return lines if lines[-1] else lines[:-1]


def _time(at: int) -> str:
    return f"{rfc3339(at)[:-4]}Z"
