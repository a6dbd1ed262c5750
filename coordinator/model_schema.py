"""What a model's coordinator keeps on disk: one row for each prediction that is not yet in the index."""

from sqlalchemy import (
    Column,
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

from coordinator.actor.storage import Schema, Statement

INSERT, UPDATE, REMOVE, PREDICTIONS = "insert", "update", "remove", "predictions"

_metadata = MetaData()
_predictions = Table(
    "predictions",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("urgency", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
_this = _predictions.c.id == bindparam("prediction")

MODEL_SCHEMA = Schema(
    metadata=_metadata,
    writes={
        INSERT: Statement(insert(_predictions), ("id", "urgency", "sequence", "input", "document")),
        UPDATE: Statement(
            update(_predictions).where(_this).values(document=bindparam("document")),
            ("document", "prediction"),
        ),
        REMOVE: Statement(delete(_predictions).where(_this), ("prediction",)),
    },
    loads={
        PREDICTIONS: select(_predictions).order_by(_predictions.c.urgency, _predictions.c.sequence),
    },
)
"""The input is written once and never again; the document without it changes with each durable step."""
