"""What a model's coordinator keeps on disk: one row for each prediction that is not yet in the index, and one
for each worker that something is to be said of (``workers.py``).

Predictions are keyed by their place in the queue, which is unique and grows: the table is one tree, written
at its end, and a load reads it in order.
"""

from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from coordinator.actor.storage import Schema, Statement

INSERT, UPDATE, REMOVE, PREDICTIONS = "insert", "update", "remove", "predictions"
KEEP_WORKER, FORGET_WORKER, WORKERS = "keep_worker", "forget_worker", "workers"
KEEP_FACT, FORGET_FACT, FACTS = "keep_fact", "forget_fact", "facts"

_metadata = MetaData()
_predictions = Table(
    "predictions",
    _metadata,
    Column("sequence", Integer, primary_key=True),
    Column("urgency", Integer, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
_workers = Table(
    "workers",
    _metadata,
    Column("agent", String, primary_key=True),
    Column("standing", LargeBinary, nullable=False),
)
_facts = Table(
    "facts",
    _metadata,
    Column("name", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
_this = _predictions.c.sequence == bindparam("row")

MODEL_SCHEMA = Schema(
    metadata=_metadata,
    writes={
        INSERT: Statement(insert(_predictions), ("sequence", "urgency", "input", "document")),
        UPDATE: Statement(
            update(_predictions).where(_this).values(document=bindparam("document")), ("document", "row")
        ),
        REMOVE: Statement(delete(_predictions).where(_this), ("row",)),
        KEEP_WORKER: Statement(insert(_workers), ("agent", "standing")),
        KEEP_FACT: Statement(insert(_facts), ("name", "value")),
        FORGET_FACT: Statement(delete(_facts).where(_facts.c.name == bindparam("fact")), ("fact",)),
        FORGET_WORKER: Statement(
            delete(_workers).where(_workers.c.agent == bindparam("worker")), ("worker",)
        ),
    },
    loads={
        PREDICTIONS: select(_predictions).order_by(_predictions.c.sequence),
        WORKERS: select(_workers).order_by(_workers.c.agent),
        FACTS: select(_facts),
    },
)
"""The input is written once and never again; the document without it changes with each durable step."""
