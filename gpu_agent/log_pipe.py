"""The reading end of a log: a pipe or FIFO on the event loop, and how much of it is kept."""

import asyncio
import codecs
import os
from collections import deque
from collections.abc import Callable

CHUNK_BYTES = 1 << 16


class LogTail:
    """The last ``limit_bytes`` of a log, with a mark in front when there was more."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._chunks: deque[bytes] = deque()
        self._kept_bytes = 0
        self._left_out_bytes = 0

    def add(self, data: bytes) -> None:
        self._chunks.append(data)
        self._kept_bytes += len(data)
        while self._kept_bytes > self._limit_bytes:
            excess = self._kept_bytes - self._limit_bytes
            first = self._chunks.popleft()
            if len(first) > excess:
                self._chunks.appendleft(first[excess:])
            dropped = min(excess, len(first))
            self._kept_bytes -= dropped
            self._left_out_bytes += dropped

    def take(self) -> tuple[int, bytes]:
        """How many bytes were left out, and the kept ones; begins anew."""
        taken = self._left_out_bytes, b"".join(self._chunks)
        self._chunks.clear()
        self._kept_bytes = self._left_out_bytes = 0
        return taken

    def text(self) -> str:
        data = b"".join(self._chunks)
        if not self._left_out_bytes:
            return data.decode("utf-8", "replace")
        while data and 0x80 <= data[0] < 0xC0:  # the rest of a character that was cut
            data = data[1:]
        return left_out(self._left_out_bytes) + data.decode("utf-8", "replace")


def left_out(count: int) -> str:
    """The mark that stands where a log was cut."""
    return f"[... {count} bytes of the log were left out ...]\n"


class LogPipe:
    """Reads a descriptor until its end, which it closes. ``on_data`` gets the bytes as they come."""

    def __init__(self, descriptor: int, on_data: Callable[[bytes], None]) -> None:
        self._descriptor = descriptor
        self._on_data = on_data
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    @property
    def open(self) -> bool:
        return self._descriptor >= 0

    def _read(self) -> None:
        if self._take(1):
            self.close()

    def _take(self, most: int) -> bool:
        """Whether that was the end: nobody may write to it any more."""
        while self.open and most:
            try:
                data = os.read(self._descriptor, CHUNK_BYTES)
            except BlockingIOError:
                return False
            if not data:
                return True
            self._on_data(data)
            most -= 1
        return False

    def drain(self) -> None:
        """Take what is in the pipe now. Bounded, as somebody may be writing without end."""
        if self.ended():
            self.close()

    def ended(self) -> bool:
        """The same, but an end, which it tells, does not close it: a FIFO may have writers again."""
        return self._take(64)

    def pass_on(self, on_data: Callable[[bytes], None]) -> None:
        """From now on the bytes go there."""
        self._on_data = on_data

    def discard(self) -> None:
        """From now on read only so that its writers do not stall."""
        self._on_data = _nothing

    def close(self) -> None:
        """Safe at any time and twice."""
        if self.open:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def _nothing(_data: bytes) -> None:
    pass


class Lines:
    """Makes whole lines of bytes. A line that gets too long is passed on in parts."""

    LONGEST = 1 << 16

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def add(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        for line in lines:
            self._on_line(line)
        if len(self._rest) > self.LONGEST:
            self.flush()

    def flush(self) -> None:
        """Pass on a line that has no end yet."""
        if self._rest:
            rest, self._rest = self._rest, ""
            self._on_line(rest)
