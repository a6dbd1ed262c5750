"""What an object sees of the world during a turn, and what an object must offer to live here.

A turn is one synchronous function: it reads and changes memory and stages rows, outputs and effects here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from coordinator.actor.storage import Read, Rows


class Turn(Protocol):
    """The only door of an object to the outside. Everything said here is gated unless it says otherwise."""

    @property
    def now(self) -> int:
        """Wall clock of this turn, microseconds since the epoch."""

    @property
    def monotonic(self) -> float:
        """Monotonic clock of this turn, seconds."""

    def write(self, statement: str, *parameters: Any) -> None:
        """Stage one row for the next commit. Values must already be encoded and in range."""

    def write_later(self, statement: str, *parameters: Any) -> None:
        """Stage a row that nothing depends on: it rides with the next commit, or has its own later."""

    def alarm_at(self, at: int | None) -> None:
        """Set the object's one persisted alarm (microseconds since the epoch)."""

    def timer_at(self, monotonic: float | None) -> None:
        """Set the object's one in-memory timer; it does not survive the instance."""

    def send(self, address: Any, message: Any) -> None:
        """Send to a session's socket once this turn is durable."""

    def notify(self, topic: str, reply: Any = None) -> None:
        """Once this turn is durable, run the calls again that wait for this topic, and answer those with
        ``reply`` that hold theirs for it."""

    def notify_at_once(self, topic: str) -> None:
        """The same for what needs no durability: progress."""

    def effect(self, effect: Any) -> None:
        """Have I/O done once this turn is durable. What it returns comes back as a call."""

    def read(self, tag: Any, *reads: Read) -> None:
        """Have rows read once this turn is durable; they come back as a turn of their own: ``Actor.rows``."""

    @property
    def reads_begun(self) -> int:
        """How many reads were ever asked for, fetches of calls included."""

    @property
    def reads_ended(self) -> int:
        """That many of them, counted from the first, have brought their rows or never will: what left memory
        when ``reads_begun`` was no higher than this can no longer be contradicted by older rows."""


class Fetch(msgspec.Struct, frozen=True):
    """A handler's "not before I have seen these rows": it is asked again, with the rows of each read, once
    everything so far is durable. It must not have changed anything."""

    reads: tuple[Read, ...]


class Wait(msgspec.Struct, frozen=True):
    """A handler's "not yet": ask again when the topic is notified, or ask ``otherwise`` after a time."""

    topic: str
    timeout_s: float
    otherwise: Any


class Hold(msgspec.Struct, frozen=True):
    """A handler's "this, unless better comes": the answer is what the topic is notified with; or ``reply``,
    once a time is over or the instance goes, and what the call changed is durable."""

    topic: str
    timeout_s: float
    reply: Any


class Actor(Protocol):
    """An object. Each method is a turn, or a part of one. It refuses by its answer, before the first change:
    a turn that raises breaks the instance."""

    def loaded(self, turn: Turn, rows: Mapping[str, Rows]) -> None:
        """Take up what storage held."""

    def handle(self, turn: Turn, call: Any, rows: Sequence[Rows] | None = None) -> Any:
        """Answer a call: a reply, Hold, Wait or Fetch; ``rows`` are what it had fetched."""

    def rows(self, turn: Turn, tag: Any, rows: Sequence[Rows]) -> None:
        """What a turn had read, in the order of its reads. Other turns ran meanwhile."""

    def alarm(self, turn: Turn) -> None:
        """The persisted alarm is due. At least once: set the next one, or None."""

    def timer(self, turn: Turn) -> None:
        """The in-memory timer is due."""

    def over(self, turn: Turn) -> None:
        """The last word of each turn, which may have been several calls: stage what it has changed."""

    def stalled(self, late_s: float) -> None:
        """The process stood still that long: no deadline that others could not meet may have passed."""

    def idle(self) -> bool:
        """Whether the object could leave memory and lose nothing but caches."""


class Outside(Protocol):
    """The world of a namespace: where outputs go and effects happen."""

    def send(self, address: Any, message: Any) -> None:
        """Put a message into the outgoing buffer of a session; never blocks. Gone sessions are ignored."""

    async def perform(self, number: int, effect: Any) -> Any | None:
        """Do the I/O; return the call that tells the object, or None."""

    def lost(self, number: int) -> None:
        """The instance of this object is gone: whoever holds sessions of it attaches them again."""

    def fatal(self, error: Exception) -> None:
        """The process cannot go on."""


class Registry(Protocol):
    """The control store's memory of which objects must be woken."""

    async def activate(self, number: int) -> None:
        """Raises NoSuchObject."""

    async def deactivate(self, number: int, alarm_at: int | None) -> None: ...

    async def to_wake(self, now: int) -> list[int]: ...

    async def next_alarm(self) -> int | None: ...
