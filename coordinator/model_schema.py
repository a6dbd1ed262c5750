"""What a model's coordinator keeps on disk: one row for each prediction that is not yet in the index, and one
for each worker that something is to be said of (``workers.py``), and the outbox (``outbox_schema.py``).

Predictions are keyed by their place among all that came, which is unique and grows: the table is one tree,
written at its end. A row has a ``flow`` as long as it waits, and only then is it in the indexes of what
waits; one that is dispatched in the turn that made it is never in them. So a load reads what runs or has
ended, and of what waits the flows and their sizes, however long the queue is.
"""

from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from coordinator.actor.storage import Move, Schema, Statement
from coordinator.outbox_schema import LOADS, READS, WRITES, metadata
from coordinator.prediction import Document, decode
from coordinator.waiting import NOT_QUEUED, queued_as, waits

INSERT, UPDATE, WAIT, TAKE, REMOVE = "insert", "update", "wait", "take", "remove"
KEEP_WORKER, FORGET_WORKER, WORKERS = "keep_worker", "forget_worker", "workers"
KEEP_FACT, FORGET_FACT, FACTS = "keep_fact", "forget_fact", "facts"
FIRST_MARK, MARK = "first_mark", "mark"
OPEN, FLOWS, OWNERS, LAST, WATERMARK = "open", "flows", "owners", "last", "watermark"
BY_ID, HEADS, OLDEST, FLOW_TEXTS, OVERDUE, NEXT_DEADLINE, CREATED = (
    "by_id",
    "heads",
    "oldest",
    "flow_texts",
    "overdue",
    "next_deadline",
    "created",
)

FLOWS_LOADED = 10_000
"""How many flows a load knows one by one; of the rest, which came last, it knows how many each token has."""

_INTEGER = BigInteger().with_variant(Integer, "sqlite")

