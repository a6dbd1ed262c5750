"""The outbox on disk: one row for each terminal webhook, until some time after it was delivered.

``next_at`` is set as long as it is to be tried; a row without it and without ``done_at`` waits for the index.
The ``snapshot`` gives way to the ``body`` once that is rendered, both go when the row is done.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from coordinator.actor.storage import Statement

KEEP_LETTER, FORGET_LETTER, LETTER_DUE = "keep_letter", "forget_letter", "letter_due"
LETTER_RENDERED, LETTER_TRIED, LETTER_DONE = "letter_rendered", "letter_tried", "letter_done"
PURGE_LETTERS = "purge_letters"
LANES, LANE, LETTER, LETTERS_DUE = "lanes", "lane", "letter", "letters_due"

PURGED_AT_ONCE = 50

_INTEGER = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()
_outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("next_at", _INTEGER),
    Column("done_at", _INTEGER),
    Column("record", LargeBinary, nullable=False),
    Column("snapshot", LargeBinary),
    Column("body", LargeBinary),
)
_c = _outbox.c
_due, _done = _c.next_at.is_not(None), _c.done_at.is_not(None)
Index("ix_outbox_due", _c.host, _c.next_at, sqlite_where=_due, postgresql_where=_due)
Index("ix_outbox_done", _c.done_at, sqlite_where=_done, postgresql_where=_done)

_this = _c.id == bindparam("letter")
_old = select(_c.id).where(_done, _c.done_at <= bindparam("before")).limit(PURGED_AT_ONCE)


_NEW = ("id", "host", "next_at", "record", "snapshot")


def _change(*names: str, where: tuple[Any, ...] = (), **constants: Any) -> Statement:
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return Statement(update(_outbox).where(_this, *where).values(**values, **constants), (*names, "letter"))


WRITES = {
    KEEP_LETTER: Statement(insert(_outbox).values({name: bindparam(name) for name in _NEW}), _NEW),
    FORGET_LETTER: Statement(delete(_outbox).where(_this), ("letter",)),
    LETTER_DUE: _change("next_at", where=(_c.done_at.is_(None),)),
    LETTER_RENDERED: _change("body", snapshot=None),
    LETTER_TRIED: _change("record", "next_at", where=(_c.done_at.is_(None),)),
    LETTER_DONE: _change("record", "done_at", next_at=None, snapshot=None, body=None),
    PURGE_LETTERS: Statement(delete(_outbox).where(_c.id.in_(_old)), ("before",)),
}
LOADS: dict[str, Select[Any]] = {
    LANES: select(_c.host, func.min(_c.next_at), func.count()).where(_due).group_by(_c.host),
}
READS = {
    LETTERS_DUE: Statement(select(func.count()).select_from(_outbox).where(_due), ()),
    LANE: Statement(
        select(_c.id, _c.next_at)
        .where(_due, _c.host == bindparam("of_host"))
        .order_by(_c.next_at)
        .limit(bindparam("at_most", type_=Integer)),
        ("of_host", "at_most"),
    ),
    LETTER: Statement(
        select(_c.record, _c.snapshot, _c.body, _c.next_at, _c.done_at).where(_this), ("letter",)
    ),
}
