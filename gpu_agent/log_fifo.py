"""The FIFO that one prediction logs to: made before it is needed, removed after the answer."""

# Plain strings, as pathlib objects would be a fifth of the time of a short prediction.
# ruff: noqa: PTH108

import contextlib
import os
from collections.abc import Callable

from gpu_agent.log_pipe import LogPipe


class LogFifo:
    """``open`` tells whether anybody may still write to it."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.mkfifo(path, 0o600)
        self.pipe = LogPipe(os.open(path, os.O_RDONLY | os.O_NONBLOCK), _nothing)
        # A writer of our own, so that the pipe has no end before the model has begun to write.
        self._writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    def listen(self, on_data: Callable[[bytes], None]) -> None:
        self.pipe.pass_on(on_data)

    def retire(self) -> None:
        """The prediction is over. A process that it left behind may hold the pipe: it is read on, for nobody,
        to its end. Idempotent."""
        if self._writer < 0:
            return
        self.pipe.discard()
        os.close(self._writer)
        self._writer = -1
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self.pipe.drain()

    def close(self) -> None:
        """The process is gone. Idempotent."""
        self.retire()
        self.pipe.close()


def _nothing(_data: bytes) -> None:
    pass
