"""Whether an answer holds its output files, as data URIs, or says where they are.

The official clients make files that can be read only of strings that begin with ``https:`` or ``data:``; an
``http:`` URL stays a string. So a server without https gives them, and nobody else, the files themselves.
"""

import asyncio
import base64
import re
from collections.abc import Iterable, Mapping

from coordinator.blobs.base import Blobs
from coordinator.blobs.errors import BlobsUnavailable, Missing
from coordinator.prediction import Document
from coordinator.protocol.messages import StoredFile
from edge.context import Edge
from edge.replies import Header

_CLIENT = re.compile(rb"replicate-(python|javascript)/|(Async)?Replicate/Python |_ModuleClient/Python ")
"""How the user agents of Python 1, of npm, and of Python 2 begin."""
_NONE: Mapping[str, str] = {}


async def contents(edge: Edge, headers: Iterable[Header], document: Document) -> Mapping[str, str]:
    """The data URIs of the prediction's files that the answer to a request holds, by key.

    Together they are no larger than the limit ``data_url_bytes``; what has no room in it has a URL.
    """
    # What a training gave no client makes files of.
    if not document.files or document.destination or not _wanted(edge, headers):
        return _NONE
    return await all_contents(edge, document)


async def all_contents(edge: Edge, document: Document) -> Mapping[str, str]:
    """The same for an answer that is to hold its files, whoever asks."""
    found: dict[str, str] = {}
    left = edge.services.limits.data_url_bytes
    for file in document.files:
        if file.length <= left and (uri := await _data_uri(edge.services.blobs, file)) is not None:
            found[file.key] = uri
            left -= file.length
    return found


def _wanted(edge: Edge, headers: Iterable[Header]) -> bool:
    mode = edge.services.file_urls
    if mode != "auto":
        return mode == "data"
    if edge.links.base.startswith("https:"):
        return False
    return any(name == b"user-agent" and _CLIENT.match(value) for name, value in headers)


async def _data_uri(blobs: Blobs, file: StoredFile) -> str | None:
    """None when the file cannot be read now: its URL will say why."""
    try:
        content = b"".join([piece async for piece in blobs.read(file.key)])
    except (Missing, BlobsUnavailable):
        return None
    encoded = await asyncio.to_thread(base64.b64encode, content)
    return f"data:{file.content_type};base64,{encoded.decode()}"
