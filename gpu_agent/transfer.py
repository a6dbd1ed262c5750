"""Files between this machine and our own server: inputs from it, outputs to where it says.

Where the server has an object store, files go to it and come from it past the server, or through the server
when the store cannot be reached from here.
"""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from coordinator.protocol.messages import PartTo, StoredFile, UploadTo
from gpu_agent import disk
from gpu_agent.bookmark import Bookmark
from gpu_agent.fetch import FetchFailed
from gpu_agent.filenames import fetched_name

FIRST_RETRY_S = 0.3
LAST_RETRY_S = 30.0
TRY_AGAIN = frozenset({401, 403, 404, 408, 409, 410, 425, 429})
"""Refusals that another grant or a little time may cure, besides every 5xx."""


class UploadFailed(Exception):
    """An output file could not be stored; the text says why and is fit for the user's eyes."""


class _StoreFailed(Exception):
    """The object store did not give what our server said that it has."""


class UploadDenied(UploadFailed):
    """The server will not take this file: trying again is of no use."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file on this disk that is to be stored, measured."""

    path: Path
    name: str
    content_type: str
    length: int
    sha256: str
    part_bytes: int = 0
    parts: tuple[str, ...] = ()
    """SHA-256 of each part of ``part_bytes``, where it may go in parts."""


Grant = Callable[[OutputFile, bool, str], Awaitable[UploadTo]]
"""Asks the server where to put a file, past itself if it can (True) or to itself, and says which upload in
parts it goes on with, if it does; waits while there is no connection. May raise UploadDenied."""
PARTS_AT_ONCE = 4
ANEW = 5
"""How often an upload in parts may begin anew: then something is wrong that sending again does not mend."""
FOLLOW = {"Cogflare-Follow": "storage"}
"""We go on to where a file is stored."""
STORE_PAUSE_S = 60.0
"""A store that could not be reached is not tried again for so long: files go through the server."""
_IDENTITY = {"Accept-Encoding": "identity"}


