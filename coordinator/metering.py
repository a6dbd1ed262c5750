"""What a prediction comes to, for the accounts: run time, bytes and money. Pure.

Money has no unit here: it is that of the prices that operators set (``cogflare model set``).
"""

import msgspec

from coordinator.prediction import Attempt, Document, Status

DAY_US = 86_400_000_000
"""A day of the accounts is UTC's."""


class Price(msgspec.Struct, frozen=True, gc=False):
    """Of a model's predictions on own workers. ``each`` is for those that succeed."""

    second: float = 0.0
    each: float = 0.0


FREE = Price()


class Amounts(msgspec.Struct, gc=False):
    """Sums over predictions. All but ``created`` are of such as have ended."""

    created: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    run_s: float = 0.0
    output_bytes: int = 0
    """Output files and JSON."""
    spend: float = 0.0
    """Of what ran on own workers, by the price of their time."""
    overflowed: int = 0
    """What ran at a provider,"""
    overflow_spend: float = 0.0
    """and what that costs there."""

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.canceled

    @property
    def money(self) -> float:
        return self.spend + self.overflow_spend

    def add(self, other: "Amounts") -> None:
        self.created += other.created
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.canceled += other.canceled
        self.run_s += other.run_s
        self.output_bytes += other.output_bytes
        self.spend += other.spend
        self.overflowed += other.overflowed
        self.overflow_spend += other.overflow_spend


class _Metrics(msgspec.Struct, gc=False):
    predict_time: object = 0


_metrics = msgspec.json.Decoder(_Metrics).decode


def day_of(at: int) -> int:
    """Days since the epoch."""
    return at // DAY_US


def add_end(amounts: Amounts, document: Document, price: Price) -> None:
    """Count a prediction that has ended."""
    seconds = run_s(document)
    if document.status is Status.SUCCEEDED:
        amounts.succeeded += 1
    elif document.status is Status.FAILED:
        amounts.failed += 1
    else:
        amounts.canceled += 1
    amounts.run_s += seconds
    amounts.output_bytes += len(document.output or b"") + sum(file.length for file in document.files)
    if _provided(document.attempts):
        amounts.overflowed += 1
        amounts.overflow_spend += seconds * (0.0 if document.overflow is None else document.overflow.price_s)
    else:
        amounts.spend += seconds * price.second
        if document.status is Status.SUCCEEDED:
            amounts.spend += price.each


def run_s(document: Document) -> float:
    """How long it ran, as whoever ran it has reported; 0 where nobody did, as for one whose worker was lost.
    Never longer than it was there."""
    if document.completed_at is None:
        return 0.0
    try:
        told = _metrics(document.metrics).predict_time
    except msgspec.DecodeError:
        return 0.0
    if isinstance(told, bool) or not isinstance(told, int | float) or not told > 0:
        return 0.0
    return min(float(told), max(0, document.completed_at - document.created_at) / 1e6)


def _provided(attempts: tuple[Attempt, ...]) -> bool:
    """Whether what it came to is a provider's."""
    return any(each.provider and each.remote and each.outcome == "finished" for each in attempts)
