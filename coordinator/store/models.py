"""Models and their versions, as workers registered them.

The first registration of a name gives it to its account. A version is registered per pool: workers of that
pool can serve it. Reads see the own account's models and public ones.
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, bindparam, func, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.protocol.names import valid_model_name, valid_name, valid_version
from coordinator.store.config import ModelConfig, decode, encode
from coordinator.store.connections import Connections
from coordinator.store.errors import Invalid, NotAllowed, NotFound
from coordinator.store.model_rows import (
    PLACES,
    VERSIONS,
    ModelRow,
    Sorting,
    VersionRow,
    Visibility,
    choose_places,
    decode_cursor,
    encode_cursor,
    newest_of,
    to_model,
    to_versions,
    visible,
)
from coordinator.store.schema import accounts, capabilities, models, registrations, versions

__all__ = ["ModelRow", "Models", "VersionRow", "Visibility"]


class _Registered(msgspec.Struct, frozen=True):
    """What one (pool, model, version) has on record."""

    account: str
    cog_version: str
    openapi_schema: bytes


class Models:
    """The models of all accounts."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        r, v, m = registrations.c, versions.c, models.c
        seen = visible(bindparam("account"))
        self._registered = connections.prepare(
            select(v.account, v.cog_version, v.openapi_schema)
            .join(registrations, (r.version == v.id) & (r.model == v.model))
            .where(
                r.model == bindparam("model"), r.version == bindparam("version"), r.pool == bindparam("pool")
            )
        )
        had = capabilities.c
        self._gpus = connections.prepare(
            select(had.gpu, had.memory)
            .where(had.pool == bindparam("pool"), had.model == bindparam("model"))
            .order_by(had.gpu, had.memory)
        )
        self._model = connections.prepare(select(*m).where(m.name == bindparam("model"), seen))
        self._places = connections.prepare(PLACES.where(r.model == bindparam("model")))
        of_model, by_id = v.model == bindparam("model"), v.id == bindparam("id")
        self._versions = connections.prepare(VERSIONS.where(of_model, seen))
        self._version = connections.prepare(VERSIONS.where(by_id, of_model, seen))
        self._schema = connections.prepare(select(v.openapi_schema).where(by_id, of_model))
        self._versions_by_id = connections.prepare(VERSIONS.where(by_id, seen))
        insert = connections.insert(versions)
        self._put_version = insert.on_conflict_do_update(
            index_elements=[v.id, v.model],
            set_={
                "cog_version": insert.excluded.cog_version,
                "openapi_schema": insert.excluded.openapi_schema,
            },
        )

    async def register(
        self,
        *,
        account: str,
        pool: str,
        model: str,
        version: str,
        openapi_schema: bytes,
        cog_version: str,
        allowed: tuple[str, ...],
        now: int,
    ) -> bool:
        """A worker of ``pool`` serves this version. True when that changed anything here; repeat at will.

        A version registered again with another schema (a newer runtime) takes the new one. Raises NotAllowed
        when another account owns the name or none of the patterns ``allowed`` matches, Invalid for bad names.
        """
        _check(account, pool, model, version)
        check_allowed(model, allowed)
        # After a restart every worker registers again: that must not queue for the writer.
        row = await self._registered.first(model=model, version=version, pool=pool)
        if row is not None and _Registered(*row) == _Registered(account, cog_version, openapi_schema):
            return False
        of_version = {
            "id": version,
            "model": model,
            "account": account,
            "created_at": now,
            "cog_version": cog_version,
            "openapi_schema": openapi_schema,
        }
        of_pool = {
            "model": model,
            "version": version,
            "pool": pool,
            "account": account,
            "registered_at": now,
        }

        async def put(connection: AsyncConnection) -> None:
            await self._own(connection, account, model, now)
            await self._put(connection, of_version, now)
            await connection.execute(
                self._connections.insert(registrations).on_conflict_do_nothing(), of_pool
            )

        await self._connections.write(put)
        return True

    async def check_registration(
        self, *, account: str, pool: str, model: str, version: str, allowed: tuple[str, ...]
    ) -> None:
        """Whether ``register`` would take it, before its schema is known. Raises as that does."""
        _check(account, pool, model, version)
        check_allowed(model, allowed)
        owners = await self._connections.rows(select(models.c.account).where(models.c.name == model))
        if owners and owners[0][0] != account:
            raise _not_ours(model)

    async def _own(self, connection: AsyncConnection, account: str, model: str, now: int) -> None:
        insert = self._connections.insert
        await connection.execute(
            insert(accounts).on_conflict_do_nothing(), {"name": account, "created_at": now}
        )
        await connection.execute(
            insert(models).on_conflict_do_nothing(),
            {
                "name": model,
                "account": account,
                "visibility": "private",
                "created_at": now,
                "latest_at": now,
                "run_count": 0,
            },
        )
        owner = await connection.scalar(select(models.c.account).where(models.c.name == model))
        if owner != account:
            raise _not_ours(model)

    async def _put(self, connection: AsyncConnection, row: dict[str, Any], now: int) -> None:
        c = versions.c
        known = await connection.scalar(select(c.id).where(c.id == row["id"], c.model == row["model"]))
        await connection.execute(self._put_version, row)
        if known is None:
            await connection.execute(
                update(models).where(models.c.name == row["model"]).values(latest_at=now)
            )

    async def get(self, account: str, model: str, pools: Sequence[str] | None = None) -> ModelRow | None:
        """A model, own or public; one that has no version yet, too. With ``pools`` only what is registered
        there counts: the row's pools come in that order, its newest version is the newest there, and a model
        in none of them is None."""
        row = await self._model.first(model=model, account=account)
        if row is None:
            return None
        places = choose_places(await self._places.rows(model=model), pools)
        if not places:
            return to_model(row, (), None, None) if pools is None else None
        latest = await self._version.rows(model=model, id=newest_of(places), account=account)
        return to_model(row, places, pools, to_versions(latest)[0] if latest else None)

    async def versions(self, account: str, model: str) -> list[VersionRow]:
        """All versions of a model, own or public, newest first; empty when there is no such model."""
        return to_versions(await self._versions.rows(model=model, account=account))

    async def version(self, account: str, model: str | None, version_id: str) -> VersionRow | None:
        """One version, own or public. Without ``model`` the id alone says which; an own model goes first."""
        if model is not None:
            rows = await self._version.rows(id=version_id, model=model, account=account)
        else:
            rows = await self._versions_by_id.rows(id=version_id, account=account)
        found = to_versions(rows)
        return min(found, key=lambda row: (row.account != account, row.created_at, row.model), default=None)

    async def schema(self, model: str, version: str) -> bytes | None:
        """The OpenAPI document of a version that may be deleted by now, or of a model that is another
        account's: what was made of it then is still held to it."""
        row = await self._schema.first(model=model, id=version)
        return None if row is None else row[0]

    async def hardware(self, pools: Sequence[str]) -> list[str]:
        """The names of the GPUs that workers of these pools ever had, by name."""
        c = capabilities.c
        statement = select(c.gpu).where(c.pool.in_(pools)).distinct().order_by(c.gpu)
        return [gpu for (gpu,) in await self._connections.rows(statement)]

    async def set_visibility(self, account: str, model: str, visibility: Visibility) -> None:
        """Make an own model public or private. Raises NotFound."""
        own = (models.c.name == model, models.c.account == account)
        change = update(models).where(*own).values(visibility=visibility)

        async def work(connection: AsyncConnection) -> None:
            if (await connection.execute(change)).rowcount == 0:
                raise NotFound(f"there is no model {model} of account {account}")

        await self._connections.write(work)

    async def configure(self, model: str, changes: Mapping[str, Any]) -> ModelRow:
        """Set some fields of a model's ``ModelConfig``, or its ``visibility``. Raises Invalid, NotFound."""
        changes = dict(changes)
        visibility = changes.pop("visibility", None)
        c = models.c

        async def work(connection: AsyncConnection) -> None:
            stored = await connection.scalar(select(c.config).where(c.name == model))
            if stored is None:
                raise NotFound(f"there is no model {model}", "a model is made when a worker registers it")
            merged = msgspec.to_builtins(decode(stored)) | changes
            try:
                config = msgspec.convert(merged, ModelConfig)
            except msgspec.ValidationError as error:
                raise Invalid(str(error)) from None
            values = {"config": encode(config).decode()} | ({"visibility": visibility} if visibility else {})
            await connection.execute(update(models).where(c.name == model).values(**values))

        await self._connections.write(work)
        return await self.any(model)

    async def any(self, model: str) -> ModelRow:
        """A model of whatever account. Raises NotFound."""
        found = await self.all(model)
        if not found:
            raise NotFound(f"there is no model {model}", "a model is made when a worker registers it")
        return found[0]

    async def all(self, model: str | None = None) -> list[ModelRow]:
        """The models of all accounts by name, or one of them."""
        statement = select(*models.c).order_by(models.c.name)
        if model is not None:
            statement = statement.where(models.c.name == model)

        async def read(connection: AsyncConnection) -> list[ModelRow]:
            return await _with_latest(connection, (await connection.execute(statement)).all())

        return await self._connections.read(read)

    async def seen(self, pool: str, model: str, gpus: Iterable[tuple[str, int]], now: int) -> None:
        """A worker of the pool that serves the model has these GPUs: name and bytes of each."""
        rows = [
            {"pool": pool, "model": model, "gpu": name, "memory": memory, "seen_at": now}
            for name, memory in set(gpus)
        ]
        if not rows:
            return
        known = set(await self.gpus(pool, model))
        fresh = [row for row in rows if (row["gpu"], row["memory"]) not in known]
        if fresh:
            insert = self._connections.insert(capabilities).on_conflict_do_nothing()

            async def put(connection: AsyncConnection) -> None:
                await connection.execute(insert, fresh)

            await self._connections.write(put)

    async def gpus(self, pool: str, model: str) -> list[tuple[str, int]]:
        """The GPUs of all workers that ever served the model in the pool: name and bytes of each."""
        return [(gpu, memory) for gpu, memory in await self._gpus.rows(pool=pool, model=model)]

    async def count_runs(self, runs: Mapping[str, int]) -> None:
        """Add finished runs to the models' counts; unknown models are passed over."""
        if not runs:
            return
        c = models.c
        change = (
            update(models)
            .where(c.name == bindparam("model"))
            .values(run_count=c.run_count + bindparam("runs"))
        )
        rows = [{"model": model, "runs": count} for model, count in runs.items()]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(change, rows)

        await self._connections.write(work)

    async def list(
        self,
        account: str,
        cursor: str | None,
        limit: int,
        words: str = "",
        *,
        by: Sorting = "latest_at",
        ascending: bool = False,
    ) -> tuple[list[ModelRow], str | None]:
        """A page of the account's and the public models, newest first, and the next page's cursor; only those
        that have all the ``words`` in their name, description or readme, in any case of letters.

        Raises Invalid for a cursor that this did not make.
        """
        c = models.c
        at = c[by]
        where: list[ColumnElement[bool]] = [visible(account)]
        text = func.lower(c.name + literal(" ") + c.description + literal(" ") + c.readme)
        where.extend(text.like(_containing(word), escape="/") for word in words.split())
        order = (at.asc(), c.name.asc()) if ascending else (at.desc(), c.name.desc())
        if cursor is not None:
            here, last = tuple_(at, c.name), tuple_(*decode_cursor(cursor))
            where.append(here > last if ascending else here < last)
        page = select(*c).where(*where).order_by(*order).limit(limit + 1)

        async def read(connection: AsyncConnection) -> tuple[list[ModelRow], str | None]:
            found = (await connection.execute(page)).all()
            following = None
            if found[limit:]:
                end = found[limit - 1]
                following = encode_cursor(getattr(end, by), end.name)
            return await _with_latest(connection, found[:limit]), following

        return await self._connections.read(read)


