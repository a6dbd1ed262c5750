"""The cumulative form of the protocol: ``response-{id}.json`` always says everything so far."""

import codecs
import collections
import os
import select
import threading
import time
from typing import Any, Deque, Dict, List, Optional

from coglet.folder import WorkFolder
from coglet.masking import Masker
from coglet.outlets import Document, Outlet, Parent

INTERVAL_S = 0.05
INTERVAL_BYTES = 1 << 18
"""A longer response is rewritten less often, so that no more than this is written in an interval."""
LOG_CHARACTERS = 1 << 20
_MARK = "[... the beginning of the log was left out ...]\n"


def pause_s(length: int) -> float:
    """From a response of so many bytes to the next."""
    return INTERVAL_S * max(1.0, length / INTERVAL_BYTES)


class BoundedText:
    """Text of which the oldest part gives way, marked."""

    def __init__(self, limit: int = LOG_CHARACTERS) -> None:
        self._limit = limit
        self._parts: Deque[str] = collections.deque()
        self._length = 0
        self._cut = False

    def add(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
        while self._length > self._limit:
            self._cut = True
            excess = self._length - self._limit
            first = self._parts.popleft()
            if len(first) > excess:
                self._parts.appendleft(first[excess:])
            self._length -= min(excess, len(first))

    def __str__(self) -> str:
        if len(self._parts) > 1:
            whole = "".join(self._parts)
            self._parts.clear()
            self._parts.append(whole)
        text = self._parts[0] if self._parts else ""
        return _MARK + text if self._cut else text


class Log:
    """Bytes of a log, read from a pipe or added, as bounded text. Guarded by its owner's lock."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.text = BoundedText()
        self.pipe: Optional[int] = None
        self.masker: Optional[Masker] = None

    def open_pipe(self) -> int:
        """A pipe's end to log to; this object has the other one."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        self.pipe = reader
        return writer

    def add(self, data: bytes) -> None:
        self.text.add(self._decoder.decode(data if self.masker is None else self.masker.feed(data)))

    def end(self) -> None:
        """Nothing more comes: what was held back is no secret."""
        if self.masker is not None:
            self.text.add(self._decoder.decode(self.masker.rest()))

    def drain(self) -> bytes:
        """Read all that is in the pipe now; at its end, close it."""
        read = []
        while self.pipe is not None:
            try:
                data = os.read(self.pipe, 1 << 16)
            except BlockingIOError:
                break
            if not data:
                os.close(self.pipe)
                self.pipe = None
                break
            self.add(data)
            read.append(data)
        return b"".join(read)


class Publisher:
    """The thread that reads logs and rewrites responses, each at most every ``INTERVAL_S``."""

    def __init__(self, folder: WorkFolder, parent: Parent, home: int) -> None:
        self.folder = folder
        self.parent = parent
        self.lock = threading.RLock()
        self._home = home
        self._outlets: Dict[int, "CumulativeOutlet"] = {}
        self._left_over: Dict[int, Log] = {}
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        threading.Thread(target=self._run, name="coglet-publish", daemon=True).start()

    def add(self, outlet: "CumulativeOutlet") -> None:
        with self.lock:
            self._outlets[id(outlet)] = outlet
        self.wake()

    def remove(self, outlet: "CumulativeOutlet") -> None:
        """Processes that outlive the prediction may hold its pipe: they keep a reader, who tells home."""
        with self.lock:
            self._outlets.pop(id(outlet), None)
            if outlet.log_.pipe is not None:
                self._left_over[outlet.log_.pipe] = outlet.log_

    def wake(self) -> None:
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            pass

    def _run(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            with self.lock:
                for outlet in self._outlets.values():
                    if outlet.log_.pipe is not None:
                        poll.register(outlet.log_.pipe, select.POLLIN)
                for pipe in self._left_over:
                    poll.register(pipe, select.POLLIN)
                due = [outlet.due_at for outlet in self._outlets.values() if outlet.due_at is not None]
            timeout_ms = max(0.0, min(due) - time.monotonic()) * 1000 if due else None
            poll.poll(timeout_ms)
            try:
                os.read(self._reader, 4096)
            except BlockingIOError:
                pass
            with self.lock:
                self._turn(time.monotonic())

    def _turn(self, now: float) -> None:
        for pipe, log in list(self._left_over.items()):
            os.write(self._home, log.drain())
            if log.pipe is None:
                del self._left_over[pipe]
        for outlet in list(self._outlets.values()):
            outlet.publish(now)


class CumulativeOutlet(Outlet):
    """One prediction's response so far. Shared by the publisher's thread, under its lock."""

    def __init__(self, publisher: Publisher, prediction: str, started_at: int, streams: bool) -> None:
        self._publisher = publisher
        self._prediction = prediction
        self._streams = streams
        self._document: Document = {
            "status": "processing",
            "output": None,
            "error": None,
            "metrics": {},
            "started_at": started_at,
            "completed_at": None,
        }
        self._items: List[Any] = []
        self._files: List[Dict[str, str]] = []
        self._next_at = 0.0
        self.log_ = Log()
        self.due_at: Optional[float] = None

    def log_descriptor(self) -> int:
        writer = self.log_.open_pipe()
        self._publisher.add(self)
        return writer

    def mask(self, secrets: List[str]) -> None:
        with self._publisher.lock:
            self.log_.masker = Masker(secrets)

    def log(self, data: bytes) -> None:
        with self._publisher.lock:
            self.log_.drain()  # what the model has printed comes first
            self.log_.add(data)
        self._touch()

    def item(self, value: Any, files: List[Dict[str, str]]) -> None:
        with self._publisher.lock:
            prefix = f"/{len(self._items)}"
            self._items.append(value)
            self._files += [{**file, "pointer": prefix + file["pointer"]} for file in files]
        self._touch()

    def metric(self, key: str, value: Any) -> None:
        with self._publisher.lock:
            self._document["metrics"][key] = value
        self._touch()

    def _touch(self) -> None:
        with self._publisher.lock:
            idle = self.due_at is None
            self._schedule()
        if idle:
            self._publisher.add(self)

    def _schedule(self) -> None:
        if self.due_at is None:
            self.due_at = max(time.monotonic(), self._next_at)

    def publish(self, now: float) -> None:
        """Called by the publisher, with its lock held."""
        if self.log_.drain():
            self._schedule()
        if self.due_at is not None and now >= self.due_at:
            self.due_at = None
            self._next_at = now + pause_s(self._write(self._document))

    def _write(self, document: Document) -> int:
        """Its length."""
        if self._streams:
            document["output"] = self._items
            document["files"] = self._files
        document["logs"] = str(self.log_.text)
        length = self._publisher.folder.write_response(self._prediction, document)
        self._publisher.parent.output()
        return length

    def finish(self, response: Document) -> None:
        with self._publisher.lock:
            self.log_.drain()
            self.log_.end()
            self._publisher.remove(self)
            self._write(response)


class SetupLog:
    """Collects what setup prints, and shows it at home as it comes."""

    def __init__(self, home: int) -> None:
        self._home = home
        self._log = Log()
        self.descriptor = self._log.open_pipe()
        self._thread = threading.Thread(target=self._run, name="coglet-setup-log", daemon=True)
        self._lock = threading.Lock()
        self._thread.start()

    def _run(self) -> None:
        poll = select.poll()
        assert self._log.pipe is not None
        poll.register(self._log.pipe, select.POLLIN)
        while self._log.pipe is not None:
            poll.poll()
            self._drain()

    def _drain(self) -> None:
        with self._lock:
            os.write(self._home, self._log.drain())

    def so_far(self) -> str:
        """Processes that setup has started may go on printing; that is home's from now on."""
        self._drain()
        with self._lock:
            return str(self._log.text)
