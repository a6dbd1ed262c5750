"""Who runs next, and where. Pure: time and offers come in as arguments.

Order: the most urgent class goes first, where the head of a line gains a class for each ``ageing_s`` that it
waits; of one class the account that has had least of its share, then likewise of its tokens and of their end
users; in a line as it came. What goes back keeps its sequence, and so stands at the head. Needs that no offer
meets hold up nobody, nor does a token that runs as many as it may.

Memory holds a window of what waits. Whoever keeps the queue on disk asks after each change what left memory
(``take_evicted``) and what is to be read (``wants``), and hands over what was read (``refilled``).
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from coordinator.scheduling.census import Census, Place
from coordinator.scheduling.flow import Flow, Offer, Waiting
from coordinator.scheduling.line import Line
from coordinator.scheduling.order import Order
from coordinator.scheduling.rotation import Search
from coordinator.scheduling.shares import Owners
from coordinator.scheduling.shelf import Want
from coordinator.scheduling.window import ALL_BYTES, Window

OfferT = TypeVar("OfferT", bound=Offer)

_CENSUS = 1_000_000
"""Microseconds after which those who wait are counted anew, when someone asks for places."""


class Queue:
    """What waits for one model. ``len`` and ``input_bytes`` count all of it, ``in`` asks for memory."""

    def __init__(self, *, ageing_s: float, window: int, window_bytes: int = ALL_BYTES) -> None:
        self._owners = Owners()
        self._order = Order(self._owners.root, ageing_s)
        self._window = Window(window, window_bytes, self._owners, self._order)
        self._census: Census | None = None
        self._census_at = 0

    def __len__(self) -> int:
        return len(self._window.waiting) + self._window.on_disk

    def __contains__(self, prediction: str) -> bool:
        return prediction in self._window.waiting

    @property
    def in_memory(self) -> int:
        return len(self._window.waiting)

    @property
    def on_disk(self) -> int:
        return self._window.on_disk

    @property
    def bytes_in_memory(self) -> int:
        return self._window.held_bytes

    @property
    def input_bytes(self) -> int:
        return self._window.input_bytes

    @property
    def lines(self) -> Iterable[Line]:
        """Those that are in memory, for who counts them between two turns."""
        return self._window.lines.values()

    # --- what waits ---------------------------------------------------------------------------------------

    def add(self, waiting: Waiting) -> None:
        """Let it wait, at the place that its sequence gives it: in memory, or evicted at once."""
        if waiting.id in self._window.waiting:
            raise ValueError(f"{waiting.id} waits already")
        self._window.add(waiting)

    def discard(self, prediction: str) -> None:
        """Take it out of memory for good; nothing happens when it is not there."""
        waiting = self._window.waiting.get(prediction)
        if waiting is not None:
            self._window.discard(waiting)

    def began(self, waiting: Waiting) -> None:
        """It has been given to an agent, or was found running: its owners are charged what it will cost, and
        it is out of memory for good."""
        path = self._owners.path(waiting.flow)
        self._owners.charge(path, waiting.cost_s)
        self._owners.agree(*path[:2], waiting.terms, waiting.sequence)
        self.discard(waiting.id)
        for share in path:
            share.moved()

    def ended(self, flow: Flow, cost_s: float, actual_s: float) -> None:
        """What began runs no longer and took so long; 0 when it goes back and will be charged again."""
        path = self._owners.path(flow)
        self._owners.settle(path, actual_s - cost_s)
        path[-1].forget()

    def pick(self, offers: Iterable[OfferT], now: int) -> tuple[Waiting, OfferT] | None:
        """The next that any offer can serve, and the best offer for it. It goes on waiting until it is said
        to have begun."""
        self._order.grow_older(now)
        offers = list(offers)
        line = self._order.first(offers)
        if line is None:
            self._window.hungry(offers)
            return None
        return line.head, _best(line.head, offers)

    def at_once(self, waiting: Waiting, offers: Iterable[OfferT]) -> OfferT | None:
        """The best offer for one that has just come and stands behind nobody, so that it need not wait; None
        when it must. Say that it began, or add it."""
        if len(self):
            return None
        account, token, _ = path = self._owners.path(waiting.flow)
        self._owners.agree(account, token, waiting.terms, waiting.sequence)
        offers = [offer for offer in offers if waiting.flow.needs.met_by(offer.version, offer.gpus)]
        if offers and not token.held:
            return _best(waiting, offers)
        path[-1].forget()
        return None

    def held(self, waiting: Waiting) -> bool:
        """Whether its token runs as many as it may."""
        _, token, user = self._owners.path(waiting.flow)
        user.forget()
        return token.held

    def place(self, waiting: Waiting, now: int) -> Place:
        """Where one that waits stands, wherever it is kept. The count of the others may be a second old."""
        if self._census is None or not 0 <= now - self._census_at < _CENSUS:
            self._census, self._census_at = Census(self._window.lines.values()), now
        line, before = self._window.before(waiting)
        place = self._census.place(line, before, waiting.cost_s)
        line.path[-1].forget()
        return place

    # --- what is on disk only -----------------------------------------------------------------------------

    def restore(self, flow: Flow, count: int, input_bytes: int, first_sequence: int) -> None:
        """At a load: so many of this flow wait on disk, the first of them at this place."""
        self._window.restore(flow, count, input_bytes, first_sequence)

    def left_disk(self, waiting: Waiting) -> None:
        """One that was not in memory has been taken out of the queue; of it only id, flow, sequence and size
        matter."""
        self._window.left_disk(waiting)

    @property
    def shelved(self) -> bool:
        """Whether there may be something to ask of ``take_evicted`` or ``wants``."""
        return self._window.shelved

    def take_evicted(self) -> list[str]:
        """The ids that have left memory since they were asked for last, and wait on disk. What was read just
        now may be among them."""
        evicted, self._window.evicted = self._window.evicted, []
        return evicted

    def wants(self) -> list[Want | Search]:
        """What to read now, of rows that wait; each is asked for once, and answered by ``refilled``, or by
        ``looked``."""
        return list(self._window.wants())

    def looked(self, search: Search, flows: Sequence[str]) -> None:
        """The texts of flows that were read."""
        self._window.looked(search, flows)

    def refilled(self, want: Want, waitings: Sequence[Waiting], *, exhausted: bool, through: int = 0) -> None:
        """What was read, in order of sequence; ``exhausted`` when there were fewer than its limit. The last
        sequence that was read is ``through``, when what is in memory anyway was left out."""
        self._window.refilled(want, waitings, exhausted=exhausted, through=through)


def _best(waiting: Waiting, offers: Iterable[OfferT]) -> OfferT:
    """Not an agent that lost it, if another offers; then a warm one; then the one with most free slots."""
    fit = [offer for offer in offers if waiting.flow.needs.met_by(offer.version, offer.gpus)]
    return min(fit, key=lambda offer: (offer.agent in waiting.avoid, not offer.warm, -offer.free))
