"""Which sessions have a slot to give, known without going through all of them.

Sessions of one kind, which are of the same version with the same GPUs, can do the same: of each kind only the
best one is offered. Workers that get no work as others do (``workers.py``) are set aside when they come up.
"""

from coordinator.book import Session
from coordinator.scheduling.flow import Gpu
from coordinator.scheduling.ranking import Ranking
from coordinator.workers import Workers

Kind = tuple[str, tuple[Gpu, ...]]


class Offers:
    """Of one coordinator. Tell of each change of a session by ``update``."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._kinds: dict[Kind, Ranking[Session]] = {}
        self._aside: dict[Session, None] = {}
        self._judged = 0
        """How often standings had changed when those aside were looked at."""

    def update(self, session: Session) -> None:
        """It came, or its slots have changed, or what it is doing."""
        if session.elsewhere:
            return
        if session.free <= 0:
            self.remove(session)
            return
        self._aside.pop(session, None)
        kind = (session.version, session.gpus)
        ranking = self._kinds.get(kind)
        if ranking is None:
            ranking = self._kinds[kind] = Ranking()
        ranking.set(session, (not session.warm, -session.free))

    def remove(self, session: Session) -> None:
        """It is gone, or has nothing to give."""
        self._aside.pop(session, None)
        kind = (session.version, session.gpus)
        ranking = self._kinds.get(kind)
        if ranking is not None:
            ranking.remove(session)
            if not ranking:
                del self._kinds[kind]

    def best(self) -> list[Session]:
        """Of each kind the one to be taken first: a warm one, of these one with most free slots."""
        self._judge()
        return [first for ranking in list(self._kinds.values()) if (first := self._first(ranking))]

    def aside(self) -> list[Session]:
        """Those with a slot that get no work as others do. One that has an equal among the best may not be
        here, for whatever waits can be had by that one."""
        self.best()
        return list(self._aside)

    def all(self) -> list[Session]:
        """Everyone who is to get work. Goes through all of them."""
        self._judge()
        takes_work = self._workers.takes_work
        return [s for ranking in self._kinds.values() for s in ranking.ranks if takes_work(s.agent)]

    def _judge(self) -> None:
        if self._judged != self._workers.changes:
            self._judged = self._workers.changes
            for session in list(self._aside):
                self.update(session)

    def _first(self, ranking: Ranking[Session]) -> Session | None:
        while (first := ranking.first()) is not None and not self._workers.takes_work(first.agent):
            self.remove(first)
            self._aside[first] = None
        return first
