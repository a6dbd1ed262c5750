"""Who runs next, and where. Pure: time and offers come in as arguments.

Order: the most urgent class goes first, where the head of a line gains a class for each ``ageing_s`` that it
waits; of one class the account that has had least of its share, then likewise of its tokens and of their end
users; in a line as it came. What goes back keeps its sequence, and so stands at the head. Needs that no offer
meets hold up nobody, nor does a token that runs as many as it may.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from coordinator.scheduling.flow import Flow, Needs, Offer, Terms, Waiting
from coordinator.scheduling.lanes import Seat
from coordinator.scheduling.line import Line
from coordinator.scheduling.shares import Share

OfferT = TypeVar("OfferT", bound=Offer)

CLASSES = 3
_SLACK = 64
"""The heap of ageing is rebuilt once more than half of it, and this many, are out of date."""


class Queue:
    """What waits for one model."""

    def __init__(self, *, ageing_s: float) -> None:
        self._ageing = round(ageing_s * 1e6)
        self._now = 0
        self._waiting: dict[str, Waiting] = {}
        self._lines: dict[Flow, Line] = {}
        self._root = Share()
        self._lanes: tuple[dict[Needs, Seat], ...] = tuple({} for _ in range(CLASSES))
        self._needs: defaultdict[str, dict[Needs, dict[Line, None]]] = defaultdict(dict)
        """Version -> needs of it -> the lines that have them."""
        self._met: set[Needs] = set()
        """Those that something could serve once: only they take part in the shares."""
        self._older: list[tuple[int, int, Line]] = []
        """When which line gains a class."""
        self._aged = 0
        self.input_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, prediction: str) -> bool:
        return prediction in self._waiting

    # --- what waits ---------------------------------------------------------------------------------------

    def add(self, waiting: Waiting) -> None:
        """Let it wait, at the place that its sequence gives it."""
        if waiting.id in self._waiting:
            raise ValueError(f"{waiting.id} waits already")
        self._waiting[waiting.id] = waiting
        self.input_bytes += waiting.input_bytes
        line = self._lines.get(waiting.flow) or self._open(waiting.flow)
        for share in (self._root, *line.path):
            share.wait(1)
        self._agree(line.path, waiting.terms, waiting.sequence)
        line.add(waiting)
        self._place(line)

    def discard(self, prediction: str) -> None:
        """Take out; nothing happens when it is not there."""
        waiting = self._waiting.pop(prediction, None)
        if waiting is None:
            return
        self.input_bytes -= waiting.input_bytes
        line = self._lines[waiting.flow]
        line.discard(waiting)
        for share in (self._root, *line.path):
            share.wait(-1)
        if line:
            self._place(line)
        else:
            self._close(line)
        line.path[-1].forget()

    def began(self, waiting: Waiting) -> None:
        """It has been given to an agent, or was found running: its owners are charged what it will cost, and
        it waits no longer."""
        path = self._path(waiting.flow)
        for share in (self._root, *path):
            share.charge(waiting.cost_s)
        self._agree(path, waiting.terms, waiting.sequence)
        self.discard(waiting.id)

    def ended(self, flow: Flow, cost_s: float, actual_s: float) -> None:
        """What began runs no longer and took so long; 0 when it goes back and will be charged again."""
        path = self._path(flow)
        for share in (self._root, *path):
            share.settle(actual_s - cost_s)
        path[-1].forget()

    def _path(self, flow: Flow) -> tuple[Share, Share, Share]:
        account = self._root.child(flow.account)
        token = account.child(flow.token)
        return account, token, token.child(flow.user)

    @staticmethod
    def _agree(path: Sequence[Share], terms: Terms, sequence: int) -> None:
        account, token, _ = path
        if sequence >= account.terms_of:
            account.terms_of, account.weight = sequence, terms.account_share
        if sequence >= token.terms_of:
            token.terms_of, token.weight = sequence, terms.token_share
            if token.limit != terms.max_running:
                token.limit = terms.max_running
                token.moved()

    # --- lines and lanes ----------------------------------------------------------------------------------

    def _open(self, flow: Flow) -> Line:
        line = self._lines[flow] = Line(flow, self._path(flow))
        self._needs[flow.needs.version].setdefault(flow.needs, {})[line] = None
        return line

    def _close(self, line: Line) -> None:
        self._move(line, None)
        needs = line.flow.needs
        del self._lines[line.flow]
        del self._needs[needs.version][needs][line]
        if not self._needs[needs.version][needs]:
            del self._needs[needs.version][needs]
            self._met.discard(needs)
        if not self._needs[needs.version]:
            del self._needs[needs.version]

    def _place(self, line: Line) -> None:
        """After its head may have changed: the lane that it belongs to by now."""
        if line.flow.needs not in self._met:
            return
        head = line.head
        age = max(0, self._now - head.since) // self._ageing
        self._move(line, max(0, line.flow.urgency - age))
        ages_at = head.since + (age + 1) * self._ageing
        if line.lane and line.ages_at != ages_at:
            line.ages_at = ages_at
            self._aged += 1
            heapq.heappush(self._older, (ages_at, self._aged, line))
            if len(self._older) > 2 * len(self._lines) + _SLACK:
                self._older = [item for item in self._older if self._ages(*item)]
                heapq.heapify(self._older)

    def _move(self, line: Line, lane: int | None) -> None:
        """Into the new lane first: who only changes lanes has not been idle."""
        old, line.lane = line.lane, lane
        needs = line.flow.needs
        if lane is not None:
            seat = self._lanes[lane].get(needs)
            if seat is None:
                seat = self._lanes[lane][needs] = Seat(self._root)
            seat.join(line)
        if old is not None and old != lane:
            seat = self._lanes[old][needs]
            seat.leave(line)
            if seat.empty:
                del self._lanes[old][needs]

    def _ages(self, at: int, _: int, line: Line) -> bool:
        return bool(line.lane) and line.ages_at == at

    def _grow_older(self, now: int) -> None:
        self._now = max(self._now, now)
        while self._older and self._older[0][0] <= self._now:
            item = heapq.heappop(self._older)
            if self._ages(*item):
                self._place(item[2])

    # --- who is next --------------------------------------------------------------------------------------

    def pick(self, offers: Iterable[OfferT], now: int) -> tuple[Waiting, OfferT] | None:
        """The next that any offer can serve, and the best offer for it. It goes on waiting until it is said
        to have begun."""
        self._grow_older(now)
        offers = list(offers)
        servable = [needs for needs in self._wanted(offers) if _any_meets(needs, offers)]
        for needs in servable:
            if needs not in self._met:
                self._meet(needs)
        for lanes in self._lanes:
            best: tuple[tuple[Any, ...], Line] | None = None
            for needs in servable:
                found = lanes[needs].first() if needs in lanes else None
                if found is not None and (best is None or found[0] < best[0]):
                    best = found
            if best is not None:
                waiting = best[1].head
                return waiting, _best(waiting, offers)
        return None

    def _wanted(self, offers: Sequence[Offer]) -> list[Needs]:
        """What waiting ones need, as far as the version goes."""
        versions = {"", *(offer.version for offer in offers)}
        return [needs for version in versions for needs in self._needs.get(version, ())]

    def _meet(self, needs: Needs) -> None:
        """The first worker that will do: who waited for it, the smallest backlog first."""
        self._met.add(needs)
        for line in sorted(self._needs[needs.version][needs], key=lambda line: line.head.sequence):
            self._place(line)


def _any_meets(needs: Needs, offers: Iterable[Offer]) -> bool:
    return any(needs.met_by(offer.version, offer.gpus) for offer in offers)


def _best(waiting: Waiting, offers: Iterable[OfferT]) -> OfferT:
    """Not an agent that lost it, if another offers; then a warm one; then the one with most free slots."""
    fit = [offer for offer in offers if waiting.flow.needs.met_by(offer.version, offer.gpus)]
    return min(fit, key=lambda offer: (offer.agent in waiting.avoid, not offer.warm, -offer.free))
