"""One connection as its two threads share it: what waits to be written, and how much waits to be handled.

The line's thread (``line.py``) owns the socket and the heartbeat. The agent's main thread owns the session of
the wire, and everything that it means. Frames pass between them here.
"""

import asyncio
import contextlib
import threading
from collections import deque

from coordinator.protocol.agent_session import AgentSession
from coordinator.protocol.errors import ProtocolViolation
from coordinator.protocol.limits import WireLimits
from coordinator.protocol.liveness import Liveness
from coordinator.protocol.messages import Closing, Hello, Welcome

CONGESTED_BYTES = 1024 * 1024
"""More than this waiting for the socket: progress is held back, so that results and cancels get through."""
UNHANDLED_BYTES = 64 * 1024 * 1024
"""More than this read and not handled: no more is read until the main thread has caught up."""


class Link:
    """Made in the line's thread. ``session`` and ``welcome`` are the main thread's from the first frame on,
    ``liveness`` and ``closing`` the line's; each method belongs to the thread that it is listed under."""

    def __init__(self, hello: Hello, limits: WireLimits, now: float) -> None:
        self.session = AgentSession(hello=hello, limits=limits, now=now)
        self.liveness = Liveness(limits.hello_s, now)
        self.welcome: Welcome | None = None
        self.closing: Closing | None = None
        self.violation: ProtocolViolation | None = None
        self.useful = False
        """A model was attached."""
        self.greeted = asyncio.Event()
        self.ready = asyncio.Event()
        """Something waits to be written, or the connection is to end by ``violation``."""
        self.written = asyncio.Event()
        """Nothing waits any more."""
        self.caught_up = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unhandled_bytes = 0

    # --- the main thread ----------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        return self._waiting_bytes > CONGESTED_BYTES

    def put(self, frame: bytes) -> None:
        """Have a frame written. One that comes too late for the connection is lost with it."""
        with self._lock:
            self._waiting.append(frame)
            self._waiting_bytes += len(frame)
        self._tell(self.ready)

    def handled(self, length: int) -> None:
        """A frame of this length has been dealt with."""
        with self._lock:
            before, self._unhandled_bytes = self._unhandled_bytes, self._unhandled_bytes - length
        if before > UNHANDLED_BYTES >= before - length:
            self._tell(self.caught_up)

    def fail(self, violation: ProtocolViolation) -> None:
        """The server broke the protocol: end the connection."""
        self.violation = violation
        self._tell(self.ready)

    def _tell(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # that thread's loop has ended
            self._loop.call_soon_threadsafe(event.set)

    # --- the line's thread --------------------------------------------------------------------------------

    def take(self) -> bytes | None:
        """The next frame to write; say ``wrote`` when it is written."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def wrote(self, length: int) -> bool:
        """True when this ended a congestion."""
        with self._lock:
            before, self._waiting_bytes = self._waiting_bytes, self._waiting_bytes - length
        return before > CONGESTED_BYTES >= before - length

    @property
    def empty(self) -> bool:
        return self._waiting_bytes == 0

    def read(self, length: int) -> None:
        """A frame of this length goes to the main thread."""
        with self._lock:
            self._unhandled_bytes += length

    @property
    def behind(self) -> bool:
        """The main thread has more to handle than it should."""
        return self._unhandled_bytes > UNHANDLED_BYTES
