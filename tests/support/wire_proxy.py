"""A TCP proxy between agent and server that reads the messages that pass, and strikes at a chosen one."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.support.proxy import Pair, Proxy

Strike = Callable[[Pair], bool]
"""What happens at the message. True: it is passed on afterwards."""


@dataclass
class _Armed:
    kind: str
    strike: Strike
    struck: threading.Event = field(default_factory=threading.Event)


class WireProxy(Proxy):
    """Passes websocket frames on one by one."""

    def __init__(self, target_port: int) -> None:
        self._armed: _Armed | None = None
        super().__init__(target_port)

    def arm(self, kind: str, strike: Strike) -> threading.Event:
        """Strike once, at the next message of this type. Gives an event that is set once it happened."""
        armed = _Armed(kind, strike)
        with self._lock:
            self._armed = armed
        return armed.struck

    def pass_on(self, pair: Pair, source: socket.socket, sink: socket.socket) -> None:
        for chunk, kind in _messages(source):
            if kind and not self._strike(pair, kind):
                continue
            if not pair.swallow:
                sink.sendall(chunk)

    def _strike(self, pair: Pair, kind: str) -> bool:
        with self._lock:
            armed = self._armed
            if armed is None or armed.kind != kind:
                return True
            self._armed = None
        passes = armed.strike(pair)
        armed.struck.set()
        return passes


def _messages(source: socket.socket) -> Iterator[tuple[bytes, str]]:
    """What comes, in pieces that may be passed on as they are: a message whole, with its type; of what is no
    websocket whatever came, without one."""
    data = b""
    upgrade = False
    while more := source.recv(65536):
        data += more
        if not upgrade:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end and len(data) < 65536 and data[:4] in (b"GET ", b"HTTP"):
                continue
            upgrade = bool(end) and b"upgrade: websocket" in head.lower()
            if not upgrade:
                yield data, ""
                data = b""
                while more := source.recv(65536):
                    yield more, ""
                return
            yield head + end, ""
            data = rest
        while (length := _frame_length(data)) is not None and len(data) >= length:
            yield data[:length], _type(data[:length])
            data = data[length:]


def _frame_length(data: bytes) -> int | None:
    if len(data) < 2:
        return None
    short, masked = data[1] & 0x7F, 4 if data[1] & 0x80 else 0
    if short < 126:
        return 2 + masked + short
    size = 2 if short == 126 else 8
    if len(data) < 2 + size:
        return None
    (length,) = struct.unpack(">H" if size == 2 else ">Q", data[2 : 2 + size])
    return 2 + size + masked + int(length)


def _type(frame: bytes) -> str:
    if frame[0] & 0x0F != 1:
        return ""
    start = 2 + {126: 2, 127: 8}.get(frame[1] & 0x7F, 0)
    if frame[1] & 0x80:
        mask, body = frame[start : start + 4], frame[start + 4 :]
        size = len(body)
        number = int.from_bytes(body, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        body = number.to_bytes(size, "big")
    else:
        body = frame[start:]
    return str(json.loads(body)["type"])