_metadata = metadata
_entries = Table(
    "entries",
    _metadata,
    Column("place", _INTEGER, primary_key=True),
    Column("id", Text, nullable=False),
    Column("flow", Text),
    Column("owner_length", Integer),
    Column("deadline", _INTEGER),
    Column("input_bytes", _INTEGER, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("input", LargeBinary, nullable=False),
)
_workers = Table(
    "workers",
    _metadata,
    Column("agent", Text, primary_key=True),
    Column("standing", LargeBinary, nullable=False),
)
_facts = Table(
    "facts",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
_marks = Table(
    "marks",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("value", _INTEGER, nullable=False),
)
_c = _entries.c
_waits = _c.flow.is_not(None)


def _partial(name: str, *columns: Any, where: Any, unique: bool = False) -> None:
    Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_partial("ix_entries_waiting", _c.flow, _c.place, _c.input_bytes, _c.owner_length, where=_waits)
_partial("ix_entries_waiting_id", _c.id, where=_waits, unique=True)
_partial("ix_entries_deadline", _c.deadline, where=_c.deadline.is_not(None))
_partial("ix_entries_open", _c.place, where=_c.flow.is_(None))

_owner = func.substr(_c.flow, 1, _c.owner_length)
"""What the flows of one token have in common."""
_other = _entries.alias().c
_some_flows = (
    select(_other.flow).where(_other.flow.is_not(None)).distinct().limit(FLOWS_LOADED + 1).subquery()
)
_many_flows = select(func.count()).select_from(_some_flows).scalar_subquery() > FLOWS_LOADED
_this = _c.place == bindparam("row")
_ROW = (_c.place, _c.document, _c.input)
"""What ``document_of`` reads."""


def _number(name: str) -> Any:
    return bindparam(name, type_=Integer)


def _within_bytes(*conditions: Any, names: tuple[str, ...]) -> Statement:
    """Waiting rows by place, after one; as many as there may be, and no more than fit into so many bytes of
    input, but at least one. In no order: a sort would take the inputs through temporary files."""
    total = func.sum(_c.input_bytes).over(order_by=_c.place)
    page = (
        select(_c.place, (total - _c.input_bytes).label("before"))
        .where(_waits, _c.place > bindparam("after"), *conditions)
        .order_by(_c.place)
        .limit(_number("at_most"))
        .subquery()
    )
    rows = select(*_ROW).join(page, page.c.place == _c.place).where(page.c.before < bindparam("most_bytes"))
    parameters = ("after", "at_most", "most_bytes")
    return Statement(rows, (*parameters, *names))


def _each_flow_once() -> Statement:
    """By text: from each flow to the next one in the index, however many rows they have."""
    first = select(func.min(_c.flow).label("flow"), literal(1).label("number")).where(
        _waits, _c.flow > bindparam("after")
    )
    found = first.cte("found", recursive=True)
    following = select(func.min(_other.flow)).where(_other.flow.is_not(None), _other.flow > found.c.flow)
    found = found.union_all(
        select(following.scalar_subquery(), found.c.number + 1).where(
            found.c.flow.is_not(None), found.c.number < _number("at_most")
        )
    )
    texts = select(found.c.flow).where(found.c.flow.is_not(None)).order_by(found.c.flow)
    return Statement(texts, ("after", "at_most"))


def document_of(row: tuple[Any, ...]) -> tuple[int, Document]:
    """(place, document) of a row."""
    place, document, input_json = row
    return place, replace(decode(document), input=input_json)


def _from_0_1(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row of the first release: all that was looked at was loaded."""
    place, _, input_json, blob = row
    document = decode(blob)
    queued = queued_as(document) if waits(document) else NOT_QUEUED
    return (place, document.id, *queued, len(input_json), blob, input_json)


_of_0_1 = Table(
    "predictions",
    MetaData(),
    Column("sequence", Integer, primary_key=True),
    Column("urgency", Integer, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("document", LargeBinary, nullable=False),
)

MODEL_SCHEMA = Schema(
    metadata=_metadata,
    writes={
        INSERT: Statement(
            insert(_entries),
            ("place", "id", "flow", "owner_length", "deadline", "input_bytes", "document", "input"),
        ),
        UPDATE: Statement(
            update(_entries).where(_this).values(document=bindparam("document")), ("document", "row")
        ),
        WAIT: Statement(
            update(_entries)
            .where(_this)
            .values({name: bindparam(name) for name in ("flow", "owner_length", "deadline", "document")}),
            ("flow", "owner_length", "deadline", "document", "row"),
        ),
        TAKE: Statement(
            update(_entries)
            .where(_this)
            .values(flow=None, owner_length=None, deadline=None, document=bindparam("document")),
            ("document", "row"),
        ),
        REMOVE: Statement(delete(_entries).where(_this), ("row",)),
        KEEP_WORKER: Statement(insert(_workers), ("agent", "standing")),
        KEEP_FACT: Statement(insert(_facts), ("name", "value")),
        FORGET_FACT: Statement(delete(_facts).where(_facts.c.name == bindparam("fact")), ("fact",)),
        FORGET_WORKER: Statement(
            delete(_workers).where(_workers.c.agent == bindparam("worker")), ("worker",)
        ),
        FIRST_MARK: Statement(insert(_marks), ("name", "value")),
        MARK: Statement(
            update(_marks).where(_marks.c.name == bindparam("mark")).values(value=bindparam("value")),
            ("value", "mark"),
        ),
        **WRITES,
    },
    loads={
        OPEN: select(*_ROW).where(_c.flow.is_(None)).order_by(_c.place),
        FLOWS: select(_c.flow, func.count(), func.sum(_c.input_bytes), func.min(_c.place).label("first"))
        .where(_waits)
        .group_by(_c.flow)
        .order_by("first")
        .limit(FLOWS_LOADED),
        OWNERS: select(_owner, func.count(), func.sum(_c.input_bytes), func.min(_c.place))
        .where(_waits, _many_flows)
        .group_by(_owner),
        NEXT_DEADLINE: select(func.min(_c.deadline)).where(_c.deadline.is_not(None)),
        LAST: select(func.coalesce(func.max(_c.place), 0)),
        WORKERS: select(_workers).order_by(_workers.c.agent),
        FACTS: select(_facts),
        WATERMARK: select(_marks.c.value).where(_marks.c.name == WATERMARK),
        **LOADS,
    },
    reads={
        BY_ID: Statement(select(*_ROW).where(_waits, _c.id == bindparam("id")), ("id",)),
        HEADS: _within_bytes(_c.flow == bindparam("flow"), names=("flow",)),
        OLDEST: _within_bytes(
            _c.flow >= bindparam("from"), _c.flow < bindparam("below"), names=("from", "below")
        ),
        FLOW_TEXTS: _each_flow_once(),
        OVERDUE: Statement(
            select(*_ROW)
            .where(_c.deadline.is_not(None), _c.deadline <= bindparam("now"))
            .order_by(_c.deadline)
            .limit(_number("at_most")),
            ("now", "at_most"),
        ),
        NEXT_DEADLINE: Statement(
            select(func.min(_c.deadline)).where(_c.deadline.is_not(None), _c.deadline > bindparam("now")),
            ("now",),
        ),
        CREATED: Statement(
            select(*_ROW)
            .where(_waits, _c.place > bindparam("after"), _c.place <= bindparam("until"))
            .order_by(_c.place)
            .limit(_number("at_most")),
            ("after", "until", "at_most"),
        ),
        **READS,
    },
    moves=(Move(_of_0_1, INSERT, _from_0_1),),
    # The copy of the index is older: what it lacks is told again.
    copied=(delete(_marks).where(_marks.c.name == WATERMARK),),
)
