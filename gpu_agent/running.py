"""One prediction in a model process, as its parent follows it: its log's pipe, its events, its response."""

# Plain strings and descriptors, as objects for them would be a fifth of the time of a short prediction.
# ruff: noqa: PTH108, PTH110

import asyncio
import codecs
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gpu_agent.answers import open_answer, read_all
from gpu_agent.drafts import Draft, Drafts
from gpu_agent.log_fifo import LogFifo
from gpu_agent.log_pipe import LogTail, left_out
from gpu_agent.masking import Masker
from gpu_agent.runner_types import FileOutput, Item, Result, Status, Update

log = logging.getLogger("cogflare.runner")

LOG_INTERVAL_S = 0.02
"""Prints are told on together, this long after the first."""
LOG_BURST_BYTES = 1 << 18
"""What one update may carry of a log; the newest part of more."""


_ENCODER = json.JSONEncoder(allow_nan=False)


def now_us() -> int:
    return time.time_ns() // 1000


class Made(NamedTuple):
    """What a prediction needs, made before it is there."""

    draft: Draft
    """Of its request."""
    log: LogFifo


class Running:
    """A prediction from its request to its result. Made and used on the event loop."""

    def __init__(
        self,
        folder: str,
        key: str,
        made: Made,
        on_update: Callable[[Update], None],
        *,
        log_bytes: int,
        masker: Masker,
    ) -> None:
        self.result: Result | None = None
        self.on_end: Callable[[], None] = _nothing
        """Called once, when ``result`` is there."""
        self.never_ran = False
        """The process has ended without taking the request: another one may run it."""
        self.kill_timer: asyncio.TimerHandle | None = None
        self.cancel_asked = False
        self.timed_out = False
        self._folder = folder
        self._key = key
        self._response_path = f"{folder}/response-{key}.json"
        self._on_update = on_update
        self._submitted_at = now_us()
        self._items: list[Any] = []
        self._files: list[FileOutput] = []
        self._metrics: dict[str, Any] = {}
        self._events: int | None = None
        self._partial_line = b""
        self._tail = LogTail(log_bytes)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._fresh = LogTail(LOG_BURST_BYTES)
        self._flush_timer: asyncio.TimerHandle | None = None
        self.log = made.log
        self.log.listen(self._on_log)
        self._draft = made.draft
        self._read: tuple[int, int] | None = None
        """The response's descriptor and length, once it was read."""
        self._masker = masker

    def request(self, input: dict[str, Any], context: Mapping[str, str]) -> None:
        """Hand it to the process. Raises ``ValueError`` for an input that is no JSON."""
        data = _ENCODER.encode({"input": input, "context": context}).encode()
        self._draft.write(data, f"{self._folder}/request-{self._key}.json")

    def ask_to_cancel(self) -> None:
        if not self.cancel_asked:
            self.cancel_asked = True
            os.close(os.open(f"{self._folder}/cancel-{self._key}", os.O_CREAT | os.O_CLOEXEC, 0o600))

    def cancel_lies_there(self) -> bool:
        """The process has not taken note of it yet."""
        return os.path.exists(f"{self._folder}/cancel-{self._key}")

    # --- what comes back --------------------------------------------------------------------------------

    def look(self) -> None:
        """Read what is new: events, and the response if it is there."""
        if self.result is not None:
            return
        try:
            self._take()
        except (OSError, msgspec.MsgspecError, LookupError, TypeError, ValueError):
            # A model can write into the folder, too.
            log.exception("an answer of a model's process cannot be read")
            if self.result is None:
                self._fail("the model's process gave an answer that nobody understands", "runner_crashed")

    def _take(self) -> None:
        response = self._take_response()
        items, metrics = self._read_events() if response is None or response["events"] else ([], {})
        try:
            if items or metrics or response is not None:
                self.log.pipe.drain()
                if response is not None:
                    self._add_log(self._masker.rest())
                self._tell(tuple(items), metrics)
        finally:
            if response is not None:
                self._finish(response)

    def _take_response(self) -> dict[str, Any] | None:
        try:
            descriptor = open_answer(self._response_path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            data = read_all(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._read = (descriptor, len(data))
        response: dict[str, Any] = msgspec.json.decode(data)
        return response

    def _read_events(self) -> tuple[list[Item], dict[str, Any]]:
        items: list[Item] = []
        metrics: dict[str, Any] = {}
        if self._events is None:
            try:
                self._events = open_answer(f"{self._folder}/events-{self._key}.jsonl")
            except FileNotFoundError:
                return items, metrics
        *lines, self._partial_line = (self._partial_line + read_all(self._events)).split(b"\n")
        for line in lines:
            event = msgspec.json.decode(line)
            if "output" in event:
                items.append(self._item(event))
            else:
                metrics.update(event["metrics"])
        self._metrics.update(metrics)
        return items, metrics

    def _item(self, event: dict[str, Any]) -> Item:
        files = tuple(map(_file_output, event.get("files", ())))
        prefix = f"/{len(self._items)}"
        self._items.append(event["output"])
        self._files += [
            FileOutput(prefix + file.pointer, file.path, file.name, file.content_type) for file in files
        ]
        return Item(event["output"], files)

    def _on_log(self, data: bytes) -> None:
        self._add_log(self._masker.feed(data))

    def _add_log(self, data: bytes) -> None:
        if not data:
            return
        self._tail.add(data)
        self._fresh.add(data)
        if self._flush_timer is None and self.result is None:
            self._flush_timer = asyncio.get_running_loop().call_later(LOG_INTERVAL_S, self._tell)

    def _tell(self, items: tuple[Item, ...] = (), metrics: dict[str, Any] | None = None) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        mark, data = self._fresh.take()
        logs = (left_out(mark) if mark else "") + self._decoder.decode(data)
        if items or logs or metrics:
            self._on_update(Update(items, logs, metrics or {}))

    # --- how it ends ------------------------------------------------------------------------------------

    def _finish(self, response: dict[str, Any]) -> None:
        if "items" in response:
            succeeded = response["status"] == "succeeded"
            output, files = self._items if self._items or succeeded else None, tuple(self._files)
        else:
            output = response.get("output")
            files = tuple(map(_file_output, response.get("files", ())))
        self._end(
            response["status"],
            output,
            files,
            error=response.get("error"),
            error_code=response.get("error_code"),
            metrics=response.get("metrics", {}),
            started_at=response.get("started_at", self._submitted_at),
            completed_at=response.get("completed_at", now_us()),
        )

    def lost(self, error: str, error_code: str) -> None:
        """The process is gone, or given up: what it has written by now is all there will be."""
        self.look()
        if self.result is not None:
            return
        self.never_ran = os.path.exists(f"{self._folder}/request-{self._key}.json")
        self._fail(error, error_code)

    def _fail(self, error: str, error_code: str) -> None:
        """End it with what there is."""
        self.log.pipe.drain()
        self._add_log(self._masker.rest())
        self._tell()
        metrics = {key: value for key, value in self._metrics.items() if value is not None}
        self._end(
            "failed",
            self._items or None,
            tuple(self._files),
            error=error,
            error_code=error_code,
            metrics=metrics,
            started_at=self._submitted_at,
            completed_at=now_us(),
        )

    def _end(self, status: Status, output: Any, files: tuple[FileOutput, ...], **more: Any) -> None:
        if self.timed_out:
            status, more["error"], more["error_code"] = "failed", "the prediction took too long", "timeout"
        elif self.cancel_asked:
            status, more["error"], more["error_code"] = "canceled", None, None
        logs = self._tail.text()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self.log.pipe.discard()
        if self.kill_timer is not None:
            self.kill_timer.cancel()
        self.result = Result(status, output, files, logs=logs, **more)
        self.on_end()

    def clean(self, drafts: Drafts) -> None:
        """After the end: remove what is left of it in the folder, but for its output files and its log."""
        if self._read is not None:
            drafts.keep(self._response_path, *self._read)
            self._read = None
        if self._events is not None:
            os.close(self._events)
            self._events = None
            _remove(f"{self._folder}/events-{self._key}.jsonl")
        if self.cancel_asked:
            _remove(f"{self._folder}/cancel-{self._key}")
        if self.result is None or self.result.status != "succeeded":
            self.take_back()

    def take_back(self) -> None:
        """Have the process not begin it, if it has not."""
        _remove(f"{self._folder}/request-{self._key}.json")


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _nothing() -> None:
    pass


def _file_output(found: dict[str, str]) -> FileOutput:
    return FileOutput(found["pointer"], Path(found["path"]), found["name"], found["content_type"])
