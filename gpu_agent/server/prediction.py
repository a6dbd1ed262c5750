"""One prediction, or training, from its acceptance to its end: what is known of it, how clients see it."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gpu_agent.log_pipe import LogTail
from gpu_agent.server import times
from gpu_agent.server.feed import Feed
from gpu_agent.server.http import Problem
from gpu_agent.server.orders import Order

Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]


class _Document(msgspec.Struct):
    """What clients see. The keys are those of Cog's first generation, and ``position`` while it waits."""

    id: str
    status: Status
    input: msgspec.Raw
    output: Any
    error: str | None
    logs: str
    metrics: dict[str, Any]
    created_at: str
    started_at: str | None
    completed_at: str | None
    version: str | None
    position: int | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Past:
    """What is kept of a prediction after its end: nothing of what ran it."""

    id: str
    status: Status
    body: bytes
    feed: Feed | None
    digest: int
    ended: Literal[True] = True

    def document(self) -> bytes:
        """As clients see it."""
        return self.body


class Prediction:
    """Written by the registry that took it on, and by its run. Read by everybody."""

    def __init__(
        self, order: Order, *, feed: Feed | None, log_bytes: int, on_end: "Callable[[Prediction], None]"
    ) -> None:
        """``on_end`` is called before anybody else hears of the end."""
        self.order = order
        self.id = order.id
        self.feed = feed
        """Its events, if its model yields."""
        self.status: Status = "starting"
        self.position: Callable[[], int] | None = None
        """Its place in the queue, from 1; None when it is not in one."""
        self.cancel_asked = False
        self.on_cancel: Callable[[], object] = _nothing
        """How what goes on for it now is brought to an end. Written by its run."""
        self.on_change: Callable[[str], None] = _ignore
        """Told ``start``, ``output``, ``logs`` and ``completed``."""
        self.refused_input = ""
        """Why the model itself refused the input; it has failed then."""
        self.problems: Sequence[Problem] = ()
        """What is wrong with its input, where that could not be known before; it has failed then."""
        self.body = b""
        """The whole of it as JSON, once it has ended."""
        given = order.created_at
        self._created_at = times.now() if given is None else given.isoformat(timespec="microseconds")
        self._began = 0.0
        self._started_at: str | None = None
        self._completed_at: str | None = None
        self._output: Any = None
        self._items: list[Any] = []
        self._error: str | None = None
        self._logs: str | None = None
        self._log = LogTail(log_bytes)
        self._metrics: dict[str, Any] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._on_end = on_end

    @property
    def digest(self) -> int:
        """Of the request's body."""
        return self.order.digest

    @property
    def ended(self) -> bool:
        return bool(self.body)

    @property
    def yielded(self) -> bool:
        """There are items, which are its output."""
        return bool(self._items)

    def begin(self) -> None:
        """It has a slot."""
        self.position = None
        self.status = "processing"
        self._began = time.time()
        self._started_at = times.now()
        if self.feed is not None:
            self.feed.add("start", {"id": self.id, "status": "processing"})
            self.feed.tell()
        self.on_change("start")

    def add(self, items: Sequence[Any], logs: str, metrics: Mapping[str, Any]) -> None:
        """What is new of a running one."""
        if logs:
            self._log.add(logs.encode("utf-8", "replace"))
            self.on_change("logs")
        for name, value in metrics.items():
            if value is None:
                self._metrics.pop(name, None)
            else:
                self._metrics[name] = value
        if self.feed is not None:
            self._feed(self.feed, items, logs, metrics)
        if items:
            self._items += items
            self.on_change("output")

    def _feed(self, feed: Feed, items: Sequence[Any], logs: str, metrics: Mapping[str, Any]) -> None:
        if logs:
            feed.add("log", {"source": "stdout", "data": logs})
        for name, value in metrics.items():
            feed.add("metric", {"name": name, "value": value, "mode": "replace"})
        for index, item in enumerate(items, len(self._items)):
            feed.add("output", {"chunk": item, "index": index})
        feed.tell()

    def end(
        self,
        status: Status,
        *,
        output: Any = None,
        error: str | None = None,
        logs: str | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """It is over. Whoever waits for it is told; items that it yielded are its output."""
        self.status = status
        self.position = None
        self._completed_at = times.now()
        self._output = output
        self._error = error
        self._logs = logs
        self._metrics = self._metrics if metrics is None else dict(metrics)
        if "predict_time" not in self._metrics:
            self._metrics["predict_time"] = round(time.time() - self._began, 6) if self._began else 0.0
        self.body = self._render()
        self._on_end(self)
        if self.feed is not None:
            self.feed.end("completed", self.body)
        self.on_change("completed")
        # They lead back to here: a circle would wait for the garbage collector.
        self.on_cancel, self.on_change = _nothing, _ignore
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def until_ended(self) -> "asyncio.Future[None]":
        """Resolved when it has ended. Cancelling it is safe."""
        waiter = asyncio.get_running_loop().create_future()
        if self.ended:
            waiter.set_result(None)
        else:
            self._waiting.append(waiter)
        return waiter

    def past(self) -> Past:
        """What is to be kept of it, now that it has ended."""
        return Past(self.id, self.status, self.body, self.feed, self.digest)

    def cancel(self) -> None:
        """Have it end as canceled. Idempotent; does nothing to one that has ended."""
        if not self.cancel_asked and not self.ended:
            self.cancel_asked = True
            self.on_cancel()

    def document(self) -> bytes:
        """As clients see it now."""
        return self.body or self._render()

    def _render(self) -> bytes:
        document = _Document(
            id=self.id,
            status=self.status,
            input=msgspec.Raw(self.order.shown),
            output=self._items or self._output,
            error=self._error,
            logs=self._log.text() if self._logs is None else self._logs,
            metrics=self._metrics,
            created_at=self._created_at,
            started_at=self._started_at,
            completed_at=self._completed_at,
            version=None,
        )
        if self.position is not None:
            document.position = self.position()
        return msgspec.json.encode(document)


def _nothing() -> None:
    pass


def _ignore(_event: str) -> None:
    pass
