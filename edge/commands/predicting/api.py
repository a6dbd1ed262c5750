"""A client of Replicate's HTTP API, ours or Replicate's own, as far as one prediction needs it."""

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from coordinator.protocol.addresses import http_url
from edge.commands.predicting.events import Event, EventReader
from edge.commands.predicting.saving import OutputFolder, Saved
from edge.exits import CommandFailed, ExitCode
from gpu_agent.filenames import fetched_name
from gpu_agent.tls import client_context

T = TypeVar("T")

CONNECT_S = 10.0
READ_S = 60.0
"""Longer than the pauses of a server that is well: streams have heartbeats, waits are short."""
FIRST_PAUSE_S = 0.25
LAST_PAUSE_S = 5.0
LOST_AFTER_S = 120.0
"""A prediction goes on while its server is away: for so long it is asked again."""


class Refused(CommandFailed):
    """The server said no."""

    def __init__(self, status: int, message: str, code: ExitCode) -> None:
        super().__init__(message, code)
        self.status = status


class Away(CommandFailed):
    """The server does not answer, or not now."""


class Api:
    """One server. Use as an async context."""

    def __init__(self, server: str, token: str) -> None:
        """Raises CommandFailed for what is no URL of a server, or no token."""
        if http_url(server) is None:
            raise CommandFailed(
                f"--server {server!r}: expected http://HOST[:PORT] or https://HOST", ExitCode.USAGE
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise CommandFailed("--token has characters that no token has", ExitCode.USAGE)
        self.server = server.rstrip("/").removesuffix("/v1")
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            verify=client_context(),
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S, write=READ_S),
            headers={"User-Agent": "cogflare"},
        )

    async def __aenter__(self) -> "Api":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> dict[str, Any]:
        """One call; ``path`` begins with ``/v1``. Raises Refused or Away."""
        sent = self._http.request(
            method, self.server + path, headers={**self._authorization, **(headers or {})}, **more
        )
        answer = await self._sent(sent)
        if answer.status_code >= 400:
            raise _refusal(self.server, answer)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Refused(answer.status_code, f"{self.server} does not speak Replicate's API", ExitCode.USAGE)
        return found

    async def upload(self, path: Path) -> str:
        """Store a file for inputs; its URL."""
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        with path.open("rb") as content:
            made = await self.call("POST", "/v1/files", files={"content": (path.name, content, kind)})
        return str(made["urls"]["get"])

    async def download(self, url: str, folder: OutputFolder) -> Saved:
        """Save an output file, without our token: its URL is the right to read it.

        Raises Away, or CommandFailed when it cannot be had at all.
        """
        try:
            async with self._http.stream("GET", url, follow_redirects=True) as answer:
                if answer.status_code != 200:
                    text = f"the output file {url} cannot be had: the answer was {answer.status_code}"
                    raise Away(text) if answer.status_code >= 500 else CommandFailed(text)
                name = fetched_name(
                    str(answer.url),
                    answer.headers.get("content-disposition", ""),
                    answer.headers.get("content-type", ""),
                )
                with folder.writing(name) as file:
                    async for chunk in answer.aiter_bytes():
                        await asyncio.to_thread(file.write, chunk)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Away(f"the output file {url} cannot be had: {_said(error)}") from None
        return folder.saved[-1]

    async def events(self, url: str, reader: EventReader) -> AsyncIterator[Event]:
        """The events of a stream from where the reader is, until its connection ends.

        Raises Refused or Away.
        """
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if reader.last_id:
            headers["Last-Event-ID"] = reader.last_id
        try:
            async with self._http.stream("GET", url, headers=headers, follow_redirects=True) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise _refusal(self.server, answer)
                async for chunk in answer.aiter_bytes():
                    for event in reader.feed(chunk):
                        yield event
        except httpx.HTTPError as error:
            raise Away(f"{self.server} cannot be reached: {_said(error)}") from None

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` gives, asked again while the server is away. It must be safe to repeat."""
        loop = asyncio.get_running_loop()
        lost_at = loop.time() + LOST_AFTER_S
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await ask()
            except Away:
                if loop.time() > lost_at:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)

    async def _sent(self, answer: Awaitable[httpx.Response]) -> httpx.Response:
        try:
            return await answer
        except httpx.InvalidURL as error:
            raise CommandFailed(f"--server {self.server!r}: {error}", ExitCode.USAGE) from None
        except httpx.HTTPError as error:
            raise Away(f"{self.server} cannot be reached: {_said(error)}") from None


def _refusal(server: str, answer: httpx.Response) -> CommandFailed:
    try:
        problem = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        problem = None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    said = " ".join(str(detail).split()) if detail else f"the answer was {answer.status_code}"
    message = f"{server}: {said}"
    status = answer.status_code
    if status == 429 or status >= 500:
        return Away(message)
    if status in (401, 403):
        return Refused(status, f"{message} (see --token)", ExitCode.USAGE)
    return Refused(status, message, ExitCode.USAGE)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
