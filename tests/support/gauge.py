"""A TCP proxy that counts what goes in one direction, and holds it up once it was so much."""

import socket
import threading

from tests.support.proxy import Pair, Proxy


class Gauge(Proxy):
    """``sent_bytes`` went from who dialed to who listens."""

    def __init__(self, target_port: int) -> None:
        self.sent_bytes = 0
        self._quota: int | None = None
        self._open = threading.Event()
        self._open.set()
        self.full = threading.Event()
        """Set when the quota is used up, and all stands still."""
        super().__init__(target_port)

    def hold_after(self, quota_bytes: int) -> None:
        """Let so much through from now on, then nothing until ``let_go``."""
        self.full.clear()
        self._open.clear()
        self.sent_bytes, self._quota = 0, quota_bytes

    def let_go(self) -> None:
        """Count from nothing, without a quota."""
        self.sent_bytes, self._quota = 0, None
        self._open.set()

    def pass_on(self, pair: Pair, source: socket.socket, sink: socket.socket) -> None:
        if source is not pair.near:
            super().pass_on(pair, source, sink)
            return
        while data := source.recv(65536):
            with self._lock:
                self.sent_bytes += len(data)
                over = self._quota is not None and self.sent_bytes > self._quota
            if over:
                self.full.set()
                self._open.wait()
            sink.sendall(data)

    def close(self) -> None:
        self._open.set()
        super().close()
