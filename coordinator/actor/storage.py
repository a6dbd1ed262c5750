"""The storage seam: what an object's storage must do, whatever it is made of.

An object declares its tables, statements and loads once, as SQLAlchemy Core (``Schema``). Storage compiles
them once. All that an object wants written between two commits is one ``Batch`` and one transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Executable, MetaData, Select


class Write(NamedTuple):
    """One row to write: the name of a statement of the schema, and its parameters in the declared order."""

    statement: str
    parameters: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """A write that the schema knows, with its bind parameters in the order in which batches give them."""

    sql: Executable
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """An object's storage: its tables, what it may write, and what it reads when it comes to life."""

    metadata: MetaData
    writes: Mapping[str, Statement]
    loads: Mapping[str, Select[Any]]


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
    rows: Mapping[str, Sequence[tuple[Any, ...]]] = field(default_factory=dict)
    """By the name of the load."""


class Storage(Protocol):
    """The storage of one object. One commit at a time; ``load`` comes first."""

    async def load(self, generation: int | None = None) -> Loaded:
        """Take the object over: write a new generation (the one given, else the stored one plus one) and read
        all loads. Raises CommitFailed when it cannot be written, Fenced when the stored one is as high."""

    async def commit(self, batch: Batch, generation: int) -> None:
        """Make the batch durable. Raises CommitFailed (nothing was written), Fenced, or StorageBroken.
        Cancelling the caller does not stop the commit."""

    async def close(self) -> None:
        """Let go of what is open. Safe twice; a later ``load`` opens again."""


class Storages(Protocol):
    """Gives the storage of any object by its number."""

    def storage(self, number: int) -> Storage: ...

    async def close(self) -> None:
        """Close all of them, after the last commit has ended. Safe twice."""
