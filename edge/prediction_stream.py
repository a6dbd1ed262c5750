"""The stream of a prediction itself, of any model: where it stands, and what it says.

It is what ``urls.stream`` gives and more: ``status``, ``queue`` while it waits, ``metrics``, and ``progress``
where a line of its log is a progress bar.
"""

import re
from collections.abc import AsyncGenerator, Iterator

from coordinator.calls import Events, Explained
from coordinator.errors import Unavailable
from coordinator.prediction import Document
from coordinator.protocol.messages import Event
from coordinator.waiting import waits
from edge import lookup
from edge.context import Edge
from edge.errors import Problem
from edge.frames import HEARTBEAT, Frames, SharedFrames, as_json, framed, text_of
from edge.places import Place
from edge.schemas import QueueOut, Renderer
from edge.streams import EventStream

_BAR = re.compile(r"(\d{1,3})%\|[^|\r\n]*\|\s*(\d{1,15})/(\d{1,15})\b")
"""How tqdm shows it; Replicate's clients look for the same."""


def wants_events(accept: str) -> bool:
    """Whether a client would rather have events than JSON: they rank higher, or come first."""
    best, found = 0.0, False
    for part in accept.lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                weight = _weight(value.strip())
        if kind in ("text/event-stream", "application/json", "*/*") and weight > best:
            best, found = weight, kind == "text/event-stream"
    return found


def _weight(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


class PredictionFrames(Frames):
    """Frames of all that there is to say. ``document`` is the last one that was told."""

    def __init__(self, render: Renderer, place: Place, shared: SharedFrames, explained: Explained) -> None:
        super().__init__(render.value, place, shared)
        self._renderer = render
        self._queue: QueueOut | None = None
        self.document = explained.document
        self._first = explained

    def opening(self) -> Iterator[bytes]:
        """How it stands."""
        if not self.document.status.terminal:
            yield self._status(self.document)
            yield from self.queue(self._first)

    def queue(self, explained: Explained) -> Iterator[bytes]:
        """Its place in the queue, where that is another one."""
        shown = self._renderer.queue(explained)
        if shown is not None and shown != self._queue:
            self._queue = shown
            yield self._frame(framed("queue", as_json(shown)))

    def _news(self, document: Document) -> Iterator[bytes]:
        changed = document.status is not self.document.status
        self.document = document
        if changed and not document.status.terminal:
            yield self._status(document)

    def _event(self, prediction: str, event: Event) -> Iterator[bytes]:
        yield from super()._event(prediction, event)
        if event.kind == "metrics":
            yield self._frame(framed("metrics", text_of(event.data)))
        elif event.kind == "logs" and (bar := _bar(text_of(event.data))) is not None:
            yield self._frame(framed("progress", as_json(bar)))

    def _last(self, document: Document) -> Iterator[bytes]:
        yield self._status(document)

    def _status(self, document: Document) -> bytes:
        return self._frame(framed("status", as_json(self._renderer.status(document))))


class PredictionStream(EventStream):
    """Follows one prediction for somebody whose token may read it."""

    frames: PredictionFrames

    def __init__(self, edge: Edge, frames: PredictionFrames, *, token: str) -> None:
        super().__init__(edge, frames.document, frames, token=token, headers=((b"vary", b"accept"),))
        self._look_s = min(self.heartbeat_s, edge.services.limits.stream_queue_s)

    def _opening(self) -> Iterator[bytes]:
        return self.frames.opening()

    def _source(self) -> AsyncGenerator[Events | None, None]:
        return self.listen(idle_s=self._look_s, status=self.frames.document.status.value)

    async def _idle(self) -> bytes:
        """Its place in the queue is not an event of its own: others move it."""
        news = b""
        if waits(document := self.frames.document):
            try:
                explained = await lookup.explain(self.edge, document.id, document.account)
                news = b"".join(self.frames.queue(explained))
            except (Unavailable, Problem):
                pass  # whoever listens hears of its end, or asks again
        return news or (HEARTBEAT if self.heartbeat_is_due() else b"")


def _bar(text: str) -> dict[str, float | int] | None:
    """How far a progress bar is, the last one of a piece of log."""
    found = _BAR.findall(text)
    if not found:
        return None
    percent, current, total = (int(number) for number in found[-1])
    return {"percentage": percent / 100, "current": current, "total": total}
