"""HTTP connections within limits, which uvicorn has none of: sizes of URL and headers, the time that they and
a body take, what is left unread, and how many connections there are.

What is wrong is answered with a problem document where that can be, and the connection is closed a moment
later, for a client that is still sending would not see the answer otherwise. A whole request costs no timer:
one runs only while a connection is new, or a request is there in part. Two things are left as they are: the
time of a TLS handshake (asyncio's 60 s), and the size of a chunk's extensions, which nobody keeps.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from coordinator.protocol.limits import DoorLimits
from edge.access_log import AccessLog
from edge.client_address import UNKNOWN
from edge.errors import Problem
from edge.one_write import OneWrite, OneWriteProtocol
from edge.replies import PROBLEM_JSON
from edge.seats import Seats

FAREWELL_S = 1.0
"""How long a connection that was given up stays, so that its client reads why."""
IGNORED_BODY_S = 5.0
"""How long the body of a request that is answered already may go on."""
_IGNORED_BYTES = 1 << 20
"""What is read of it in that time; more stays with the client."""
_HEADER_EXTRA = 4
"""Bytes of a header's line besides its name and value."""


@dataclass(frozen=True, slots=True)
class Door:
    """What the connections of one server share."""

    limits: DoorLimits
    seats: Seats
    access: AccessLog


