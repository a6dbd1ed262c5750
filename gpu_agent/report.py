"""What the server is told of one attempt, and how far it has been told: events in order, then the result.

Everything is kept until the attempt is over, so that each new connection can be given what the last one
missed. Log text is gathered into pieces; all else becomes an event at once.
"""

import asyncio
import time
from typing import Protocol

import msgspec

from coordinator.protocol.messages import AgentMessage, Event, Finished, Progress, StoredFile
from gpu_agent.event_log import EventLog

LOG_PAUSE_S = 0.05
LOG_PIECE_CHARACTERS = 16 * 1024
REPEAT_S = 30.0
"""A result that was sent this long ago without an answer is sent again."""


class Wire(Protocol):
    """The channel that messages leave by."""

    number: int

    @property
    def congested(self) -> bool: ...
    def send(self, message: AgentMessage) -> bool:
        """False when it was not sent; then ``keep`` will be called before it can be."""


class Report:
    """The events and the result of one attempt, and what of them was sent on this connection."""

    def __init__(self, wire: Wire, key: tuple[str, int], log_bytes: int) -> None:
        self.finished: Finished | None = None
        self._wire = wire
        self._key = key
        self._events = EventLog(log_bytes)
        self._open = True
        self._sent = 0
        self._result_sent_at: float | None = None
        self._text: list[str] = []
        self._length = 0
        self._cut_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def keep(self, from_seq: int) -> None:
        """The coordinator wants the attempt, and its events from this number on."""
        self._open = True
        self._sent = max(from_seq, 1) - 1
        self._result_sent_at = None
        self.flush()

    def suspend(self) -> None:
        """Nothing can be sent until the coordinator has said ``keep``."""
        self._open = False

    def flush(self) -> None:
        """Send what was not sent yet, as far as the connection takes it."""
        if not self._open:
            return
        while not self._wire.congested and (batch := self._events.batch(self._sent + 1)):
            if not self._wire.send(self._progress(batch)):
                return
            self._sent = batch[-1].seq
        if self.finished is None or self._result_sent_at is not None or self._sent < self._events.last:
            return
        if self._wire.send(msgspec.structs.replace(self.finished, channel=self._wire.number)):
            self._result_sent_at = time.monotonic()

    def resend(self, from_seq: int) -> None:
        """Send what was sent from this number on once more, as much as makes one message: somebody on the
        server is behind."""
        batch = tuple(event for event in self._events.batch(from_seq) if event.seq <= self._sent)
        if self._open and batch:
            self._wire.send(self._progress(batch))

    def repeat(self) -> None:
        """Send the result again when its acknowledgement has not come for long."""
        if self._result_sent_at is not None and time.monotonic() - self._result_sent_at > REPEAT_S:
            self._result_sent_at = None
            self.flush()

    def finish(self, finished: Finished) -> None:
        """The result is known. It is sent after all events."""
        self.finished = finished
        self.flush()

    def add_output(self, data: bytes, files: tuple[StoredFile, ...]) -> None:
        self._cut()
        self._events.add_output(data, files)

    def add_metrics(self, data: bytes) -> None:
        self._events.add_metrics(data)

    def add_logs(self, text: str) -> None:
        if not text:
            return
        text = text.encode(errors="replace").decode()
        self._text.append(text)
        self._length += len(text)
        loop = asyncio.get_running_loop()
        due = self._cut_at + LOG_PAUSE_S
        if loop.time() >= due or self._length >= LOG_PIECE_CHARACTERS:
            self._cut()
        elif self._timer is None:
            self._timer = loop.call_at(due, self.end_of_updates)

    def end_of_updates(self) -> None:
        """Send the log text that has gathered, and all else."""
        self._cut()
        self.flush()

    def outputs(self) -> tuple[list[msgspec.Raw], tuple[StoredFile, ...]]:
        """Every output so far, and every file in order of appearance."""
        return self._events.outputs()

    def close(self) -> None:
        """Forget the timer. Safe to repeat."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _progress(self, events: tuple[Event, ...]) -> Progress:
        prediction, attempt = self._key
        return Progress(channel=self._wire.number, prediction=prediction, attempt=attempt, events=events)

    def _cut(self) -> None:
        """Make an event of the log text that has gathered."""
        self.close()
        if self._text:
            text = "".join(self._text)
            for start in range(0, len(text), LOG_PIECE_CHARACTERS):
                self._events.add_logs(text[start : start + LOG_PIECE_CHARACTERS])
            self._text.clear()
            self._length = 0
            self._cut_at = asyncio.get_running_loop().time()
