"""Clients of the simplest kind, for short answers: one that waits for each, and many on one event loop."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import cast

import msgspec
import uvloop


class Load(msgspec.Struct, frozen=True):
    """One run. ``good`` answers were those that the caller says are; ``statuses`` counts all."""

    good: int
    statuses: dict[int, int]
    seconds: float
    times_s: tuple[float, ...]
    """Of each good answer, in ascending order; empty when nobody asked for them."""

    @property
    def per_s(self) -> float:
        return self.good / self.seconds

    def quantile_s(self, share: float) -> float:
        return self.times_s[min(len(self.times_s) - 1, int(len(self.times_s) * share))]


Good = Callable[[int, bytes], bool]


def request(path: str, body: bytes, method: str = "POST") -> bytes:
    """A request as it goes over the wire, on a connection that stays."""
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def one(port: int, sent: bytes, *, rounds: int, good: Good, gap_s: float = 0.0) -> Load:
    """Ask, wait for the answer, ask again, from a blocking socket."""
    statuses: Counter[int] = Counter()
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        for _ in range(rounds):
            if gap_s:
                time.sleep(gap_s)
            asked = time.perf_counter()
            connection.sendall(sent)
            status, body = _answer(connection)
            took = time.perf_counter() - asked
            statuses[status] += 1
            if good(status, body):
                times.append(took)
        seconds = time.perf_counter() - began
    return Load(len(times), dict(statuses), seconds, tuple(sorted(times)))


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        _receive(connection, data)
    length = _length(bytes(data[:end]))
    while len(data) < end + 4 + length:
        _receive(connection, data)
    return int(data[9:12]), bytes(data[end + 4 :])


def _receive(connection: socket.socket, data: bytearray) -> None:
    part = connection.recv(1 << 20)
    if not part:
        raise ConnectionError("the server closed the connection")
    data += part


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"an answer without a length: {head!r}")


def many(port: int, sent: bytes, *, clients: int, seconds: float, good: Good) -> Load:
    """Each of the clients asks as soon as it has its answer, until the time is up."""
    return uvloop.run(_many(port, sent, clients, seconds, good))


async def _many(port: int, sent: bytes, clients: int, seconds: float, good: Good) -> Load:
    loop = asyncio.get_running_loop()
    run = _Run(sent, good, loop.time() + seconds)
    began = time.perf_counter()
    for _ in range(clients):
        await loop.create_connection(lambda: _Client(run), "127.0.0.1", port)
    await asyncio.gather(*run.ends)
    return Load(run.good, dict(run.statuses), time.perf_counter() - began, ())


class _Run:
    def __init__(self, sent: bytes, is_good: Good, until: float) -> None:
        self.sent = sent
        self.is_good = is_good
        self.until = until
        self.good = 0
        self.statuses: Counter[int] = Counter()
        self.ends: list[asyncio.Future[None]] = []


class _Client(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.create_future()
        run.ends.append(self._end)
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._run.sent)

    def data_received(self, data: bytes) -> None:
        self._data = data = self._data + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + _length(data[:end]):
            return
        self._data = b""
        status = int(data[9:12])
        self._run.statuses[status] += 1
        self._run.good += self._run.is_good(status, data[end + 4 :])
        if self._loop.time() < self._run.until:
            self._transport.write(self._run.sent)
        else:
            self._end.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._end.done():
            self._end.set_exception(error or ConnectionError("the server closed a connection"))
