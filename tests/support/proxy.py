"""A TCP proxy between agent and server whose wire can be cut and mended."""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

from tests.support.threads import start_deaf


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

    def shut(self) -> None:
        for end in (self.near, self.far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Listens on ``port`` and passes everything on to a port of this machine."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._lock = threading.Lock()
        self._mended = threading.Event()
        self._mended.set()
        self._closed = False
        self._pairs: list[Pair] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        start_deaf(self._thread)

    def cut(self) -> None:
        """Reset what is connected, and refuse what tries to connect, until ``mend``."""
        self._mended.clear()
        self.reset()

    @property
    def connected(self) -> bool:
        """Whether anybody has connected since the last cut."""
        with self._lock:
            return bool(self._pairs)

    def mend(self) -> None:
        self._mended.set()

    def reset(self) -> None:
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
        self.reset()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if not self._mended.is_set():
                    raise ConnectionRefusedError
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
                start_deaf(threading.Thread(target=self._carry, args=(pair, source, sink), daemon=True))

    def _carry(self, pair: Pair, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            self.pass_on(pair, source, sink)
        if not pair.swallow:
            pair.shut()

    def pass_on(self, pair: Pair, source: socket.socket, sink: socket.socket) -> None:
        """What comes from one end goes to the other, until it closes. Raises OSError."""
        while data := source.recv(65536):
            sink.sendall(data)
