"""One prediction in a model process, as its parent follows it: its log's pipe, its events, its response."""

# Plain strings, as pathlib objects would be a fifth of the time of a short prediction.
# ruff: noqa: PTH104, PTH108, PTH110, PTH123

import asyncio
import codecs
import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_agent.log_pipe import LogPipe, LogTail, left_out
from gpu_agent.runner_types import FileOutput, Item, Result, Status, Update

LOG_INTERVAL_S = 0.02
"""Prints are told on together, this long after the first."""
LOG_BURST_BYTES = 1 << 18
"""What one update may carry of a log; the newest part of more."""


def now_us() -> int:
    return time.time_ns() // 1000


class Running:
    """A prediction from its request to its result. Made and used on the event loop."""

    def __init__(self, folder: str, key: str, on_update: Callable[[Update], None], *, log_bytes: int) -> None:
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
        self._log_path = f"{folder}/logs/{key}"
        self._response_path = f"{folder}/response-{key}.json"
        self._events_path = f"{folder}/events-{key}.jsonl"
        os.mkfifo(self._log_path, 0o600)
        self.log = LogPipe(os.open(self._log_path, os.O_RDONLY | os.O_NONBLOCK), self._on_log)
        # A writer of our own, so that the pipe has no end before the model has begun to write.
        self._writer = os.open(self._log_path, os.O_WRONLY | os.O_NONBLOCK)

    def request(self, input: dict[str, Any]) -> None:
        """Hand it to the process. Raises ``ValueError`` for an input that is no JSON."""
        data = json.dumps({"input": input}, allow_nan=False).encode()
        self._put(f"request-{self._key}.json", data)

    def ask_to_cancel(self) -> None:
        if not self.cancel_asked:
            self.cancel_asked = True
            self._put(f"cancel-{self._key}", b"")

    def _put(self, name: str, data: bytes) -> None:
        draft = f"{self._folder}/tmp/{name}.draft"  # noqa: S108
        with open(draft, "wb", buffering=0) as file:
            file.write(data)
        os.rename(draft, f"{self._folder}/{name}")

    # --- what comes back --------------------------------------------------------------------------------

    def look(self) -> None:
        """Read what is new: events, and the response if it is there."""
        if self.result is not None:
            return
        response = self._take_response()
        items, metrics = self._read_events()
        try:
            if items or metrics or response is not None:
                self.log.drain()
                self._tell(tuple(items), metrics)
        finally:
            if response is not None:
                self._finish(response)

    def _take_response(self) -> dict[str, Any] | None:
        try:
            with open(self._response_path, "rb", buffering=0) as file:
                response: dict[str, Any] = json.loads(file.read())
        except FileNotFoundError:
            return None
        os.unlink(self._response_path)
        return response

    def _read_events(self) -> tuple[list[Item], dict[str, Any]]:
        items: list[Item] = []
        metrics: dict[str, Any] = {}
        if self._events is None:
            try:
                self._events = os.open(self._events_path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return items, metrics
        parts = [self._partial_line]
        while data := os.read(self._events, 1 << 20):
            parts.append(data)
        *lines, self._partial_line = b"".join(parts).split(b"\n")
        for line in lines:
            event = json.loads(line)
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
        self.log.drain()
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
        self.log.drain()
        logs = self._tail.text()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        # A process that the model left behind may hold the pipe: it is read on, for nobody, to its end.
        self.log.discard()
        os.close(self._writer)
        self.log.drain()
        if self._events is not None:
            os.close(self._events)
            self._events = None
            os.unlink(self._events_path)
        self._take_back()
        if self.cancel_asked:
            _remove(f"{self._folder}/cancel-{self._key}")
        if self.kill_timer is not None:
            self.kill_timer.cancel()
        self.result = Result(status, output, files, logs=logs, **more)
        self.on_end()

    def withdraw(self) -> None:
        """Give up before the process was told."""
        self.log.close()
        os.close(self._writer)
        self._take_back()

    def _take_back(self) -> None:
        _remove(f"{self._folder}/request-{self._key}.json")
        _remove(self._log_path)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _nothing() -> None:
    pass


def _file_output(found: dict[str, str]) -> FileOutput:
    return FileOutput(found["pointer"], Path(found["path"]), found["name"], found["content_type"])
