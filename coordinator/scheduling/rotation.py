"""Which flows on tokens' shelves could run, when nothing in memory can. Pure.

Memory may be full of what no worker can run now: pinned to a version that is not there, of tokens that run
as many as they may. Then all flows that wait on disk are gone through in rounds, a page of their texts at a
time, and those that fit are called into memory. A round that found nothing is not repeated until it could.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from coordinator.scheduling.flow import Flow, Gpu

PAGE = 500
"""Flows that are looked at with each read."""
CALLED = 32
"""Flows that are called at once."""

Kind = tuple[str, tuple[Gpu, ...]]
"""A version and GPUs: what workers that can do the same have in common."""
Owner = tuple[str, str]
"""Account and token."""


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """The texts of flows of which something waits are to be read: those above ``after``, in order, each once,
    at most ``limit``. Answered once."""

    after: str
    limit: int


class Rotation:
    """Rounds over all flows. ``held`` says of a token whether it runs as many as it may, ``here`` of a flow
    whether something of it is in memory: say so by ``put`` when nothing is any more."""

    def __init__(self, held: Callable[[Owner], bool], here: Callable[[Flow], bool]) -> None:
        self._held = held
        self._here = here
        self._after = ""
        self._began_at: str | None = None
        """Where the round that is under way began."""
        self._wrapped = False
        self._kinds: set[Kind] = set()
        """Those that it looks for something for."""
        self._search: Search | None = None
        self._grown = False
        """Something was put on a shelf, behind its back perhaps, that would fit."""
        self._vain: set[Kind] = set()
        """Those for which nothing is on any shelf,"""
        self._waits: set[Owner] = set()
        """but of these tokens when they may run more,"""
        self._fresh: dict[Flow, None] = {}
        """and of these flows, which were put there since."""
        self._found: dict[Flow, None] = {}

    # --- what happens -------------------------------------------------------------------------------------

    def hungry(self, kinds: set[Kind]) -> None:
        """Workers of these kinds have slots, and nothing in memory could be given to any."""
        for flow in [flow for flow in self._fresh if _fits(flow, kinds)]:
            del self._fresh[flow]
            self._consider(flow)
        if self._found:
            return
        if any(not self._held(owner) for owner in self._waits):
            self._waits.clear()
            self._vain.clear()
        if kinds <= self._vain or (self._began_at is not None and kinds <= self._kinds):
            return
        self._kinds |= kinds
        self._began_at, self._wrapped, self._grown = self._after, False, False

    def put(self, flow: Flow) -> None:
        """Something of it may be on its token's shelf, and nothing in memory."""
        if not _fits(flow, self._vain) and not _fits(flow, self._kinds):
            return
        if self._held(owner := (flow.account, flow.token)):
            self._waits.add(owner)
        elif len(self._fresh) < CALLED:
            self._fresh[flow] = None
        else:
            self._vain.clear()
            self._grown = True

    # --- what is to be done -------------------------------------------------------------------------------

    def take_found(self) -> list[Flow]:
        """Flows of which the heads should be in memory now."""
        found, self._found = list(self._found), {}
        return found

    def ask(self) -> Search | None:
        """The next page, when a round is under way."""
        if self._began_at is None or self._search is not None:
            return None
        self._search = Search(self._after, PAGE)
        return self._search

    def looked(self, search: Search, flows: Sequence[str]) -> None:
        """The answer."""
        if search is not self._search:
            return
        self._search = None
        for text in flows:
            if self._round_ends_before(text):
                self._end()
                return
            self._after = text
            if _fits(flow := Flow.of(text), self._kinds):
                self._consider(flow)
            if len(self._found) == CALLED:
                break
        else:
            if len(flows) < search.limit:
                self._wrap()
        if self._found:
            self._stop()

    def _consider(self, flow: Flow) -> None:
        if self._held(owner := (flow.account, flow.token)):
            self._waits.add(owner)
        elif not self._here(flow):
            self._found[flow] = None

    # --- rounds -------------------------------------------------------------------------------------------

    def _round_ends_before(self, text: str) -> bool:
        return self._wrapped and self._began_at is not None and text > self._began_at

    def _wrap(self) -> None:
        """There are no more flows: from the first one on, unless that is where it began."""
        self._after = ""
        if self._wrapped or not self._began_at:
            self._end()
        self._wrapped = True

    def _end(self) -> None:
        """It has seen everything."""
        if not self._found and not self._grown:
            self._vain |= self._kinds
        self._stop()

    def _stop(self) -> None:
        self._began_at = None
        self._kinds.clear()


def _fits(flow: Flow, kinds: Iterable[Kind]) -> bool:
    return any(flow.needs.met_by(version, gpus) for version, gpus in kinds)
