"""A TCP proxy between agent and server that reads the messages that pass, and strikes at a chosen one."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from tests.support.threads import start_deaf

Strike = Callable[["Pair"], bool]
"""What happens at the message. True: it is passed on afterwards."""


@dataclass(eq=False)
class Pair:
    """One connection: the agent's end and the server's."""

    near: socket.socket
    far: socket.socket
    swallow: bool = False
    """Nothing is passed on any more, and neither end is told."""

    def reset(self) -> None:
        """Close with RST, as a middlebox that forgot the connection does."""
        for end in (self.near, self.far):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass
class _Armed:
    kind: str
    strike: Strike
    struck: threading.Event = field(default_factory=threading.Event)


class WireProxy:
    """Listens on ``port`` and passes everything on to a port of this machine, websocket frames one by one."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._armed: _Armed | None = None
        self._lock = threading.Lock()
        self._pairs: list[Pair] = []
        self._closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        start_deaf(self._thread)

    def arm(self, kind: str, strike: Strike) -> threading.Event:
        """Strike once, at the next message of this type. Gives an event that is set once it happened."""
        armed = _Armed(kind, strike)
        with self._lock:
            self._armed = armed
        return armed.struck

    def cut(self) -> None:
        """Reset what is connected; who dials again gets through."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.reset()

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target_port), timeout=5)
            except OSError:
                Pair(near, near).reset()
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = Pair(near, far)
            with self._lock:
                self._pairs.append(pair)
            for source, sink in ((near, far), (far, near)):
                start_deaf(threading.Thread(target=self._pass_on, args=(pair, source, sink), daemon=True))

    def _pass_on(self, pair: Pair, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            for chunk, kind in _messages(source):
                if kind and not self._strike(pair, kind):
                    continue
                if not pair.swallow:
                    sink.sendall(chunk)
        if pair.swallow:
            return
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

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
