"""A small object that lives in the actor runtime, and the world around it: for tests of the runtime alone."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from coordinator.actor.storage import Rows, Schema, Statement
from coordinator.actor.turn import Turn

_metadata = MetaData()
_notes = Table(
    "notes",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
    Column("body", LargeBinary),
    Index("notes_by_value", "value"),
)
_this = _notes.c.name == bindparam("which")

LEDGER_SCHEMA = Schema(
    metadata=_metadata,
    writes={
        "insert": Statement(insert(_notes), ("name", "value", "body")),
        # Declared in another order than SQL has the parameters.
        "update": Statement(update(_notes).where(_this).values(value=bindparam("value")), ("which", "value")),
        "remove": Statement(delete(_notes).where(_this), ("which",)),
    },
    loads={"notes": select(_notes).order_by(_notes.c.name)},
    reads={
        "by_name": Statement(select(_notes.c.value).where(_notes.c.name == bindparam("which")), ("which",)),
        # Declared in another order than SQL has the parameters.
        "between": Statement(
            select(_notes.c.name)
            .where(_notes.c.value >= bindparam("least"), _notes.c.value < bindparam("below"))
            .order_by(_notes.c.value)
            .limit(bindparam("at_most", type_=Integer)),
            ("at_most", "below", "least"),
        ),
    },
)

Effect = Callable[[], Awaitable[Any]]


class Ledger:
    """Keeps values by name. A call is any function of the ledger and the turn."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.values: dict[str, int] = {}
        self.alarms: list[int] = []
        self.timers: list[float] = []
        self.stalls: list[float] = []
        self.read: list[tuple[Any, Sequence[Rows]]] = []
        self.may_leave = True
        self.turns = 0
        self.on_load: Callable[[Turn], None] = lambda turn: None
        self.on_alarm: Callable[[Turn], None] = lambda turn: turn.alarm_at(None)

    def loaded(self, turn: Turn, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
        self.values = {name: value for name, value, _ in rows["notes"]}
        self.on_load(turn)

    def handle(self, turn: Turn, call: Any, rows: Sequence[Rows] | None = None) -> Any:
        return call(self, turn) if rows is None else call(self, turn, rows)

    def rows(self, turn: Turn, tag: Any, rows: Sequence[Rows]) -> None:
        self.read.append((tag, rows))

    def alarm(self, turn: Turn) -> None:
        self.alarms.append(turn.now)
        self.on_alarm(turn)

    def timer(self, turn: Turn) -> None:
        self.timers.append(turn.monotonic)

    def over(self, turn: Turn) -> None:
        self.turns += 1

    def stalled(self, late_s: float) -> None:
        self.stalls.append(late_s)

    def idle(self) -> bool:
        return self.may_leave

    def put(self, turn: Turn, name: str, value: int) -> None:
        if name in self.values:
            turn.write("update", name, value)
        else:
            turn.write("insert", name, value, None)
        self.values[name] = value


def put(name: str, value: int) -> Callable[[Ledger, Turn], int]:
    def call(ledger: Ledger, turn: Turn) -> int:
        ledger.put(turn, name, value)
        return value

    return call


def get(name: str) -> Callable[[Ledger, Turn], int | None]:
    return lambda ledger, turn: ledger.values.get(name)


class World:
    """What the ledgers said to the outside. An effect is a coroutine function; what it returns is a call."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, Any]] = []
        self.lost_objects: list[int] = []
        self.fatal_errors: list[Exception] = []

    def send(self, address: Any, message: Any) -> None:
        self.sent.append((address, message))

    async def perform(self, number: int, effect: Effect) -> Any | None:
        return await effect()

    def lost(self, number: int) -> None:
        self.lost_objects.append(number)

    def fatal(self, error: Exception) -> None:
        self.fatal_errors.append(error)
