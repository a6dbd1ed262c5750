"""How long predictions run, from how long they ran, and so how long one waits. Pure.

The best match that has ``ENOUGH`` runs says what a prediction will cost: those of the same end user and
version, of the same token and version, of the version, of the model.
"""

import heapq
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

ENOUGH = 3
KEPT = 256
"""Runs that are remembered of a model, and written down."""
_OF_EACH = 32
"""Runs that one match looks at."""
_MATCHES = 2048
"""Matches that are remembered: of those not seen for longest nothing is known any more."""
_STEPS = 256
"""Up to so many before it, slots are gone through one by one."""
_P90 = 1.2816
"""Standard deviations above the mean that nine of ten stay below."""

Run = tuple[str, str, str, float]
"""Version, token, end user, seconds."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Run]).decode


class _Recent:
    """The last run times, and the same in order of length."""

    __slots__ = ("_by_age", "_by_length", "_kept")

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._by_age: deque[float] = deque()
        self._by_length: list[float] = []

    def __len__(self) -> int:
        return len(self._by_age)

    def add(self, seconds: float) -> None:
        if len(self._by_age) == self._kept:
            del self._by_length[bisect_left(self._by_length, self._by_age.popleft())]
        self._by_age.append(seconds)
        insort(self._by_length, seconds)

    def quantile(self, part: float) -> float:
        return self._by_length[min(len(self) - 1, int(part * len(self)))]

    def spread(self) -> "Spread":
        mean = sum(self._by_age) / len(self)
        variance = sum((seconds - mean) ** 2 for seconds in self._by_age) / len(self)
        return Spread(mean, variance**0.5, self.quantile(0.5), self.quantile(0.9))


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds."""

    mean: float
    deviation: float
    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds until it begins: as likely as not, and in nine of ten cases."""

    p50: float
    p90: float


class Forecast:
    """The run times of one model."""

    def __init__(self) -> None:
        self._runs: deque[Run] = deque(maxlen=KEPT)
        self._all = _Recent(KEPT)
        self._matches: OrderedDict[tuple[str, ...], _Recent] = OrderedDict()

    def record(self, version: str, token: str, user: str, seconds: float) -> None:
        """One ran to its end."""
        seconds = max(0.0, seconds)
        self._runs.append((version, token, user, seconds))
        self._all.add(seconds)
        for match in _kept(version, token, user):
            recent = self._matches.get(match)
            if recent is None:
                recent = self._matches[match] = _Recent(_OF_EACH)
            recent.add(seconds)
            self._matches.move_to_end(match)
        while len(self._matches) > _MATCHES:
            self._matches.popitem(last=False)

    def predicted(self, version: str, token: str, user: str) -> float | None:
        """Seconds; None while there is nothing to go by. Without a version any will do."""
        for match in _matches(version, token, user):
            recent = self._matches.get(match)
            if recent is not None and len(recent) >= ENOUGH:
                return recent.quantile(0.5)
        return self._all.quantile(0.5) if self._all else None

    def spread(self) -> Spread | None:
        return self._all.spread() if self._all else None

    def dump(self) -> bytes:
        return _encode(list(self._runs))

    def load(self, dumped: bytes) -> None:
        for run in _decode(dumped):
            self.record(*run)


def _matches(version: str, token: str, user: str) -> tuple[tuple[str, ...], ...]:
    return (version, token, user), (version, token), (version,)


def _kept(version: str, token: str, user: str) -> tuple[tuple[str, ...], ...]:
    """And likewise without a version, for those that will take any."""
    return *_matches(version, token, user), ("", token, user), ("", token)


def eta(ahead: int, elapsed_s: Sequence[float], free: int, spread: Spread) -> Eta | None:
    """When one begins that has so many before it, with slots that are free or have been busy for so long.
    None without any slot."""
    slots = len(elapsed_s) + free
    if not slots:
        return None
    # Of many runs together the mean is what they come to; of few, the tail of one may decide.
    late = spread.mean + _P90 * spread.deviation / max(1, ahead) ** 0.5
    p50 = _begins(ahead, [_left(spread.p50, seconds) for seconds in elapsed_s] + [0.0] * free, spread.mean)
    p90 = _begins(ahead, [_left(spread.p90, seconds) for seconds in elapsed_s] + [0.0] * free, late)
    return Eta(p50, max(p50, p90))


def _left(usual_s: float, elapsed_s: float) -> float:
    """One that is over its time already may end at any moment: it is taken to need a tenth of it more."""
    return max(usual_s - elapsed_s, usual_s / 10)


def _begins(ahead: int, free_in: list[float], cost_s: float) -> float:
    if ahead > _STEPS:
        return (sum(free_in) + ahead * cost_s) / len(free_in)
    heapq.heapify(free_in)
    for _ in range(ahead):
        heapq.heapreplace(free_in, free_in[0] + cost_s)
    return free_in[0]
