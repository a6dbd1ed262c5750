"""The network: what is sent arrives later and in order, or its connection is cut, or nobody knows.

A connection breaks as TCP's do. When a process ends the other side hears of it, unless its machine went with
it; while two hosts are partitioned nothing passes between them, and what was sent arrives when they are not.
"""

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.loop import PROCESS, Process, SimLoop

LATENCY_S = (0.001, 0.05)
SLOW_S = 3.0
"""What is added on a path that is slow now."""
CONNECT_S = 15.0


class Cut(ConnectionError):
    """The connection has ended. ``said`` is the other side's word as it closed it; None when it was cut."""

    def __init__(self, said: Any = None) -> None:
        super().__init__("the connection was cut" if said is None else f"closed: {said}")
        self.said = said


class End:
    """One end of a connection, of the process that made or took it."""

    def __init__(self, network: "Network", host: str, process: Process | None) -> None:
        self.host = host
        self.process = process
        self.other: End
        self.last_heard_at = 0.0
        """When something has last arrived at this end, whoever has read it."""
        self._network = network
        self._on_the_way: deque[tuple[float, Any]] = deque()
        """What comes to this end."""
        self._inbox: deque[Any] = deque()
        self._more = asyncio.Event()
        self._cut: Cut | None = None
        self._pumping = False

    @property
    def open(self) -> bool:
        return self._cut is None

    async def receive(self) -> Any:
        """The next message. Raises Cut."""
        while not self._inbox:
            if self._cut is not None:
                raise self._cut
            self._more.clear()
            await self._more.wait()
        return self._inbox.popleft()

    def send(self, message: Any) -> None:
        """On its way, as long as the connection lives. Raises Cut."""
        if self._cut is not None:
            raise self._cut
        self.other.comes(message)

    def close(self, said: Any = None) -> None:
        """Nothing more from here; the other end hears of it after what was sent before."""
        if self._cut is None:
            self._cut = Cut(said)
            self._more.set()
            self.other.comes(Cut(said))

    def break_(self) -> None:
        """Both ends hear that it was cut; what was on its way is lost."""
        for end in (self, self.other):
            end._on_the_way.clear()
            if end._cut is None:
                end._cut = Cut()
                end._more.set()

    def comes(self, message: Any) -> None:
        at = self._network.arrival(self.other.host, self.host)
        if self._on_the_way:
            at = max(at, self._on_the_way[-1][0])
        self._on_the_way.append((at, message))
        self._pump_at(at)

    def thaw(self) -> None:
        self._pump_at(self._network.arrival(self.other.host, self.host))

    def _pump_at(self, at: float) -> None:
        if not self._pumping:
            self._pumping = True
            self._network.loop.call_at(at, self._pump, context=contextvars.Context())

    def _pump(self) -> None:
        self._pumping = False
        network = self._network
        if network.partitioned(self.host, self.other.host):
            return
        while self._on_the_way and self._on_the_way[0][0] <= network.loop.time():
            self._arrives(self._on_the_way.popleft()[1])
        if self._on_the_way:
            self._pump_at(self._on_the_way[0][0])

    def _arrives(self, message: Any) -> None:
        if self.process is not None and not self.process.alive:
            if not self._network.is_down(self.host) and not isinstance(message, Cut):
                self.break_()  # nobody has this connection: the host says so
            return
        if self._cut is not None:
            return
        self.last_heard_at = self._network.loop.time()
        if isinstance(message, Cut):
            self._cut = message
        else:
            self._inbox.append(message)
        self._more.set()


Listener = Callable[[End, Any], object]


class Network:
    """All hosts and the paths between them. ``chance`` decides how long things take."""

    def __init__(self, loop: SimLoop, chance: random.Random) -> None:
        self.loop = loop
        self.ends: list[End] = []
        self._chance = chance
        self._listeners: dict[str, tuple[Process, Listener]] = {}
        self._apart: set[frozenset[str]] = set()
        self._down: set[str] = set()
        self._slow: set[frozenset[str]] = set()

    def arrival(self, a: str, b: str) -> float:
        slow_s = self._chance.uniform(0, SLOW_S) if frozenset((a, b)) in self._slow else 0.0
        return self.loop.time() + self._chance.uniform(*LATENCY_S) + slow_s

    def listen(self, host: str, process: Process, listener: Listener) -> None:
        """Take connections; ``listener`` is called in the process with this side's end and the hello."""
        self._listeners[host] = process, listener
        process.at_end.append(lambda: self._ended(process, host))

    async def connect(self, host: str, to: str, hello: Any = None) -> End:
        """A connection to whoever listens there. Raises OSError, TimeoutError."""
        process = PROCESS.get()
        await asyncio.sleep(self._chance.uniform(*LATENCY_S) * 2)
        if self.partitioned(host, to) or self.is_down(to):
            await asyncio.sleep(CONNECT_S)
            raise TimeoutError(f"{to} does not answer")
        listening = self._listeners.get(to)
        if listening is None or not listening[0].alive:
            raise ConnectionRefusedError(111, "Connection refused")
        near, far = End(self, host, process), End(self, to, listening[0])
        near.other, far.other = far, near
        near.last_heard_at = far.last_heard_at = self.loop.time()
        self.ends.append(near)
        if process is not None:
            process.at_end.append(lambda: self._gone(near))
        listening[0].at_end.append(lambda: self._gone(far))
        listening[0].call(self.loop.call_soon, listening[1], far, hello)
        return near

    def _ended(self, process: Process, host: str) -> None:
        if self._listeners.get(host, (None,))[0] is process:
            del self._listeners[host]

    def _gone(self, end: End) -> None:
        """Its process has ended: its host tells the other end, if it still can."""
        if end.open and not self.is_down(end.host):
            end.other.comes(Cut())
        end._cut = end._cut or Cut()

    # --- faults -------------------------------------------------------------------------------------------

    def partitioned(self, a: str, b: str) -> bool:
        return frozenset((a, b)) in self._apart

    def is_down(self, host: str) -> bool:
        return host in self._down

    def part(self, a: str, b: str) -> None:
        """Nothing passes between them until they are joined."""
        self._apart.add(frozenset((a, b)))

    def join(self, a: str, b: str) -> None:
        self._apart.discard(frozenset((a, b)))
        for near in self.ends:
            for end in (near, near.other):
                if {end.host, end.other.host} == {a, b} and end._on_the_way:
                    end.thaw()

    def take_down(self, host: str) -> None:
        """The machine is unplugged: before its processes are killed, so that nobody hears of it."""
        self._down.add(host)

    def bring_up(self, host: str) -> None:
        self._down.discard(host)

    def slow(self, a: str, b: str, yes: bool) -> None:
        (self._slow.add if yes else self._slow.discard)(frozenset((a, b)))

    def cut(self, a: str, b: str) -> None:
        """Every connection between them is cut."""
        for near in self.ends:
            if {near.host, near.other.host} == {a, b}:
                near.break_()
        self.ends = [end for end in self.ends if end.open or end.other.open]

    def heal(self) -> None:
        self._slow.clear()
        for apart in list(self._apart):
            self.join(*apart)