class BoundedProtocol(OneWriteProtocol):
    """uvicorn's protocol within limits."""

    def __init__(self, *args: Any, door: Door, **more: Any) -> None:
        super().__init__(*args, **more)
        self._door = door
        self._limits = door.limits
        self._seat: str | None = None
        self._problem: Problem | None = None
        self._given_up = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_of_body = False
        self._unread: asyncio.TimerHandle | None = None
        self._in_head = self._in_body = False
        self._ended_here = False
        """Whether a request ended in the piece that is being read."""
        self._piece_bytes = self._raw_bytes = 0
        """Length of the piece that is being read, and of those before it that brought no body."""
        self._least_limit = min(self._limits.url_bytes, self._limits.header_bytes)
        self._body_bytes = 0
        """Received since the body was looked at last, or since the connection was given up."""

    # --- the connection -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        try:
            self._seat = self._door.seats.take(self.client[0] if self.client else UNKNOWN)
        except Problem as problem:
            self._give_up(problem)
            return
        self._start_timer(self._limits.head_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_unread()
        self._leave_seat()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._stop_timer()
        super().handle_websocket_upgrade()
        socket = self.transport.get_protocol()
        if isinstance(socket, SeatedWebSocket):
            socket.leave_seat = self._leave_seat

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.unread_s, self._nobody_reads)

    def resume_writing(self) -> None:
        self._stop_unread()
        super().resume_writing()

    def _nobody_reads(self) -> None:
        self._unread = None
        self.transport.abort()

    def _leave_seat(self) -> None:
        if self._seat is not None:
            self._door.seats.leave(self._seat)
            self._seat = None

    # --- what comes in --------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._given_up:
            self._body_bytes += len(data)
            if self._body_bytes > _IGNORED_BYTES:
                self.flow.pause_reading()
            return
        self._unset_keepalive_if_required()
        self._ended_here = False
        self._piece_bytes = len(data)
        body_bytes = self._body_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return
            # Any other upgrade is declined by answering as if it had not been asked for.
        except httptools.HttpParserError:
            self._give_up(self._problem or Problem("bad_request", "This is not well-formed HTTP."))
            return
        if self._in_head or self._in_body:
            # A name or value that never ends, in the head or behind a body, reaches no callback.
            self._raw_bytes = (
                0 if self._ended_here or body_bytes != self._body_bytes else self._raw_bytes + len(data)
            )
            if (
                self._raw_bytes > self._limits.url_bytes + self._limits.header_bytes
                or len(self.url) > self._limits.url_bytes
                or len(self.headers) > self._limits.header_count
            ):
                self._give_up(self._wrong_head() or _headers_too_large(self._limits))
                return
        self._watch()

    def _watch(self) -> None:
        """Have the timer that what has come so far needs."""
        if self._in_body:
            if not self._timer_of_body and not self.cycle.response_complete:
                self._body_bytes = 0
                self._start_timer(self._limits.body_window_s, self._look_at_body)
                self._timer_of_body = True
        elif self._in_head or self.cycle is None or self.cycle.response_complete:
            if self._timer is None or self._timer_of_body:
                self._start_timer(self._limits.head_s, self._head_is_late)
        elif self._timer is not None:
            self._stop_timer()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._raw_bytes = 0

    def on_headers_complete(self) -> None:
        # Of a small piece nothing can be too large: then nothing is added up.
        if self._raw_bytes + self._piece_bytes > self._least_limit and (wrong := self._wrong_head()):
            self._problem = wrong
            raise wrong
        if len(self.headers) > self._limits.header_count:
            self._problem = _headers_too_large(self._limits)
            raise self._problem
        self._in_head = False
        self._in_body = True
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            # What follows a body must not pass for a header of its request: it goes here.
            self.headers = []

    def _wrong_head(self) -> Problem | None:
        if len(self.url) > self._limits.url_bytes:
            detail = f"Path and query must not be longer than {self._limits.url_bytes} bytes (url_bytes)."
            return Problem("url_too_long", detail)
        size = sum(len(name) + len(value) + _HEADER_EXTRA for name, value in self.headers)
        return _headers_too_large(self._limits) if size > self._limits.header_bytes else None

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._ended_here = True
        if self.cycle is not None and self.cycle.response_complete:
            self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            # Answered before its body was there. What still comes is thrown away, for a while.
            self._start_timer(IGNORED_BODY_S, self.transport.close)

    # --- timers ---------------------------------------------------------------------------------------------

    def _head_is_late(self) -> None:
        self._timer = None
        if not self._in_head:
            # Nothing has been asked.
            self.transport.close()
            return
        detail = f"URL and headers must arrive within {self._limits.head_s:g} s (head_s)."
        self._give_up(Problem("request_timeout", detail))

    def _look_at_body(self) -> None:
        least = self._limits.body_rate_bytes * self._limits.body_window_s
        held_by_us = self.flow.read_paused or self.cycle.waiting_for_100_continue
        if self._body_bytes < least and not held_by_us:
            detail = (
                f"The body must bring {self._limits.body_rate_bytes} bytes a second (body_rate_bytes), on "
                f"the average of {self._limits.body_window_s:g} s."
            )
            self._give_up(Problem("request_timeout", detail))
            return
        self._body_bytes = 0
        self._start_timer(self._limits.body_window_s, self._look_at_body)
        self._timer_of_body = True

    def _start_timer(self, delay_s: float, what: Callable[[], object]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(delay_s, what)

    def _stop_timer(self) -> None:
        self._timer_of_body = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    # --- the end --------------------------------------------------------------------------------------------

    def _give_up(self, problem: Problem) -> None:
        """Read no more of this connection, and say why unless another answer is on its way."""
        self._given_up = True
        self._door.access.refused(self.client[0] if self.client else UNKNOWN, problem.status)
        self._stop_timer()
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not self._in_body):
            self._say_farewell(problem)
        elif cycle.response_complete:
            # What is wrong belongs to a request that has its answer.
            self.transport.close()
        elif not (self._in_body and cycle.more_body):
            # Requests before this one are being answered; the connection ends after them.
            cycle.keep_alive = False
        else:
            unanswered = not cycle.response_started and not self.pipeline
            cycle.disconnected = True
            cycle.message_event.set()
            if unanswered:
                self._say_farewell(problem)
            else:
                self.transport.close()

    def _say_farewell(self, problem: Problem) -> None:
        body = problem.body()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", PROBLEM_JSON),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if problem.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % problem.retry_after_s))
        head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        transport = cast(OneWrite, self.transport).bare()
        transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + body)
        if transport.can_write_eof():
            transport.write_eof()
        self._body_bytes = 0
        self._start_timer(FAREWELL_S, transport.close)


class SeatedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's websocket, which gives its connection's seat back at the end."""

    leave_seat: Callable[[], None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.leave_seat is not None:
            self.leave_seat()
        super().connection_lost(exc)


def _headers_too_large(limits: DoorLimits) -> Problem:
    detail = (
        f"There must not be more than {limits.header_count} headers (header_count), and together they must "
        f"not be larger than {limits.header_bytes} bytes (header_bytes)."
    )
    return Problem("headers_too_large", detail)
