"""Where the server writes what a person or a collector reads: the model's own words, and the server's log."""

import asyncio
import json
import logging
import os
import select
from datetime import UTC, datetime

from gpu_agent.server.settings import LogFormat, LogLevel

PIECE_BYTES = 4096
"""What a pipe takes without blocking when it says that it takes anything (PIPE_BUF)."""


class Terminal:
    """A file descriptor that is never waited for: what nobody reads in time is left out, marked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._left_out = 0

    def write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        if self._left_out:
            data = b"[... %d bytes were left out, as nobody read them ...]\n" % self._left_out + data
        view = memoryview(data)
        while view:
            ready = self._poll.poll(0)
            if not ready or not ready[0][1] & select.POLLOUT:
                self._left_out += len(view)
                return
            try:
                view = view[os.write(self._descriptor, view[:PIECE_BYTES]) :]
            except OSError:  # nobody will ever read it
                return
        self._left_out = 0


class _Handler(logging.Handler):
    def __init__(self, terminal: Terminal, log_format: LogFormat) -> None:
        super().__init__()
        self._terminal = terminal
        self._json = log_format == "json"
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        if not self._json:
            self._terminal.write(self.format(record) + "\n")
            return
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self._terminal.write(_as_json(record.levelname, record.name, text, record.created))


def configure_log(level: LogLevel, log_format: LogFormat) -> None:
    """Log our own from ``level`` on to stderr, and of the HTTP server what is wrong."""
    logging.basicConfig(level=level.upper(), handlers=[_Handler(Terminal(2), log_format)], force=True)
    for library in ("uvicorn", "httpcore", "httpx", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    # An answer that nobody reads to its end is cut off by cancelling it: the line that counts them is enough.
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)


class Words:
    """What the model prints, on stdout: as it is, or each piece as a line of JSON."""

    def __init__(self, log_format: LogFormat) -> None:
        self._terminal = Terminal(1)
        self._json = log_format == "json"

    def __call__(self, text: str) -> None:
        if self._json:
            now = datetime.now(UTC).timestamp()
            text = "".join(_as_json("INFO", "model", line, now) for line in text.splitlines())
        self._terminal.write(text)


def _as_json(level: str, name: str, text: str, at: float) -> str:
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    return json.dumps({"time": when, "severity": level, "logger": name, "message": text}) + "\n"
