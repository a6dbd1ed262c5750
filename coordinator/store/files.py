"""Files that clients uploaded: what is known of each; its bytes are a blob under ``key``."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.store.connections import Connections
from coordinator.store.errors import Invalid, NameTaken
from coordinator.store.schema import files, input_uses
from coordinator.store.storage_use import StorageUse, Use, of_file

_COLUMNS = tuple(files.c)
_NAMES = tuple(str(column.name) for column in _COLUMNS)


class FileRow(msgspec.Struct, frozen=True, kw_only=True):
    """One uploaded file. ``expires_at`` None keeps it until it is deleted."""

    id: str
    account: str
    key: str
    name: str
    content_type: str
    size: int
    sha256: str
    md5: str
    metadata: dict[str, Any] = {}
    created_at: int
    expires_at: int | None = None
    bound: bool = False
    """It goes with the last prediction that uses it, or at ``expires_at`` if none does by then."""


class Files:
    """The uploaded files of all accounts."""

    def __init__(self, connections: Connections, use: StorageUse) -> None:
        self._connections = connections
        self._use = use
        c = files.c
        self._get = connections.prepare(
            select(*_COLUMNS).where(c.id == bindparam("id"), c.account == bindparam("account"))
        )

    async def create(self, row: FileRow) -> None:
        """Store a new file's row. Raises NameTaken when the id or key is used, Invalid for broken text."""
        values = {name: getattr(row, name) for name in _NAMES}
        try:
            values["metadata"] = msgspec.json.encode(row.metadata).decode()
            f"{row.name}{row.content_type}".encode()
        except UnicodeEncodeError:
            raise Invalid("the file's name, content type or metadata is not Unicode text") from None

        async def insert(connection: AsyncConnection) -> None:
            await connection.execute(files.insert(), values)
            await self._use.add(connection, {row.account: of_file(row.size, bound=row.bound)})

        try:
            await self._connections.write(insert)
        except IntegrityError:
            raise NameTaken(f"there is a file {row.id} already") from None

    async def get(self, id: str, account: str) -> FileRow | None:
        """The file, expired or not."""
        row = await self._get.first(id=id, account=account)
        return None if row is None else _from_row(row)

    async def delete(self, id: str, account: str) -> FileRow | None:
        """Forget the file and return its row, or None if there was none. Its blob is the caller's, who
        deletes that first: a row without a blob comes up again, a blob without a row does not."""
        where = (files.c.id == id, files.c.account == account)

        async def take(connection: AsyncConnection) -> Any:
            row = (await connection.execute(select(*_COLUMNS).where(*where))).first()
            await connection.execute(delete(files).where(*where))
            if row is not None:
                await self._use.add(connection, {account: _less(_from_row(row))})
            return row

        row = await self._connections.write(take)
        return None if row is None else _from_row(row)

    async def expired(self, now: int, limit: int) -> list[FileRow]:
        """Files of any account whose time is over, longest first. Only lists them."""
        c = files.c
        statement = select(*_COLUMNS).where(c.expires_at <= now).order_by(c.expires_at).limit(limit)
        return [_from_row(row) for row in await self._connections.rows(statement)]

    async def drop(self, rows: Sequence[FileRow]) -> None:
        """Forget files whose blobs are gone."""
        ids = [row.id for row in rows]

        async def work(connection: AsyncConnection) -> None:
            found = await connection.execute(delete(files).where(files.c.id.in_(ids)).returning(*_COLUMNS))
            for row in map(_from_row, found.all()):
                await self._use.add(connection, {row.account: _less(row)})

        if ids:
            await self._connections.write(work)

    async def unused(self, rows: Sequence[FileRow]) -> Sequence[FileRow]:
        """Those expired ones that no prediction uses; the others stay until the last of those is over."""
        c = input_uses.c
        by_key = {row.key: row for row in rows}
        used = select(c.key).where(c.key.in_(by_key.keys())).distinct()

        async def work(connection: AsyncConnection) -> set[str]:
            keys = {row[0] for row in await connection.execute(used)}
            if keys:
                bind = update(files).where(files.c.key.in_(keys)).values(expires_at=None, bound=True)
                await connection.execute(bind)
                for row in (by_key[key] for key in keys if not by_key[key].bound):
                    change = Use(inputs=row.size, uploads=-row.size)
                    await self._use.add(connection, {row.account: change})
            return keys

        keys = await self._connections.write(work)
        return [row for row in rows if row.key not in keys]

    async def list(self, account: str, *, before: tuple[int, str] | None = None, limit: int) -> list[FileRow]:
        """A page of the account's files, newest first.

        ``before`` continues after a page: (created_at, id) of its last file.
        """
        c = files.c
        statement = (
            select(*_COLUMNS)
            .where(c.account == account)
            .order_by(c.created_at.desc(), c.id.desc())
            .limit(limit)
        )
        if before is not None:
            statement = statement.where(tuple_(c.created_at, c.id) < tuple_(*before))
        return [_from_row(row) for row in await self._connections.rows(statement)]


def _from_row(row: Any) -> FileRow:
    fields = dict(zip(_NAMES, row, strict=True))
    fields["metadata"] = msgspec.json.decode(fields["metadata"])
    fields["bound"] = bool(fields["bound"])
    return FileRow(**fields)


def _less(row: FileRow) -> Use:
    return of_file(-row.size, bound=row.bound)
