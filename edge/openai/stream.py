"""A chat as it is said: the stream of a prediction in OpenAI's chunks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from litestar.types import Receive, Scope, Send

from coordinator.prediction import Document, Status
from coordinator.protocol.messages import Event, StoredFile
from edge.context import Edge
from edge.errors import Problem
from edge.frames import REPLACED, Frames, text_of
from edge.openai.answers import Failed, chunk, ending, error, usage, why_failed
from edge.openai.running import given_up
from edge.schemas import encode
from edge.streams import EventStream

DONE = b"data: [DONE]\n\n"


class ChatFrames(Frames):
    """Chunks of one completion. ``most``: the tokens that were asked for at most, or None."""

    def __init__(
        self, edge: Edge, document: Document, *, model: str, created: int, most: Any, with_usage: bool
    ) -> None:
        super().__init__(edge.render.value)
        self._id = document.id
        self._model = model
        self._created = created
        self._most = most
        self._with_usage = with_usage

    def opening(self) -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})

    def finish(self, document: Document) -> Iterator[bytes]:
        for frame in super().finish(document):
            if frame:
                yield frame

    def _event(self, prediction: str, event: Event) -> Iterator[bytes]:
        if event.kind == "output":
            yield from (frame for frame in super()._event(prediction, event) if frame)
        else:
            for _ in super()._event(prediction, event):
                pass  # only its place counts

    def _output(self, item: Any, files: Sequence[StoredFile]) -> bytes:
        return self._chunk({"content": text_of(self._render(bytes(item), files))})

    def _last(self, document: Document) -> Iterator[bytes]:
        if document.status is not Status.SUCCEEDED:
            yield self._error(why_failed(document))
            return
        yield self._chunk({}, ending(document, self._most))
        counted = usage([document]) if self._with_usage else None
        if counted is not None:
            yield self._data({**chunk(self._id, self._created, self._model, None), "usage": counted})

    def _replaced(self) -> Iterator[bytes]:
        yield self._error(Failed("internal", REPLACED))
        yield from self._end()

    def _end(self, reason: str = "", detail: str = "") -> Iterator[bytes]:
        self.ended = True
        yield DONE

    def _frame(self, body: bytes) -> bytes:
        """OpenAI's streams have no ids, and no events of other names."""
        return body if body.startswith(b"data: ") else b""

    def _chunk(self, delta: Mapping[str, Any], reason: Any = None) -> bytes:
        return self._data(chunk(self._id, self._created, self._model, delta, reason))

    def _error(self, problem: Problem) -> bytes:
        return self._data(error(problem)[1])

    def _data(self, value: Any) -> bytes:
        return b"data: %s\n\n" % encode(value)


class ChatStream(EventStream):
    """Follows the prediction of a chat; who stops listening has it canceled."""

    frames: ChatFrames
    hello = b": hi\n\n"
    """A comment alone: OpenAI's client takes any field for an event."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self.frames.ended and not self.edge.services.draining.is_set():
                await given_up(self.edge, [self.document])

    def _opening(self) -> Iterator[bytes]:
        return self.frames.opening()
