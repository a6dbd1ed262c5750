"""The storage seam: what an object's storage must do, whatever it is made of.

An object declares its tables, statements and loads once, as SQLAlchemy Core (``Schema``). Storage compiles
them once. All that an object wants written between two commits is one ``Batch`` and one transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Executable, MetaData, Select, Table

Rows = Sequence[tuple[Any, ...]]


class Write(NamedTuple):
    """One row to write: the name of a statement of the schema, and its parameters in the declared order."""

    statement: str
    parameters: tuple[Any, ...]


class Read(NamedTuple):
    """Rows to look up: the name of a read of the schema, and its parameters in the declared order."""

    statement: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """A write or a read that the schema knows, with its bind parameters in the order that callers use."""

    sql: Executable
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """A table of an earlier release: at a load each of its rows becomes one of today's, and it is gone."""

    table: Table
    into: str
    """The write that takes what ``convert`` gives."""
    convert: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    """From the old table's columns, in order, to the parameters of the write."""


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """An object's storage: its tables, what it may write, what it reads when it comes to life and later."""

    metadata: MetaData
    writes: Mapping[str, Statement]
    loads: Mapping[str, Select[Any]]
    reads: Mapping[str, Statement] = field(default_factory=dict)
    moves: Sequence[Move] = ()
    copied: Sequence[Executable] = ()
    """What is done to a copy that is kept as a backup. Constants only, no parameters."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one commit makes durable."""

    writes: Sequence[Write]
    alarm_at: int | None
    """The object's one alarm, microseconds since the epoch; None when there is none."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a new instance starts from."""

    generation: int
    alarm_at: int | None
    rows: Mapping[str, Rows] = field(default_factory=dict)
    """By the name of the load."""


class Storage(Protocol):
    """The storage of one object. One commit at a time; ``load`` comes first."""

    async def load(self, generation: int | None = None) -> Loaded:
        """Take the object over: write a new generation (the one given, else the stored one plus one) and read
        all loads. Raises CommitFailed when it cannot be written, Fenced when the stored one is as high."""

    async def commit(self, batch: Batch, generation: int) -> None:
        """Make the batch durable. Raises CommitFailed (nothing was written), Fenced, or StorageBroken.
        Cancelling the caller does not stop the commit."""

    async def read(self, reads: Sequence[Read]) -> Sequence[Rows]:
        """The rows of each read, all of one state: with every commit that ended before, each whole or not at
        all. Raises ReadFailed or StorageBroken. Cancelling is safe."""

    async def close(self) -> None:
        """Let go of what is open. Safe twice; a later ``load`` opens again."""


class Storages(Protocol):
    """Gives the storage of any object by its number."""

    def storage(self, number: int) -> Storage: ...

    async def close(self) -> None:
        """Close all of them, after the last commit has ended. Safe twice."""