async def _with_latest(connection: AsyncConnection, found: Sequence[Row[Any]]) -> list[ModelRow]:
    names = [row.name for row in found]
    places: dict[str, list[Any]] = {}
    for place in (await connection.execute(PLACES.where(registrations.c.model.in_(names)))).all():
        places.setdefault(place.model, []).append(place)
    newest = {name: newest_of(registered) for name, registered in places.items()}
    # May be a few more than wanted, where two models have the same version.
    wanted = VERSIONS.where(versions.c.model.in_(names), versions.c.id.in_(set(newest.values())))
    rows = to_versions((await connection.execute(wanted)).all())
    latest = {row.model: row for row in rows if newest[row.model] == row.id}
    return [to_model(row, places.get(row.name, []), None, latest.get(row.name)) for row in found]


def _containing(word: str) -> ColumnElement[str]:
    """A pattern for LIKE. The database lowers it, too: each has its own idea of what a letter is."""
    for special in "/%_":
        word = word.replace(special, f"/{special}")
    return func.lower(literal(f"%{word}%"))


def check_allowed(model: str, allowed: tuple[str, ...], what: str = "register") -> None:
    """Raises NotAllowed unless a token with these patterns, which may be none, may do that with the name."""
    if allowed and not any(fnmatch.fnmatchcase(model, pattern) for pattern in allowed):
        raise NotAllowed(f"this token may not {what} {model}", f"it allows {', '.join(allowed)}")


def _not_ours(model: str) -> NotAllowed:
    return NotAllowed(f"the name {model} belongs to another account", "register under another name")


def _check(account: str, pool: str, model: str, version: str) -> None:
    if not valid_model_name(model):
        raise Invalid(f"{model!r} is no model name", "use owner/name, lower-case letters, digits and . _ -")
    if not valid_version(version):
        raise Invalid(f"{version!r} is no version", "a version is 64 lower-case hexadecimal digits")
    if not valid_name(pool) or not valid_name(account):
        raise Invalid(f"{pool!r} of {account!r} is no pool of an account")
