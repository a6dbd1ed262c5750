"""One attempt at a provider: what its states mean, as an agent would say it, and what its task waits for."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from coordinator.overflow.errand import Errand
from coordinator.overflow.provider import Remote
from coordinator.protocol import messages as wire

CHANNEL = 0
_EARLY = 2_000_000
"""By how many microseconds a provider's clock may be ahead of ours, when it keeps a limit."""

_encode = msgspec.json.Encoder().encode


class Job:
    """``finished`` is set once the end is known, and told again until it is acknowledged."""

    def __init__(self, errand: Errand) -> None:
        self.errand = errand
        self.remote = errand.remote
        self.finished: wire.Finished | None = None
        self.canceled = asyncio.Event()
        """It is not wanted any more."""
        self.hint = asyncio.Event()
        """The provider says that there is something new."""
        self.named = ""
        """What the provider has called it by itself, before it was asked."""
        self._started_at: int | None = None
        self._accepted = False
        self._seq = 0
        self._items = 0
        self._logs = ""

    @property
    def which(self) -> dict[str, Any]:
        return {
            "channel": CHANNEL,
            "prediction": self.errand.prediction,
            "attempt": self.errand.attempt,
        }

    def rewind(self) -> None:
        """The coordinator knows nothing of what was said so far: the next state is told from its start."""
        self._seq = self._items = 0
        self._logs, self._accepted = "", False
        self.hint.set()

    def held(self) -> wire.Held:
        """How a coordinator that begins anew is told of it."""
        return wire.Held(
            prediction=self.errand.prediction,
            attempt=self.errand.attempt,
            secret=self.errand.secret,
            state="running" if self.finished is None else "finished",
            started_at=self._started_at,
        )

    def said(
        self, remote: Remote, items: Sequence[Any], files: Mapping[str, wire.StoredFile], now: int
    ) -> list[wire.AgentMessage]:
        """What is new in a state that is not the last. ``items`` is what its output lists so far, ``files``
        are those that the items name as references, by key."""
        told: list[wire.AgentMessage] = []
        if not self._accepted and remote.status != "starting":
            self._accepted = True
            self._started_at = self._started_at or remote.started_at or now
            told.append(wire.Accepted(**self.which, started_at=self._started_at))
        events = []
        if new := _grown(self._logs, remote.logs):
            events.append(self._event("logs", new, ()))
        self._logs = remote.logs
        for item in items[self._items :]:
            self._items += 1
            events.append(self._event("output", item, tuple(files[key] for key in _keys(item, files))))
        if events:
            told.append(wire.Progress(**self.which, events=tuple(events)))
        return told

    def ended(
        self, remote: Remote, output: Raw, files: Sequence[wire.StoredFile], *, runner: str, log_bytes: int
    ) -> wire.Finished:
        """Its last state, as a result."""
        status = remote.status
        assert status in ("succeeded", "failed", "canceled")
        self.finished = wire.Finished(
            **self.which,
            secret=self.errand.secret,
            status=status,
            output=output,
            files=tuple(files),
            error=(remote.error or "the provider gives no reason") if status == "failed" else None,
            logs=tail(remote.logs, log_bytes),
            metrics={**remote.metrics, "runner": Raw(_encode(runner))},
            started_at=remote.started_at or self._started_at,
        )
        return self.finished

    def cut_off(self, ended: wire.Finished, now: int) -> wire.Finished:
        """It was canceled there and nobody here has asked for that: its time was over, or somebody did it
        there."""
        if now - self.errand.dispatched_at >= self.errand.run_s * 1e6 - _EARLY:
            error = f"ran longer than its limit of {self.errand.run_s:g} s"
            ended = replace(ended, status="failed", error=error, error_code="run_timeout")
        else:
            ended = replace(ended, error="it was canceled at the provider")
        self.finished = ended
        return ended

    def failed(self, error: str, code: str | None = None, *, runner: str, logs: str = "") -> wire.Finished:
        """It came to nothing. Without a code it is the model's own failure."""
        self.finished = wire.Finished(
            **self.which,
            secret=self.errand.secret,
            status="failed",
            error=error,
            error_code=code,
            logs=logs,
            metrics={"runner": Raw(_encode(runner))},
            started_at=self._started_at,
        )
        return self.finished

    def withdrawn(self) -> wire.Finished:
        """It was canceled before the provider heard of it."""
        self.finished = wire.Finished(**self.which, secret=self.errand.secret, status="canceled")
        return self.finished

    def _event(self, kind: Any, value: Any, files: tuple[wire.StoredFile, ...]) -> wire.Event:
        self._seq += 1
        return wire.Event(seq=self._seq, kind=kind, data=Raw(_encode(value)), files=files)


def listed(output: Raw) -> list[Any]:
    """The items of an output that grows; none of one that does not."""
    value = msgspec.json.decode(output)
    return value if isinstance(value, list) else []


def tail(text: str, limit_bytes: int) -> str:
    """The log; over the limit its oldest part gives way to a mark."""
    data = text.encode()
    if len(data) <= limit_bytes:
        return text
    cut = len(data) - limit_bytes
    return f"[... {cut} bytes of the log were left out ...]\n" + data[cut:].decode("utf-8", "ignore")


def _grown(before: str, now: str) -> str:
    return now[len(before) :] if now.startswith(before) else ""


def _keys(item: Any, files: Mapping[str, wire.StoredFile]) -> list[str]:
    if not files:
        return []
    text = _encode(item).decode()
    return [key for key in files if wire.BLOB_REFERENCE + key in text]
