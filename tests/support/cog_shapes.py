"""Small Cog servers on loopback that answer as the generations do: the shapes were recorded from them.

What one runs is a list of steps, each told by webhook, and how it ends.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.http_server import Answer, HttpServer, Request, http_server

Json = dict[str, Any]
TEXT = {"Content-Type": "text/plain; charset=utf-8"}


def as_json(value: Any, status: int = 200) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


def as_text(text: str, status: int) -> Answer:
    return Answer(status, TEXT, text.encode())


@dataclass
class Shape:
    """One generation's manners."""

    busy: Answer
    no_document: Answer
    health: Callable[[str, str], Json]
    """From status and the time when setup began."""
    unknown_cancel: Answer
    webhook_needs_async: bool = False


FIRST = Shape(
    busy=as_json({"detail": "Already running a prediction"}, 409),
    no_document=as_json({"detail": "Not Found"}, 404),
    health=lambda status, began: {
        "status": status,
        "setup": {} if status == "STARTING" else {"started_at": began, "status": "succeeded", "logs": "up\n"},
    },
    unknown_cancel=as_json({}, 404),
)
SECOND = Shape(
    busy=as_text("Already running a prediction", 409),
    no_document=as_text("OpenAPI schema not available", 503),
    health=lambda status, began: {
        "status": status,
        "setup": {"started_at": began, "completed_at": began, "status": "succeeded", "logs": "up\n"},
        "concurrency": {"max": 1},
    },
    unknown_cancel=as_text("not found", 404),
    webhook_needs_async=True,
)
THIRD = Shape(
    busy=as_json({"error": "At capacity - all prediction slots busy", "status": "failed"}, 409),
    no_document=as_json({"error": "OpenAPI schema not available"}, 503),
    health=lambda status, began: {
        "status": status,
        "setup": {"started_at": began, "status": "succeeded", "logs": "[coglet] ready\n"},
        "version": {"coglet": "0.23.1", "python": "3.11.7"},
    },
    unknown_cancel=as_json({}, 404),
)
SHAPES = {"first": FIRST, "second": SECOND, "third": THIRD}


@dataclass
class CogShape:
    """A running one. Attributes may be changed at any time."""

    shape: Shape
    server: HttpServer
    status: str = "READY"
    health_more: Json = field(default_factory=dict)
    began: str = "2026-01-01T00:00:00+00:00"
    document: Json | None = None
    steps: list[Json] = field(default_factory=list)
    """Webhooks before the end, in the order in which they are sent."""
    end: Json = field(default_factory=lambda: {"status": "succeeded", "output": "done", "logs": ""})
    answers: list[Answer] = field(default_factory=list)
    """Given to the next PUTs instead of running anything."""
    hold: bool = False
    """Run until canceled or let ``go``."""
    stubborn: bool = False
    """Answer to cancels, and go on."""
    webhooks_arrive: bool = True
    orders: list[Json] = field(default_factory=list)
    prefer: list[str] = field(default_factory=list)
    canceled: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    running: set[str] = field(default_factory=set)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return self.server.url

    async def handle(self, request: Request) -> Answer:
        path = request.path
        if path == "/health-check":
            status = "BUSY" if self.running and self.status == "READY" else self.status
            return as_json({**self.shape.health(status, self.began), **self.health_more})
        if path == "/openapi.json":
            return self.shape.no_document if self.document is None else as_json(self.document)
        if path.endswith("/cancel"):
            id = path.split("/")[2]
            self.canceled.append(id)
            if id not in self.running:
                return self.shape.unknown_cancel
            if not self.stubborn:
                self._stop.set()
            return as_json({})
        if request.method == "PUT":
            return await self._put(path.rpartition("/")[2], json.loads(request.body), request.headers)
        return as_json({"detail": "Not Found"}, 404)

    async def _put(self, id: str, order: Json, headers: dict[str, str]) -> Answer:
        self.orders.append(order)
        self.prefer.append(headers.get("prefer", ""))
        if self.answers:
            return self.answers.pop(0)
        if self.running:
            return self.shape.busy
        is_async = headers.get("prefer") == "respond-async"
        if self.shape.webhook_needs_async and is_async != ("webhook" in order):
            return as_text("webhook is required for async and not allowed for sync", 400)
        self.running.add(id)
        self._stop.clear()
        if is_async:
            task = asyncio.create_task(self._run_async(id, order))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return as_json({"id": id, "status": "starting"}, 202)
        return as_json({"id": id, **await self._run(id, order)})

    async def _run(self, id: str, order: Json) -> Json:
        try:
            for step in [{"status": "processing", "output": None, "logs": ""}, *self.steps]:
                await self._tell(id, order, step, "output" if step.get("output") else "logs")
            self.started.set()
            if self.hold:
                waits = [asyncio.create_task(event.wait()) for event in (self.go, self._stop)]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
            return {"status": "canceled", "logs": ""} if self._stop.is_set() else self.end
        finally:
            self.running.discard(id)

    async def _run_async(self, id: str, order: Json) -> None:
        await self._tell(id, order, await self._run(id, order), "completed")

    async def _tell(self, id: str, order: Json, state: Json, event: str) -> None:
        wanted = order.get("webhook_events_filter", ("output", "logs", "completed"))
        if "webhook" in order and event in wanted and self.webhooks_arrive:
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.post(order["webhook"], json={"id": id, **state})


@asynccontextmanager
async def cog_shape(shape: Shape) -> AsyncIterator[CogShape]:
    """A server of this generation for the length of the block."""
    async with http_server(lambda request: Answer(404)) as server:
        cog = CogShape(shape, server)
        server.handler = cog.handle
        yield cog
        for task in tuple(cog._tasks):
            task.cancel()
