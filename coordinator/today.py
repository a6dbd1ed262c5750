"""What tokens and accounts have had today (UTC), and what is ahead of them: in memory, for limits. Pure.

What has ended is told by the index, after each of its transactions. What is created is counted at once, by
``take``, and not again when the index has it. Until it ends it is ahead: it will take what those of its model
take on the average. A restart forgets what is ahead, not what was counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import msgspec

from coordinator.metering import Amounts, day_of


class Owner(NamedTuple):
    """Whose limits they are."""

    kind: Literal["token", "account"]
    name: str
    """The token's id, or the account's name."""


class Expected(NamedTuple):
    """What is ahead: run time, and money."""

    run_s: float
    money: float


class _Ahead(msgspec.Struct, gc=False):
    account: str
    token: str
    model: str
    day: int
    """When it was taken."""
    indexed: bool = False
    """The index has it, so that it is there for sure."""


_NOTHING = Amounts()


class Today:
    """``now`` gives microseconds since the epoch. Written and read by the event loop alone."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._day = day_of(now())
        self._used: dict[Owner, Amounts] = {}
        self._ahead: dict[str, _Ahead] = {}
        self._open: dict[Owner, Counter[str]] = {}
        """How many are ahead, by model."""
        self._models: dict[str, Amounts] = {}

    @property
    def day(self) -> int:
        """Days since the epoch."""
        self._pass_midnight()
        return self._day

    def used(self, owner: Owner) -> Amounts:
        """What it has had. Not to be changed."""
        self._pass_midnight()
        return self._used.get(owner, _NOTHING)

    def expected(self, owner: Owner) -> Expected:
        """What is ahead of it; nothing for models of which none has ended yet."""
        run_s = money = 0.0
        for model, count in self._open.get(owner, {}).items():
            known = self._models.get(model)
            if known is not None and known.ended:
                run_s += count * known.run_s / known.ended
                money += count * known.money / known.ended
        return Expected(run_s, money)

    # --- what is created ----------------------------------------------------------------------------------

    def take(self, id: str, account: str, token: str, model: str) -> bool:
        """It is about to be created; False when it was about to be already."""
        day = self.day
        if id in self._ahead:
            return False
        self._ahead[id] = _Ahead(account, token, model, day)
        for owner in _owners(account, token):
            self._sums(owner).created += 1
            self._open.setdefault(owner, Counter())[model] += 1
        return True

    def give_back(self, id: str) -> None:
        """It was taken, and has not been created."""
        known = self._ahead.get(id)
        if known is None or known.indexed:
            return
        if known.day == self.day:
            self._count_once(known)
        self._leave(id)

    # --- what the index says ------------------------------------------------------------------------------

    def count(self, day: int, account: str, token: str, amounts: Amounts) -> None:
        if day == self.day:
            for owner in _owners(account, token):
                self._sums(owner).add(amounts)

    def indexed(self, created: Iterable[str], ended: Iterable[str]) -> None:
        """These are what was counted."""
        day = self.day
        for id in created:
            known = self._ahead.get(id)
            if known is not None and not known.indexed:
                known.indexed = True
                if known.day == day:
                    self._count_once(known)
        for id in ended:
            self._leave(id)

    def learn(self, model: str, amounts: Amounts) -> None:
        """What predictions of the model came to."""
        if amounts.ended:
            self._models.setdefault(model, Amounts()).add(amounts)

    # --- within -------------------------------------------------------------------------------------------

    def _pass_midnight(self) -> None:
        day = day_of(self._now())
        if day != self._day:
            self._day = day
            self._used.clear()
            for id in [id for id, each in self._ahead.items() if not each.indexed]:
                self._leave(id)  # whether it was ever created is not known

    def _sums(self, owner: Owner) -> Amounts:
        return self._used.setdefault(owner, Amounts())

    def _count_once(self, known: _Ahead) -> None:
        for owner in _owners(known.account, known.token):
            self._sums(owner).created -= 1

    def _leave(self, id: str) -> None:
        known = self._ahead.pop(id, None)
        if known is None:
            return
        for owner in _owners(known.account, known.token):
            models = self._open[owner]
            models[known.model] -= 1
            if not models[known.model]:
                del models[known.model]
            if not models:
                del self._open[owner]


def _owners(account: str, token: str) -> tuple[Owner, Owner]:
    return Owner("token", token), Owner("account", account)
