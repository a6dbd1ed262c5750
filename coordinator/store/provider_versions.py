"""Versions that only a provider has, as far as predictions were created of them here.

What a version says of its inputs counts for as long as there are predictions of it, also when nobody can
ask the provider any more: which inputs are secret is in it.
"""

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.store.connections import Connections
from coordinator.store.schema import provider_versions


class ProviderVersions:
    """By model, as it is called here, and version; an empty one is of what is asked for by its name alone."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        c = provider_versions.c
        self._schema = connections.prepare(
            select(c.openapi_schema).where(c.model == bindparam("model"), c.version == bindparam("version"))
        )
        self._models = connections.prepare(
            select(c.model).where(c.version == bindparam("version")).order_by(c.model)
        )

    async def put(self, model: str, version: str, openapi_schema: bytes) -> None:
        """Keep what is said of it now, in place of what was said before; repeat at will."""
        if await self.schema(model, version) == openapi_schema:
            return
        c = provider_versions.c
        row = {"model": model, "version": version, "openapi_schema": openapi_schema}
        insert = self._connections.insert(provider_versions)
        upsert = insert.on_conflict_do_update(
            index_elements=[c.model, c.version], set_={"openapi_schema": insert.excluded.openapi_schema}
        )

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(upsert, row)

        await self._connections.write(work)

    async def schema(self, model: str, version: str) -> bytes | None:
        """Its OpenAPI document; None when nothing was created of it."""
        row = await self._schema.first(model=model, version=version)
        return None if row is None else row[0]

    async def models(self, version: str) -> list[str]:
        """What the models of this version are called here, by name."""
        return [model for (model,) in await self._models.rows(version=version)]
