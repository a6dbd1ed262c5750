"""Receivers of webhooks in a storm, each of another kind, and what must hold of all that they are sent."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from coordinator.actor.clock import Clock, sleep
from coordinator.errors import Unavailable
from coordinator.letters import EVENTS, Try
from coordinator.prediction import Document, Status
from coordinator.store.index import Index

if TYPE_CHECKING:
    from tests.support.storm_crowd import Crowd

HOSTS = ("good", "bad", "slow", "slower")
"""``bad`` answers 500 as often as not, the slow ones take time and may answer 500, too."""
SLOW_S = {"good": (0.0, 0.0), "bad": (0.0, 0.0), "slow": (0.1, 3.0), "slower": (5.0, 30.0)}


class Body(msgspec.Struct):
    id: str
    status: Status
    n: int
    """Each rendering has a number of its own, so that no two are the same."""


class StormMail:
    """Stands for all receivers. It is asked in the middle of a turn's effects, where an exception would only
    cost the instance its life: what did not hold is in ``faults``."""

    def __init__(self, crowd: "Crowd", clock: Clock, index: Callable[[], Index], seed: int) -> None:
        self.faults: list[str] = []
        self.well = False
        """All of them answer 200 at once."""
        self.delivered: set[str] = set()
        """The predictions of whose end a receiver has heard, and answered 200."""
        self.renewed: set[str] = set()
        """Those that were to be redelivered since their end was sent last: it may have other bytes."""
        self.on_its_way = 0
        self._crowd = crowd
        self._clock = clock
        self._index = index
        self._chance = random.Random(seed)
        self._renderings = 0
        self._ends: dict[str, tuple[str, bytes]] = {}
        self._busy: set[str] = set()
        self._shown: dict[str, int] = {}

    def forget(self) -> None:
        """Another server goes on, that knows less: it may render again what this one has sent."""
        self._ends.clear()
        self._shown.clear()

    async def render(self, dialect: str, document: Document) -> bytes:
        if not self.well and self._chance.random() < 0.05:
            raise Unavailable("the versions cannot be read now")
        self._renderings += 1
        return msgspec.json.encode(Body(document.id, document.status, self._renderings))

    async def send(self, account: str, url: str, message: str, body: bytes) -> Try:
        shown = msgspec.json.decode(body, type=Body)
        host = url.split("/")[2].removesuffix(".test")
        at = self._clock.now()
        self._crowd.story.append(f"{host} hears {shown} as {message}")
        if shown.id in self._busy:
            self.faults.append(f"two requests of {shown.id} are on their way")
        self._busy.add(shown.id)
        self.on_its_way += 1
        try:
            if shown.status.terminal:
                await self._end_comes(shown, account, message, body)
            else:
                self._progress_comes(shown)
            if not self.well and SLOW_S[host][1]:
                await sleep(self._clock, self._chance.uniform(*SLOW_S[host]))
            status = 500 if not self.well and host != "good" and self._chance.random() < 0.5 else 200
            if shown.status.terminal and status == 200:
                self.delivered.add(shown.id)
        finally:
            self._busy.discard(shown.id)
            self.on_its_way -= 1
        return Try(at=at, status=status, error="" if status == 200 else f"the answer was {status}")

    async def _end_comes(self, shown: Body, account: str, message: str, body: bytes) -> None:
        id = shown.id
        before = self._ends.get(id)
        if before is not None and before[0] != message:
            self.faults.append(f"the end of {id} came as {before[0]}, and as {message}")
        if before is not None and before[1] != body and id not in self.renewed:
            self.faults.append(f"the end of {id} was {before[1]!r}, and is {body!r}")
        self.renewed.discard(id)
        self._ends[id] = message, body
        indexed = await self._index().get(id, account)
        if indexed is None or indexed.status is not shown.status:
            self.faults.append(f"{shown} was sent, the index has {indexed and indexed.status}")

    def _progress_comes(self, shown: Body) -> None:
        if shown.id in self._ends:
            self.faults.append(f"{shown} comes after the end")
        if shown.n <= self._shown.get(shown.id, 0):
            self.faults.append(f"{shown} comes after number {self._shown[shown.id]}")
        self._shown[shown.id] = shown.n


def webhook(chance: random.Random) -> dict[str, object]:
    """What a prediction says of webhooks."""
    if chance.random() < 0.5:
        return {}
    events = tuple(event for event in EVENTS if chance.random() < 0.7) or EVENTS
    return {"webhook": f"http://{chance.choice(HOSTS)}.test/{chance.randrange(3)}", "webhook_events": events}


def told_of_end(document: Document) -> bool:
    """Whether a receiver must hear of its end."""
    return bool(document.webhook) and "completed" in document.webhook_events
