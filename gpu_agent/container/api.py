"""The HTTP API of one running Cog server, of any generation."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from gpu_agent import disk
from gpu_agent.container.answers import Health, Snapshot, read_document, read_health, read_snapshot, refusal
from gpu_agent.fetch import FetchFailed
from gpu_agent.filenames import fetched_name

CONNECT_S = 10.0
SHORT_S = 15.0
"""For everything but predictions. A healthcheck of the model's own has 5 s."""
DOCUMENT_BYTES = 16 * 1024 * 1024
INLINE_BYTES = 64 * 1024
"""Larger answers are decoded in a thread."""


class NotReached(Exception):
    """The server did not get the request: nobody listens there."""


class Cut(Exception):
    """The connection ended before there was an answer."""


class AnswerTooLarge(Exception):
    """The answer goes over the limit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a prediction."""

    code: int
    prediction: Snapshot | None
    """With code 200 or 202."""
    problem: str
    """In words, with any other code."""


class CogApi:
    """A client of ``url``. ``close`` it at the end."""

    def __init__(self, url: str, tls: ssl.SSLContext, *, answer_bytes: int) -> None:
        self.url = url
        self._answer_bytes = answer_bytes
        self._client = httpx.AsyncClient(
            verify=tls,
            # A prediction takes as long as it takes.
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            # A connection that the server is just closing would look as if it had died with our prediction.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            headers={"User-Agent": "cogflare-agent"},
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def health(self) -> Health:
        """Never raises: who does not answer has an empty status and a reason."""
        try:
            async with asyncio.timeout(SHORT_S):
                code, body = await self._ask("GET", "/health-check", limit_bytes=DOCUMENT_BYTES)
        except TimeoutError:
            return Health("", reason=f"it does not answer within {SHORT_S:g} s", silent=True)
        except (NotReached, Cut, AnswerTooLarge) as error:
            return Health("", reason=str(error))
        if code != 200:
            return Health("", reason=f"this is no Cog server: GET /health-check answers {code}")
        try:
            return read_health(body)
        except ValueError as error:
            return Health("", reason=f"this is no Cog server: GET /health-check: {error}")

    async def document(self) -> dict[str, Any]:
        """The OpenAPI document; empty when there is none."""
        with contextlib.suppress(TimeoutError, NotReached, Cut, AnswerTooLarge):
            async with asyncio.timeout(SHORT_S):
                code, body = await self._ask("GET", "/openapi.json", limit_bytes=DOCUMENT_BYTES)
            if code == 200:
                return read_document(body)
        return {}

    async def predict(self, id: str, order: dict[str, Any], *, respond_async: bool) -> Answer:
        """PUT a prediction, and wait for the answer as long as it takes.

        Raises ``NotReached``, ``Cut`` and ``AnswerTooLarge``. To cancel this call cuts the connection, which
        ends the prediction on servers that look after their clients.
        """
        headers = {"Content-Type": "application/json"}
        if respond_async:
            headers["Prefer"] = "respond-async"
        path = f"/predictions/{quote(id, safe='')}"
        content = await asyncio.to_thread(msgspec.json.encode, order)
        code, body = await self._ask(
            "PUT", path, headers=headers, content=content, limit_bytes=self._answer_bytes
        )
        if code not in (200, 202):
            return Answer(code, None, refusal(body))
        try:
            return Answer(code, await snapshot_of(body), "")
        except ValueError as error:
            return Answer(502, None, str(error))

    async def cancel(self, id: str) -> bool:
        """False when there is no such prediction, or nobody to ask."""
        with contextlib.suppress(TimeoutError, NotReached, Cut, AnswerTooLarge):
            async with asyncio.timeout(SHORT_S):
                path = f"/predictions/{quote(id, safe='')}/cancel"
                code, _ = await self._ask("POST", path, limit_bytes=DOCUMENT_BYTES)
                return code == 200
        return False

    def owns(self, url: str) -> bool:
        """True for a URL of this server."""
        try:
            return _origin(url) == _origin(self.url)
        except ValueError:
            return False

    async def fetch(self, url: str, folder: Path) -> Path:
        """Save a file that this server serves. Raises ``FetchFailed``."""
        try:
            async with self._client.stream("GET", url) as response:
                if response.status_code != 200:
                    raise FetchFailed(f"the Cog server answered {response.status_code} for an output file")
                name = fetched_name(
                    url,
                    response.headers.get("content-disposition", ""),
                    response.headers.get("content-type", ""),
                )
                await disk.save(response.aiter_bytes(), folder / name, self._answer_bytes)
                return folder / name
        except disk.TooLarge:
            raise FetchFailed(
                f"an output file is larger than {self._answer_bytes} bytes (--cog-answer-bytes)"
            ) from None
        except (httpx.HTTPError, OSError) as error:
            raise FetchFailed(f"an output file could not be fetched: {_said(error)}") from None

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        limit_bytes: int,
    ) -> tuple[int, bytes]:
        try:
            async with self._client.stream(
                method, self.url + path, headers=headers, content=content
            ) as answer:
                parts, length = [], 0
                async for chunk in answer.aiter_bytes():
                    length += len(chunk)
                    if length > limit_bytes:
                        raise AnswerTooLarge(f"the answer is larger than {limit_bytes} bytes")
                    parts.append(chunk)
                return answer.status_code, b"".join(parts)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NotReached(f"nobody answers at {self.url}: {_said(error)}") from None
        except httpx.HTTPError as error:
            raise Cut(_said(error)) from None


async def snapshot_of(body: bytes) -> Snapshot:
    """Raises ``ValueError`` when this is no prediction."""
    if len(body) <= INLINE_BYTES:
        return read_snapshot(body)
    return await asyncio.to_thread(read_snapshot, body)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
