"""What waits on disk only, and what is to be read of it. Pure."""

from dataclasses import dataclass, field
from math import inf

from coordinator.scheduling.flow import Flow


@dataclass(frozen=True, slots=True, eq=False)
class Want:
    """Rows to be read: those that wait, of this flow, or of all flows of this token when there is none; with
    a higher sequence than ``after``, in that order, at most ``limit``. Each want is answered once."""

    account: str
    token: str
    flow: Flow | None
    after: int
    limit: int
    most_bytes: int
    """Of their inputs; one row is read, however large."""

    @property
    def texts(self) -> tuple[str, str]:
        """The texts of all its flows are from the first of these on, and below the second."""
        if self.flow is not None:
            return (text := self.flow.text()), f"{text}\x00"
        start = Flow(0, self.account, self.token).text().removesuffix(',"",0,"","",0]')
        return f"{start},", f"{start}-"


@dataclass(slots=True, eq=False)
class Shelf:
    """What is on disk only, of one line or of a token. True as long as something may be there."""

    first: float = inf
    """No sequence below is there."""
    last: float = 0
    """The highest that was put there, as far as that is known."""
    count: int = 0
    input_bytes: int = 0
    next_bytes: int = 0
    """Of the first one, if it has left memory; else 0, for nobody knows."""
    wanted: Want | None = None
    """What is being read of it."""
    grown: bool = False
    """Something was put there since that reading began,"""
    gone: set[str] = field(default_factory=set)
    """and these have left it."""

    def __bool__(self) -> bool:
        return self.first < inf

    def put(self, first: float, count: int, input_bytes: int) -> None:
        if count:
            self.last = max(self.last, first)
        if first < self.first:
            self.first, self.next_bytes = first, input_bytes if count == 1 else 0
        self.count += count
        self.input_bytes += input_bytes
        self.grown = True

    def take(self, input_bytes: int) -> tuple[int, int]:
        """One leaves: how many of it and of its bytes were counted, nothing when it never was."""
        if not self.count:
            return 0, 0
        input_bytes = min(input_bytes, self.input_bytes)
        self.count -= 1
        self.input_bytes -= input_bytes
        return 1, input_bytes

    def passed(self, sequence: float) -> None:
        """Nothing is there up to this place."""
        if sequence >= self.first:
            self.first, self.next_bytes = sequence + 1, 0

    def before(self, sequence: int) -> int:
        """About how many are there before this place."""
        if not self.count or sequence <= self.first:
            return 0
        last = max(self.last, sequence)
        return round(self.count * (sequence - self.first) / (last - self.first + 1))

    def clear(self) -> None:
        """Nothing is there any more. What is being read of it comes too late."""
        self.first, self.count, self.input_bytes, self.wanted = inf, 0, 0, None
        self.next_bytes = 0

    def ask(self, account: str, token: str, flow: Flow | None, limit: int, most_bytes: int) -> Want:
        self.wanted = Want(account, token, flow, int(self.first) - 1, limit, most_bytes)
        self.grown = False
        self.gone.clear()
        return self.wanted
