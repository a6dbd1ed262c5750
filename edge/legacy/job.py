"""A dispatch on a worker of 2022: the frame that gives it, and what the updates on it mean. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from coordinator.protocol import messages as wire
from edge.json_values import replaced
from edge.legacy.updates import Ending, Update
from edge.times import rfc3339

FRAME_BYTES = 1024 * 1024
"""The worker closes its connection on a larger frame (websockets 10.3's default)."""

_encode = msgspec.json.Encoder().encode


class Job:
    """``finished`` is set once the worker has said its last word, and repeated until it is acknowledged."""

    def __init__(self, dispatch: wire.Dispatch) -> None:
        self.dispatch = dispatch
        self.finished: wire.Finished | None = None
        self.spoken = False
        """Whether the worker has said anything of it."""
        self._started_at: int | None = None
        self._seq = 0
        self._lines = 0
        self._items = 0

    @property
    def id(self) -> str:
        return self.dispatch.prediction

    def frame(self, *, model: str, version: str, base: str, now: int) -> str:
        """The job as the worker takes it: the whole object, file inputs as URLs that need no token."""
        dispatch = self.dispatch
        given = dispatch.input
        if dispatch.files:
            urls = {url: base + path for url, path in dispatch.files.items()}
            given = msgspec.Raw(_encode(replaced(msgspec.json.decode(given), urls.get)))
        get = f"{base}/v1/predictions/{self.id}"
        job = {
            "id": self.id,
            "urls": {"get": get, "cancel": f"{get}/cancel"},
            "source": "cogflare",
            "created_at": rfc3339(now),
            "version": version,
            "model": model,
            "status": "starting",
            "input": given,
            "cogflare": True,
            "runner": "cogflare",
        }
        return _encode(job).decode()

    def rewind(self) -> None:
        """The coordinator knows nothing of what was said so far: the next state is told from its start."""
        self._seq = self._lines = self._items = 0

    def held(self) -> wire.Held:
        """How a coordinator that begins anew is told of it."""
        return wire.Held(
            prediction=self.id,
            attempt=self.dispatch.attempt,
            secret=self.dispatch.secret,
            state="running" if self.finished is None else "finished",
            started_at=self._started_at,
        )

    def said(
        self, update: Update, now: int, stored: Mapping[str, wire.StoredFile]
    ) -> list[wire.AgentMessage]:
        """What an update that is not the last one means. ``stored``: URL in its output -> our file."""
        told: list[wire.AgentMessage] = []
        self.spoken = True
        if self._started_at is None:
            self._started_at = now
            told.append(wire.Accepted(**self._which(), started_at=now))
        if events := self._events(update, stored):
            told.append(wire.Progress(**self._which(), events=tuple(events)))
        return told

    def ended(
        self,
        update: Update,
        ending: Ending,
        stored: Mapping[str, wire.StoredFile],
        *,
        result_bytes: int,
        log_bytes: int,
    ) -> wire.Finished:
        """The worker's last word, as a result."""
        self.spoken = True
        error = update.error
        try:
            output, files = referring(update.output, stored)
            encoded = _encode(output)
        except RecursionError:
            encoded, files, ending, error = b"null", (), "failed", "the output is nested too deeply"
        if len(encoded) > result_bytes:
            encoded, files, ending = b"null", (), "failed"
            error = f"the output is larger than {result_bytes} bytes"
        self.finished = wire.Finished(
            **self._which(),
            secret=self.dispatch.secret,
            status=ending,
            output=msgspec.Raw(encoded),
            error=(error or "the worker gives no reason") if ending == "failed" else None,
            logs=log_text(update.lines, log_bytes),
            metrics={name: msgspec.Raw(_encode(value)) for name, value in update.metrics.items()},
            files=files,
            started_at=self._started_at,
        )
        return self.finished

    def _events(self, update: Update, stored: Mapping[str, wire.StoredFile]) -> list[wire.Event]:
        """What is new in this state: the log's lines, and the items of an output that grows."""
        events = []
        if new_lines := update.lines[self._lines :]:
            self._lines = len(update.lines)
            events.append(self._event("logs", _as_text(new_lines), ()))
        items = update.output if isinstance(update.output, list) else []
        for item in items[self._items :]:
            self._items += 1
            value, files = referring(item, stored)
            events.append(self._event("output", value, files))
        return events

    def _event(self, kind: Any, value: Any, files: tuple[wire.StoredFile, ...]) -> wire.Event:
        self._seq += 1
        return wire.Event(seq=self._seq, kind=kind, data=msgspec.Raw(_encode(value)), files=files)

    def _which(self) -> dict[str, Any]:
        dispatch = self.dispatch
        return {"channel": dispatch.channel, "prediction": self.id, "attempt": dispatch.attempt}


def referring(output: Any, stored: Mapping[str, wire.StoredFile]) -> tuple[Any, tuple[wire.StoredFile, ...]]:
    """An output with our files as references, and the files that it has."""
    if not stored:
        return output, ()
    found: dict[str, wire.StoredFile] = {}

    def reference(text: str) -> str | None:
        file = stored.get(text)
        if file is None:
            return None
        found[file.key] = file
        return wire.BLOB_REFERENCE + file.key

    return replaced(output, reference), tuple(found.values())


def log_text(lines: tuple[str, ...], limit_bytes: int) -> str:
    """The log as one text; over the limit its oldest part gives way to a mark."""
    data = _as_text(lines).encode("utf-8", "replace")
    if len(data) <= limit_bytes:
        return data.decode()
    cut = len(data) - limit_bytes
    return f"[... {cut} bytes of the log were left out ...]\n" + data[cut:].decode("utf-8", "ignore")


def _as_text(lines: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in lines)
