"""The FIFOs that predictions log to, each made before it is needed. To make and watch one costs more than a
short prediction, so one that nobody else has open after the answer serves another.
"""

# Plain strings, as pathlib objects would be a fifth of the time of a short prediction.
# ruff: noqa: PTH104, PTH108

import contextlib
import os
from collections.abc import Callable

from gpu_agent.log_pipe import LogPipe

MANY = 64
"""FIFOs after which those that nobody writes to any more are sorted out."""


class LogFifo:
    """One of them, with the name of its prediction."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.mkfifo(path, 0o600)
        self.pipe = LogPipe(os.open(path, os.O_RDONLY | os.O_NONBLOCK), _nothing)
        # A writer of our own, so that the pipe has no end before the model has begun to write.
        self._writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    def listen(self, on_data: Callable[[bytes], None]) -> None:
        self.pipe.pass_on(on_data)

    def free(self) -> bool:
        """The prediction is over. True when nobody else has the pipe: ``rename`` it for another one. Else it
        is retired, as a process that the prediction left behind may hold it."""
        if self._writer < 0:
            return False
        self.pipe.discard()
        os.close(self._writer)
        self._writer = -1
        if self.pipe.ended():
            with contextlib.suppress(OSError):  # the model has removed it
                self._writer = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                return True
        self._forget()
        return False

    def rename(self, path: str) -> bool:
        """Have it be another prediction's. False when the model has removed it."""
        try:
            os.rename(self._path, path)
        except FileNotFoundError:
            return False
        self._path = path
        return True

    def _forget(self) -> None:
        """It is read on, for nobody, to its end."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self.pipe.drain()

    def close(self) -> None:
        """The process is gone. Idempotent."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
            self._forget()
        self.pipe.close()


class LogFifos:
    """Those of one model process."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._all: set[LogFifo] = set()
        """The free ones, those of predictions, and retired ones that somebody may still write to."""
        self._free: list[LogFifo] = []

    def take(self, key: str) -> LogFifo:
        """One for the prediction; ``give`` it back at the end."""
        path = f"{self._folder}/{key}"
        while self._free:
            fifo = self._free.pop()
            if fifo.rename(path):
                return fifo
            fifo.close()
        fifo = LogFifo(path)
        self._all.add(fifo)
        return fifo

    def give(self, fifo: LogFifo) -> None:
        if fifo.free():
            self._free.append(fifo)
        elif len(self._all) >= MANY:
            self._all = {each for each in self._all if each.pipe.open}

    def close(self) -> None:
        """The process is gone. Idempotent."""
        for fifo in self._all:
            fifo.close()
        self._all.clear()
        self._free.clear()


def _nothing(_data: bytes) -> None:
    pass
