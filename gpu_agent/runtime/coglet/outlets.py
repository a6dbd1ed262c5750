"""What a prediction says while it runs and when it ends, in the two forms of the protocol."""

import os
import signal
import stat
from typing import Any, Dict, List, Optional

from coglet.drafts import write_all
from coglet.folder import WorkFolder, encode

Document = Dict[str, Any]


class Parent:
    """The process to be signaled.

    Its bell, if it made one, says whether it knows already that it has to look: "1" from our signal until it
    begins to look. So however much is written, one signal at a time is on its way. A bell that is a FIFO is
    written to instead of any signal: we may not send one to a parent of another user.
    """

    def __init__(self, process: int, counts_slots: bool, bell_path: str) -> None:
        self._process = process
        self._counts_slots = counts_slots
        try:
            self._bell = os.open(bell_path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            self._bell = -1
        self._rings = self._bell >= 0 and stat.S_ISFIFO(os.fstat(self._bell).st_mode)

    def output(self) -> None:
        if self._rings:
            try:
                os.write(self._bell, b"1")
            except BlockingIOError:
                pass  # full of what it has not heard yet
            return
        if self._bell >= 0:
            if os.pread(self._bell, 1, 0) == b"1":
                return
            os.pwrite(self._bell, b"1", 0)
        self._signal(signal.SIGHUP)

    def ready(self) -> None:
        if not self._counts_slots:
            self._signal(signal.SIGUSR1)

    def busy(self) -> None:
        if not self._counts_slots:
            self._signal(signal.SIGUSR2)

    def _signal(self, number: int) -> None:
        try:
            os.kill(self._process, number)
        except ProcessLookupError:
            os._exit(1)


class Outlet:
    """One prediction's voice."""

    def log_descriptor(self) -> int:
        """A descriptor of the caller's own to log to."""
        raise NotImplementedError

    def mask(self, secrets: List[str]) -> None:
        """Keep these out of the log from now on. In the linear form that is the parent's to do."""

    def log(self, data: bytes) -> None:
        raise NotImplementedError

    def item(self, value: Any, files: List[Dict[str, str]]) -> None:
        """One yielded value, already JSON; the files' pointers are into it."""
        raise NotImplementedError

    def metric(self, key: str, value: Any) -> None:
        raise NotImplementedError

    def finish(self, response: Document) -> None:
        """The last word."""
        raise NotImplementedError


class LinearOutlet(Outlet):
    """Each item and metric is a line, once; logs go straight into a file or the parent's pipe."""

    def __init__(self, folder: WorkFolder, prediction: str, parent: Parent, streams: bool) -> None:
        self._folder = folder
        self._prediction = prediction
        self._parent = parent
        self._events: Optional[int] = None
        self._log: Optional[int] = None
        self._items = 0
        self._streams = streams

    def log_descriptor(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(self._folder.log_path(self._prediction), flags, 0o600)
        except OSError:  # a pipe that nobody reads
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.set_blocking(descriptor, True)
        return descriptor

    def log(self, data: bytes) -> None:
        if self._log is None:
            self._log = self.log_descriptor()
        try:
            write_all(self._log, data)
        except OSError:
            pass  # nobody listens any more

    def item(self, value: Any, files: List[Dict[str, str]]) -> None:
        self._items += 1
        self._event({"output": value, "files": files} if files else {"output": value})

    def metric(self, key: str, value: Any) -> None:
        self._event({"metrics": {key: value}})

    def _event(self, document: Document) -> None:
        if self._events is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._events = os.open(self._folder.events_path(self._prediction), flags, 0o600)
        write_all(self._events, encode(document) + b"\n")
        self._parent.output()

    def finish(self, response: Document) -> None:
        for descriptor in (self._events, self._log):
            if descriptor is not None:
                os.close(descriptor)
        response["events"] = self._events is not None
        if self._streams:
            response["items"] = self._items
        self._folder.write_response(self._prediction, response)
        self._parent.output()