class Transfer:
    """An HTTP client for one server. It sends no token: what it is given to fetch and fill is signed."""

    def __init__(
        self, base_url: str, tls: ssl.SSLContext, *, input_bytes: int, input_s: float, upload_s: float
    ) -> None:
        self._base_url = base_url
        self._input_bytes = input_bytes
        self._input_s = input_s
        self._upload_s = upload_s
        self._store_from = 0.0
        self._client = httpx.AsyncClient(
            verify=tls,
            timeout=httpx.Timeout(60.0, connect=10.0, read=300.0, pool=None),
            limits=httpx.Limits(max_connections=16, keepalive_expiry=30.0),
            headers={"User-Agent": "cogflare-agent"},
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def fetch(self, url: str, folder: Path) -> Path:
        """Save what a path on our server holds in ``folder``. Raises ``FetchFailed``."""
        try:
            async with asyncio.timeout(self._input_s):
                if self._store_reachable():
                    try:
                        return await self._fetch(url, folder, _IDENTITY | FOLLOW)
                    except (_StoreFailed, httpx.HTTPError):
                        pass
                return await self._fetch(url, folder, _IDENTITY)
        except disk.TooLarge:
            raise FetchFailed(f"an uploaded file is larger than {self._input_bytes} bytes") from None
        except TimeoutError:
            raise FetchFailed(f"fetching an uploaded file took over {self._input_s:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            raise FetchFailed(f"an uploaded file could not be fetched: {_said(error)}") from None

    async def _fetch(self, url: str, folder: Path, headers: dict[str, str]) -> Path:
        async with self._client.stream("GET", self._base_url + url, headers=headers) as response:
            if response.status_code != 307:
                return await self._save(response, url, folder)
            elsewhere = response.headers.get("location", "")
        try:
            async with self._client.stream("GET", elsewhere, headers=_IDENTITY) as response:
                return await self._save(response, url, folder)
        except httpx.HTTPError as error:
            self._pause_store()
            raise _StoreFailed(_said(error)) from None
        except (FetchFailed, httpx.InvalidURL) as error:
            raise _StoreFailed(str(error)) from None

    async def _save(self, response: httpx.Response, url: str, folder: Path) -> Path:
        if response.status_code != 200:
            raise FetchFailed(f"the server answered {response.status_code} for an uploaded file")
        headers = response.headers
        name = fetched_name(url, headers.get("content-disposition", ""), headers.get("content-type", ""))
        await disk.save(response.aiter_raw(), folder / name, self._input_bytes)
        return folder / name

    async def upload(self, file: OutputFile, grant: Grant, bookmark: Bookmark | None = None) -> StoredFile:
        """Store a file and return what to call it. Raises ``UploadFailed``.

        Failures are tried again for ``upload_s``, not counting the time that ``grant`` waits, and anew once
        a part was stored: past the server and through it in turn. What goes in parts goes on as ``bookmark``
        has it.
        Cancelling is safe: the file is stored or not.
        """
        direct = self._store_reachable()
        bookmark = bookmark or Bookmark(None)
        spent_s, anew = 0.0, 0
        pause_s = FIRST_RETRY_S
        clock = asyncio.get_running_loop().time
        while True:
            place = await grant(file, direct, bookmark.resume)
            began = clock()
            if place.stored:
                return _stored(file, place)
            if place.parts:
                anew += place.resume != bookmark.resume
                await bookmark.keep(place.resume, file.part_bytes)
                problem, came = await self._put_parts(file, place)
                if came:
                    spent_s, pause_s = 0.0, FIRST_RETRY_S
                if problem is None and anew <= ANEW:
                    continue
                problem = problem or "what was stored was not what was sent"
            elif not place.url:
                problem = "the server's storage is away"
            else:
                problem = await self._put(file, place.url, place.headers, 0, file.length)
                if problem is None:
                    return _stored(file, place)
            direct = not direct
            wait_s = random.uniform(pause_s / 2, pause_s)
            pause_s = min(pause_s * 2, LAST_RETRY_S)
            spent_s += clock() - began + wait_s
            if spent_s >= self._upload_s or anew > ANEW:
                raise UploadFailed(f"file {file.name} could not be stored: {problem}")
            await asyncio.sleep(wait_s)

    async def _put_parts(self, file: OutputFile, place: UploadTo) -> tuple[str | None, bool]:
        """Try each part once, several at a time: (why one was not taken, if so; whether any was). Raises
        ``UploadDenied``."""
        gate = asyncio.Semaphore(PARTS_AT_ONCE)

        async def put(part: PartTo) -> str | None:
            start = (part.number - 1) * file.part_bytes
            length = min(file.part_bytes, file.length - start)
            if length <= 0:
                raise UploadDenied(f"the server named part {part.number} of {file.name}, which it has not")
            async with gate:
                return await self._put(file, part.url, part.headers, start, length)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(put(part)) for part in place.parts]
        except* UploadFailed as failed:
            raise failed.exceptions[0] from None
        problems = [task.result() for task in tasks]
        return next(filter(None, problems), None), None in problems

    async def _put(
        self, file: OutputFile, url: str, more: dict[str, str], start: int, length: int
    ) -> str | None:
        """Try once to PUT some of the file. None when stored, else why not. Raises ``UploadDenied`` when that
        is final."""
        elsewhere = "://" in url
        url = url if elsewhere else self._base_url + url
        headers = httpx.Headers({"Content-Type": file.content_type})
        headers.update(more)
        headers["Content-Length"] = str(length)
        try:
            content = disk.read(file.path, start, length)
            response = await self._client.put(url, content=content, headers=headers)
        except FileNotFoundError:
            raise UploadDenied(f"file {file.name} is gone from the agent's disk") from None
        except (httpx.HTTPError, OSError) as error:
            if elsewhere:
                self._pause_store()
            return _said(error)
        status = response.status_code
        if response.is_success:
            return None
        if status >= 500 or status in TRY_AGAIN or elsewhere:
            return f"the storage answered {status}"
        raise UploadDenied(
            f"file {file.name} could not be stored: the storage answered {status}: {response.text[:200]}"
        )

    def _store_reachable(self) -> bool:
        return asyncio.get_running_loop().time() >= self._store_from

    def _pause_store(self) -> None:
        self._store_from = asyncio.get_running_loop().time() + STORE_PAUSE_S


def _stored(file: OutputFile, place: UploadTo) -> StoredFile:
    return StoredFile(
        key=place.key,
        name=file.name,
        content_type=file.content_type,
        length=file.length,
        sha256=file.sha256,
    )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
