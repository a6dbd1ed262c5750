"""The index of predictions: documents as their coordinators last told them, for reads and lists.

The coordinator is the truth until a document is terminal here. Rows come in batches and carry a sequence; an
older one never replaces a newer.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, literal_column, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.keeping import due_at
from coordinator.prediction import Document, ErrorCode, Status, decode, encode
from coordinator.protocol.limits import FOREVER_S
from coordinator.store.connections import Connections
from coordinator.store.schema import MISSED, TRAINING, UNENDED, input_uses, predictions
from coordinator.store.storage_use import StorageUse, Use
from coordinator.store.tokens import ID_PREFIX
from coordinator.store.usage import News, Usage

DEAD = frozenset({ErrorCode.POISON, ErrorCode.WORKER_LOST, ErrorCode.OUTPUT_LOST})
"""Error codes of dead letters: predictions that workers or storage failed, and that may be tried again by
hand."""
Position = tuple[int, str]
"""Where a page ends: (created_at, id) of its last document."""


class _Known(NamedTuple):
    """What a row has."""

    sequence: int
    file_bytes: int
    ended: bool


_NEW = _Known(0, 0, ended=False)


class Index:
    """The indexed predictions of all accounts; every read is of one account."""

    def __init__(self, connections: Connections, use: StorageUse, usage: Usage) -> None:
        self._connections = connections
        self._storage_use = use
        self._usage = usage
        self._due: Callable[[int], object] = _nobody
        c = predictions.c
        self._get = connections.prepare(
            select(c.document).where(c.id == bindparam("id"), c.account == bindparam("account"))
        )
        insert = connections.insert(predictions)
        new = insert.excluded
        self._upsert = insert.on_conflict_do_update(
            index_elements=[c.id],
            set_={
                "status": new.status,
                "completed_at": new.completed_at,
                "sequence": new.sequence,
                "document": new.document,
                "dead": new.dead,
                "sweep_at": new.sweep_at,
                "file_bytes": new.file_bytes,
            },
            where=new.sequence > c.sequence,
        )
        self._use = connections.insert(input_uses).on_conflict_do_nothing()

    def tell_when_due(self, due: Callable[[int], object]) -> None:
        """Who is told when the sweep has something to do for what is stored from now on: the earliest time of
        each batch."""
        self._due = due

    async def upsert(self, documents: Sequence[Document]) -> None:
        """Store documents in one transaction, each unless a later one of the same prediction is there."""
        if not documents:
            return
        rows = [_to_row(document) for document in documents]

        async def put(connection: AsyncConnection) -> News:
            known = await self._known(connection, documents)
            await self._note_files(connection, documents, known)
            ended = {id: row.ended for id, row in known.items()}
            news = await self._usage.count(connection, documents, ended)
            await connection.execute(self._upsert, rows)
            return news

        self._usage.counted(await self._connections.write(put))
        if times := [row["sweep_at"] for row in rows if row["sweep_at"] is not None]:
            self._due(min(times))

    async def _known(self, connection: AsyncConnection, documents: Sequence[Document]) -> dict[str, _Known]:
        """What is there of these, by id."""
        c = predictions.c
        ids = [document.id for document in documents]
        found = await connection.execute(
            select(c.id, c.sequence, c.file_bytes, c.completed_at).where(c.id.in_(ids))
        )
        return {
            id: _Known(sequence, length, completed_at is not None)
            for id, sequence, length, completed_at in found
        }

    async def _note_files(
        self, connection: AsyncConnection, documents: Sequence[Document], known: Mapping[str, _Known]
    ) -> None:
        """Count the files that these have, and note which they use, if they are news."""
        changes: defaultdict[str, Use] = defaultdict(Use)
        uses = []
        with_files = {d.id: d for d in documents if d.files or d.input_files}
        for document in with_files.values():
            before = known.get(document.id, _NEW)
            if document.sequence > before.sequence:
                changes[document.account] += Use(outputs=bytes_of(document) - before.file_bytes)
                keys = set(document.input_files.values())
                uses += [{"key": key, "prediction": document.id} for key in keys]
        await self._storage_use.add(connection, changes)
        if uses:
            await connection.execute(self._use, uses)

    async def get(self, id: str, account: str) -> Document | None:
        row = await self._get.first(id=id, account=account)
        return None if row is None else decode(row[0])

    async def dead(self, *, model: str | None = None, limit: int) -> Sequence[Document]:
        """The dead letters of all accounts, newest first: for operators, not for clients."""
        c = predictions.c
        statement = (
            select(c.document)
            .where(c.dead.is_not(None))
            .order_by(c.completed_at.desc(), c.id.desc())
            .limit(limit)
        )
        if model is not None:
            statement = statement.where(c.model == model)
        return [decode(row[0]) for row in await self._connections.rows(statement)]

    async def unended(
        self, *, account: str | None, model: str | None, after: Position | None, limit: int
    ) -> list[Document]:
        """What has not ended, of all accounts or models or of one, oldest first: for operators. ``after``
        continues after a page."""
        c = predictions.c
        statement = select(c.document).where(literal_column(str(UNENDED)))
        statement = statement.order_by(c.created_at, c.id).limit(limit)
        if account is not None:
            statement = statement.where(c.account == account)
        if model is not None:
            statement = statement.where(c.model == model)
        if after is not None:
            statement = statement.where(tuple_(c.created_at, c.id) > tuple_(*after))
        return [decode(row[0]) for row in await self._connections.rows(statement)]

    async def find(self, id: str) -> Document | None:
        """A prediction of whatever account: for operators."""
        c = predictions.c
        rows = await self._connections.rows(select(c.document).where(c.id == id))
        return decode(rows[0][0]) if rows else None

    async def list(
        self,
        account: str,
        *,
        before: Position | None = None,
        created_after: int | None = None,
        created_before: int | None = None,
        status: Status | None = None,
        model: str | None = None,
        key: str | None = None,
        trainings: bool = False,
        limit: int,
    ) -> list[Document]:
        """A page of the account's predictions, or of its trainings, newest first by (created_at, id).

        ``before`` continues after a page; ``created_after`` is inclusive, ``created_before`` exclusive. What
        has not ended is not followed here: for a ``status`` of such, all that have not ended are listed.
        """
        page = page_of(
            account,
            before=before,
            created_after=created_after,
            created_before=created_before,
            status=status,
            model=model,
            key=key,
            trainings=trainings,
            limit=limit,
        )
        return [decode(row[0]) for row in await self._connections.rows(page)]

    async def made_for(
        self, account: str, destination: str, *, before: Position | None = None, limit: int
    ) -> Sequence[Document]:
        """The account's trainings for a model that have succeeded, and whose files are there, newest first.
        ``before`` continues after a page."""
        c = predictions.c
        ours = (c.account == account, c.destination == destination, c.status == Status.SUCCEEDED.value)
        statement = select(c.document).where(*ours, c.file_bytes > 0)
        if before is not None:
            statement = statement.where(tuple_(c.created_at, c.id) < tuple_(*before))
        statement = statement.order_by(c.created_at.desc(), c.id.desc()).limit(limit)
        return [decode(row[0]) for row in await self._connections.rows(statement)]


def page_of(
    account: str,
    *,
    before: Position | None = None,
    created_after: int | None = None,
    created_before: int | None = None,
    status: Status | None = None,
    model: str | None = None,
    key: str | None = None,
    trainings: bool = False,
    limit: int,
) -> Select[tuple[bytes]]:
    """The SELECT of ``Index.list``. Each combination has an index that gives its rows in their order."""
    c = predictions.c
    where = [c.account == account, literal_column(str(TRAINING)) if trainings else c.destination.is_(None)]
    if before is not None:
        where.append(tuple_(c.created_at, c.id) < tuple_(*before))
    if created_after is not None:
        where.append(c.created_at >= created_after)
    if created_before is not None:
        where.append(c.created_at < created_before)
    if model is not None:
        where.append(c.model == model)
    if key is not None:
        where.append(c.key == key)
    if status is not None:
        where.extend(_have(status))
    return select(c.document).where(*where).order_by(c.created_at.desc(), c.id.desc()).limit(limit)


def _have(status: Status) -> list[ColumnElement[bool]]:
    """The rows that have this status, or may have it by now. There are indexes of all but ``succeeded``."""
    if not status.terminal:
        return [literal_column(str(UNENDED))]
    found: ColumnElement[bool] = predictions.c.status == status.value
    return [found] if status is Status.SUCCEEDED else [found, literal_column(str(MISSED))]


def _to_row(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "account": document.account,
        "model": document.model,
        "status": document.status.value,
        "created_at": document.created_at,
        "completed_at": document.completed_at,
        "sequence": document.sequence,
        "document": encode(document),
        "dead": dead_of(document),
        "destination": document.destination or None,
        "sweep_at": due_at(document, FOREVER_S),
        "file_bytes": bytes_of(document),
        "key": key_of(document),
    }


def key_of(document: Document) -> str | None:
    """Of which user's key it is (``tokens.py``), if of any."""
    return document.user if document.user.startswith(ID_PREFIX) else None


def bytes_of(document: Document) -> int:
    """The length of its output files."""
    return sum(file.length for file in document.files)


def dead_of(document: Document) -> str | None:
    """Why it is a dead letter; one whose input is gone cannot be tried again."""
    return document.error_code if document.error_code in DEAD and not document.data_removed else None


def _nobody(_: int) -> None:
    """Nobody sweeps."""
