"""Who has had how much: accounts, their tokens, and the end users of those. Pure.

Start-time fair queueing: a share's time is the seconds that it was given, by its weight, and the lowest goes
first. A share that was idle begins where the others are, so that nobody saves up; but it stands before those
who are being served.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from coordinator.scheduling.flow import Flow, Terms
from coordinator.scheduling.ranking import Ranking

if TYPE_CHECKING:
    from coordinator.scheduling.lanes import Seat

DEBTORS = 10_000
"""Idle shares of one parent whose debt is remembered; beyond that the smallest debts are forgiven."""


class Share:
    """One account, token or end user. The root has the accounts as its children.

    ``limit`` is how many of its predictions may run at once; 0 is no limit.
    """

    __slots__ = (
        "_debtors",
        "_joined",
        "_number",
        "_numbered",
        "_picks",
        "_seated",
        "children",
        "clock",
        "contenders",
        "key",
        "limit",
        "lines",
        "parent",
        "running",
        "seats",
        "terms_of",
        "time",
        "waiting",
        "weight",
    )

    def __init__(self, key: str = "", parent: "Share | None" = None) -> None:
        self.key = key
        self.parent = parent
        self.weight = 1.0
        self.limit = 0
        self.terms_of = 0
        """Sequence of the prediction that the terms came with."""
        self.time = 0.0
        self.waiting = 0
        """On disk, too."""
        self.running = 0
        self.lines = 0
        """Lines in memory that go by it."""
        self.seats: list[Seat] = []
        """Its places in lanes: one for each in which anything of it waits."""
        self.children: dict[str, Share] = {}
        self.contenders: Ranking[Share] = Ranking()
        """The children that could be served now."""
        self.clock = 0.0
        """Time of the child that was served last, as it was before."""
        self._debtors: Ranking[Share] = Ranking()
        """Children that are idle, but have had more than the others."""
        self._picks = 0
        self._numbered = 0
        self._number = 0
        self._joined = 0
        self._seated = 0
        if parent is not None:
            parent._numbered += 1
            self._number = parent._numbered

    def child(self, key: str) -> "Share":
        found = self.children.get(key)
        if found is None:
            found = self.children[key] = Share(key, self)
        return found

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running or self.lines)

    @property
    def held(self) -> bool:
        """Set aside until one of its predictions ends."""
        return 0 < self.limit <= self.running

    @property
    def rank(self) -> tuple[Any, ...]:
        """Lowest time first. Of equals those that joined before the last pick, then the smaller backlog."""
        return (self.time, self._joined, self.waiting.bit_length(), self._number)

    # --- taking part --------------------------------------------------------------------------------------

    def sat_down(self) -> None:
        """One more of its seats takes part."""
        self._seated += 1
        if self._seated == 1 and (parent := self.parent) is not None:
            self.time = max(self.time, parent.start())
            self._joined = parent._picks
            parent.contenders.set(self, self.rank)

    def stood_up(self) -> None:
        self._seated -= 1
        if self._seated == 0 and self.parent is not None:
            self.parent.contenders.remove(self)

    def start(self) -> float:
        """Where a child begins that was idle."""
        lowest = self.contenders.first()
        return self.clock if lowest is None else min(self.clock, lowest.time)

    # --- what changes -------------------------------------------------------------------------------------

    def wait(self, change: int) -> None:
        """More, or fewer, of its predictions wait."""
        before = self.waiting.bit_length()
        self.waiting += change
        self._busy()
        if self.waiting.bit_length() != before:
            self.moved()

    def charge(self, seconds: float) -> None:
        """One of its predictions begins. Say that it ``moved`` once it waits no longer."""
        if (parent := self.parent) is not None:
            if not self._seated:
                self.time = max(self.time, parent.start())
            parent.clock = self.time
            parent._picks += 1
        self.running += 1
        self._busy()
        self.time += seconds / self.weight

    def settle(self, seconds: float) -> None:
        """One of its predictions has ended and took that many more, or less, than it was charged for."""
        self.running -= 1
        self.time += seconds / self.weight
        self.moved()

    def moved(self) -> None:
        """Its rank has changed, or whether it is held."""
        if not self.seats:
            return
        if self._seated and self.parent is not None:
            self.parent.contenders.set(self, self.rank)
        for seat in tuple(self.seats):
            seat.update()

    def _busy(self) -> None:
        if self.parent is not None:
            self.parent._debtors.remove(self)

    def forget(self) -> None:
        """If nothing of it waits or runs, it is as good as new, unless it has had more than its share."""
        parent = self.parent
        if self.busy:
            return
        self.children.clear()
        self._debtors, self.clock = Ranking(), 0.0
        if parent is None:
            return
        if parent.busy:
            parent._debtors.set(self, (self.time, self._number))
            parent._forgive()
        else:
            parent.forget()

    def _forgive(self) -> None:
        start = self.start()
        while (least := self._debtors.first()) is not None:
            if least.time > start and len(self._debtors) <= DEBTORS:
                return
            self._debtors.remove(least)
            del self.children[least.key]


class Owners:
    """All shares, and what predictions that wait and run do to them."""

    def __init__(self) -> None:
        self.root = Share()

    def upper(self, account: str, token: str) -> tuple[Share, Share]:
        above = self.root.child(account)
        return above, above.child(token)

    def path(self, flow: Flow) -> tuple[Share, Share, Share]:
        """The account, the token and the end user."""
        account, token = self.upper(flow.account, flow.token)
        return account, token, token.child(flow.user)

    def wait(self, path: Sequence[Share], change: int) -> None:
        """More, or fewer, of them wait."""
        self.root.wait(change)
        for share in path:
            share.wait(change)

    def charge(self, path: Sequence[Share], seconds: float) -> None:
        """One begins. Say that they ``moved`` once it waits no longer."""
        self.root.charge(seconds)
        for share in path:
            share.charge(seconds)

    def settle(self, path: Sequence[Share], seconds: float) -> None:
        """One has ended and took that many more, or less, than was charged."""
        self.root.settle(seconds)
        for share in path:
            share.settle(seconds)

    @staticmethod
    def agree(account: Share, token: Share, terms: Terms, sequence: int) -> None:
        """The newest prediction's terms hold."""
        if sequence >= account.terms_of:
            account.terms_of, account.weight = sequence, terms.account_share
        if sequence >= token.terms_of:
            token.terms_of, token.weight = sequence, terms.token_share
            if token.limit != terms.max_running:
                token.limit = terms.max_running
                token.moved()
