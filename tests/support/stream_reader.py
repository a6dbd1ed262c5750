"""A patient reader of an event stream: reads in the background, and comes back with its last id when cut."""

import threading
from collections.abc import Mapping

import httpx

from tests.support import sse
from tests.support.commands import until
from tests.support.threads import start_deaf


class StreamReader:
    """``cuts`` are the endings without ``done`` so far, as the last comment or the error said them."""

    def __init__(self, url: str, last_id: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.events: list[sse.Event] = []
        self.cuts: list[str] = []
        self._url = url
        self._last_id = last_id
        self._headers = dict(headers or {})
        self._away = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        start_deaf(self._thread)

    @property
    def outputs(self) -> list[str]:
        return [one.data for one in self.events if one.event == "output"]

    def hears(self, outputs: int) -> None:
        until(lambda: len(self.outputs) >= outputs, f"{outputs} outputs are heard, not {self.events}")

    def end(self) -> list[sse.Event]:
        """All events, ``done`` included."""
        try:
            until(lambda: not self._thread.is_alive(), f"the stream ends after {self.events}, {self.cuts}")
        finally:
            self._away.set()
        assert self.events[-1].event == "done"
        return self.events

    def leave(self) -> None:
        self._away.set()

    def _run(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self._away.is_set() and not (self.events and self.events[-1].event == "done"):
                before = len(self.cuts)
                try:
                    self._read(client)
                except httpx.TransportError as error:
                    self.cuts.append(type(error).__name__)
                if len(self.cuts) > before:
                    self._away.wait(0.02)

    def _read(self, client: httpx.Client) -> None:
        headers = self._headers | ({"Last-Event-ID": self._last_id} if self._last_id else {})
        body, had = b"", list(self.events)
        with client.stream("GET", self._url, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            for chunk in answer.iter_raw():
                body += chunk
                found = sse.parse(body)[0]
                if found:
                    self._last_id = found[-1].id
                self.events = had + found
        if not (self.events and self.events[-1].event == "done"):
            self.cuts.append(body.decode().rstrip("\n").rpartition("\n")[2])
