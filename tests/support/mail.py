"""Where webhooks go to in tests of coordinators: each try is kept, and answered when and as a test says."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from coordinator.actor.clock import Clock
from coordinator.letters import Try
from coordinator.prediction import Document


@dataclass
class Sent:
    url: str
    message: str
    body: bytes
    at: int
    answer: "asyncio.Future[int]"

    @property
    def status(self) -> str:
        """What the body says of the prediction's state."""
        return str(msgspec.json.decode(self.body)["status"])


class Mail:
    """``answer`` gives the status by host; None leaves a request unanswered until the test does it."""

    def __init__(self, clock: Clock) -> None:
        self.sent: list[Sent] = []
        self.answer: Callable[[str], int | None] = lambda host: 200
        self.renders = 0
        self._clock = clock

    async def render(self, dialect: str, document: Document) -> bytes:
        self.renders += 1
        shown = {"id": document.id, "status": document.status.value, "logs": document.logs, "n": self.renders}
        return msgspec.json.encode(shown)

    async def send(self, account: str, url: str, message: str, body: bytes) -> Try:
        sent = Sent(url, message, body, self._clock.now(), asyncio.get_running_loop().create_future())
        self.sent.append(sent)
        status = self.answer(urlsplit(url).hostname or "")
        if status is None:
            status = await sent.answer
        error = "" if status == 200 else f"the answer was {status}"
        return Try(at=sent.at, status=status, error=error)

    def of(self, id: str) -> list[Sent]:
        return [sent for sent in self.sent if msgspec.json.decode(sent.body)["id"] == id]
