"""The Cogflare server as the bot needs it: begin a prediction, follow it, cancel it, fetch its files."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, NamedTuple

import httpx
from words import AWAY, FILE_GONE, LOST, refusal, retry_after_s

TERMINAL = ("succeeded", "failed", "canceled", "aborted")
ANSWER_S = 5.0
"""For so long somebody waits for a server that is away."""
LOST_AFTER_S = 120.0
"""A prediction goes on while its server is away: for so long the bot asks for it again."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.25, 5.0


class Sorry(Exception):
    """It did not work; the text is for the person who asked."""


class Event(NamedTuple):
    """One event of a prediction's stream: see docs/how-to/streaming.md."""

    name: str
    id: str
    data: str


class Server:
    """One server, with a token of scopes submit and read. Use as an async context; calls raise Sorry."""

    def __init__(self, url: str, token: str) -> None:
        self._authorization = {"Authorization": f"Bearer {token}"}
        # Streams have a heartbeat every 15 s, so a minute of silence is a connection that is gone.
        timeout = httpx.Timeout(60, connect=5)
        # Each picture that is waited for has a connection: there may be any number of them.
        limits = httpx.Limits(max_connections=None)
        base = url.rstrip("/").removesuffix("/v1")
        self._http = httpx.AsyncClient(base_url=base, timeout=timeout, limits=limits)

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def create(self, model: str, input: dict[str, Any], user: str, key: str) -> dict[str, Any]:
        """Begin a prediction. ``user`` has an equal share of this token's; ``key`` makes repeats safe."""
        body = {"input": input, "end_user": user}
        path = f"/v1/models/{model}/predictions"
        return await self._call("POST", path, ANSWER_S, json=body, headers={"Idempotency-Key": key})

    async def cancel(self, id: str) -> None:
        await self._call("POST", f"/v1/predictions/{id}/cancel", ANSWER_S)

    async def follow(self, id: str, take: Callable[[Event], None]) -> dict[str, Any]:
        """The prediction once it has ended; ``take`` gets each event before that."""
        while True:
            await self._stream(f"/v1/predictions/{id}", take)
            prediction = await self._call("GET", f"/v1/predictions/{id}", LOST_AFTER_S)
            # A stream also ends when a worker is lost; the prediction then runs again elsewhere.
            if prediction["status"] in TERMINAL:
                return prediction

    async def download(self, url: str) -> bytes:
        """An output file. Its URL is the right to read it: the token stays here."""
        try:
            answer = await self._http.get(url, follow_redirects=True)
        except httpx.HTTPError:
            raise Sorry(FILE_GONE) from None
        if answer.status_code != 200:
            raise Sorry(FILE_GONE)
        return answer.content

    async def _call(self, method: str, path: str, patience_s: float, **more: Any) -> dict[str, Any]:
        """One call, repeated while the server is away or too busy."""
        headers = {**self._authorization, **more.pop("headers", {})}
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answer = await self._http.request(method, path, headers=headers, timeout=ANSWER_S, **more)
            except httpx.TransportError:
                said, again_s = (AWAY if patience_s == ANSWER_S else LOST), pause_s
            else:
                if answer.is_success:
                    found: dict[str, Any] = answer.json()
                    return found
                said, again_s = refusal(answer), max(pause_s, retry_after_s(answer))
                if answer.status_code < 500 and answer.status_code != 429:
                    raise Sorry(said)
            if loop.time() + again_s > until:
                raise Sorry(said)
            await asyncio.sleep(again_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)

    async def _stream(self, path: str, take: Callable[[Event], None]) -> None:
        """Each event until ``done``; a connection that is cut goes on where it was."""
        loop = asyncio.get_running_loop()
        last_id = ""
        lost_at = loop.time() + LOST_AFTER_S
        while True:
            connected = False
            headers = {**self._authorization, "Accept": "text/event-stream"}
            if last_id:
                headers["Last-Event-ID"] = last_id
            try:
                async with self._http.stream("GET", path, headers=headers) as answer:
                    if answer.status_code in (400, 401, 403, 404, 422):
                        await answer.aread()
                        raise Sorry(refusal(answer))
                    connected = answer.is_success
                    async for event in _events(answer):
                        last_id = event.id or last_id
                        take(event)
                        if event.name == "done":
                            return
            except httpx.TransportError:
                pass
            if connected:
                lost_at = loop.time() + LOST_AFTER_S
            elif loop.time() > lost_at:
                raise Sorry(LOST)
            await asyncio.sleep(FIRST_PAUSE_S)


async def _events(answer: httpx.Response) -> AsyncIterator[Event]:
    fields: dict[str, list[str]] = {}
    async for line in answer.aiter_lines():
        if line:
            # A comment, which begins with a colon, is a field without a name.
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        elif fields:
            if "data" in fields:
                event = fields.get("event", ["message"])[-1]
                yield Event(event, fields.get("id", [""])[-1], "\n".join(fields["data"]))
            fields = {}


def data_of(event: Event) -> dict[str, Any]:
    """The event's data, where it is an object."""
    found: dict[str, Any] = json.loads(event.data)
    return found
