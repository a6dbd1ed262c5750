"""Those waiting predictions that may run at a provider, in groups that are judged together. Pure."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from coordinator.overflow.policy import When
from coordinator.scheduling.flow import Needs
from coordinator.scheduling.ranking import Ranking


class Group(NamedTuple):
    """What decides whether they may go."""

    when: When
    needs: Needs


class Candidates:
    """Only those in memory. ``add`` and ``remove`` may be said again."""

    def __init__(self) -> None:
        self._groups: dict[Group, dict[str, Ranking[str]]] = {}
        self._places: dict[str, tuple[Group, str]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self._groups))

    def add(self, prediction: str, token: str, group: Group, rank: tuple[Any, ...]) -> None:
        """Of one group and token the one with the lowest rank goes first."""
        if prediction in self._places:
            return
        self._places[prediction] = group, token
        tokens = self._groups.setdefault(group, {})
        if (ranking := tokens.get(token)) is None:
            ranking = tokens[token] = Ranking()
        ranking.set(prediction, rank)

    def remove(self, prediction: str) -> None:
        place = self._places.pop(prediction, None)
        if place is None:
            return
        group, token = place
        tokens = self._groups[group]
        tokens[token].remove(prediction)
        if not tokens[token]:
            del tokens[token]
        if not tokens:
            del self._groups[group]

    def first(self, group: Group, may: Callable[[str], bool]) -> tuple[str, tuple[Any, ...]] | None:
        """The first of all that are the first of their token and may, and its rank."""
        firsts = [
            (ranking.ranks[first], first)
            for ranking in self._groups.get(group, {}).values()
            if (first := ranking.first()) is not None and may(first)
        ]
        if not firsts:
            return None
        rank, prediction = min(firsts)
        return prediction, rank
