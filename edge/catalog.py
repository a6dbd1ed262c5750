"""Which model, version, pool and coordinator a request means. Rows are cached briefly, numbers for good."""

from collections.abc import Mapping
from functools import partial

import msgspec
from msgspec.structs import replace

from coordinator.actor.clock import Clock
from coordinator.prediction import Document
from coordinator.protocol.names import legacy_version, queue_of, valid_model_name, valid_version
from coordinator.store.config import ModelConfig
from coordinator.store.database import Store
from coordinator.store.deployments import Deployment
from coordinator.store.models import ModelRow, VersionRow
from edge.auth import Principal
from edge.fresh import Fresh
from edge.inputs import FORGOTTEN, VersionSchema, version_schema
from edge.provided import ProvidedModels

_CACHED = 10_000
NEVER = "never"
"""What ``ModelConfig.overflow`` is of models that never run at a provider,"""
ALWAYS = "always"
"""and of those that nobody here could run."""


class Reference(msgspec.Struct, frozen=True):
    """What a client named: a version by id, a model, or both."""

    model: str | None
    version: str | None


class Target(msgspec.Struct, frozen=True):
    """Where a prediction may go, and how its model has it treated. ``pinned`` is empty when the client left
    the version open."""

    pools: tuple[str, ...]
    """Those of the token's pools where it is registered, the preferred first."""
    model: str
    pinned: str
    version: str
    """The version whose schema the input is held to, and that is shown until dispatch fixes one."""
    schema: VersionSchema
    config: ModelConfig
    destination: str = ""
    """Of a training: the model that it is made for."""
    given: Mapping[str, str] = {}
    """Inputs that the version has of its own, where the client gives no others."""

    @property
    def queue(self) -> str:
        """The name of its coordinator within the pool."""
        return queue_of(self.model, self.destination)


def reference(text: str) -> Reference | None:
    """Reads the spellings of ``version``: 64 hex, ``owner/name:hex``, ``owner/name``; None for any other."""
    if valid_version(text):
        return Reference(None, text)
    model, colon, version = text.partition(":")
    if not valid_model_name(model) or (colon and not valid_version(version)):
        return None
    return Reference(model, version or None)


class Catalog:
    """Reads models and versions as an account sees them. New registrations are visible within ``ttl_s``.

    ``provided`` has what a provider would run of what is not known here, None for nothing.
    """

    def __init__(
        self, store: Store, clock: Clock, ttl_s: float, provided: ProvidedModels | None = None
    ) -> None:
        self._store = store
        self._provided = provided
        self._models: Fresh[tuple[str, str, tuple[str, ...] | None], ModelRow | None] = Fresh(
            ttl_s=ttl_s, size=_CACHED, monotonic=clock.monotonic
        )
        self._versions: Fresh[tuple[str, str | None, str], VersionRow | None] = Fresh(
            ttl_s=ttl_s, size=_CACHED, monotonic=clock.monotonic
        )
        self._gpus: Fresh[tuple[str, str], list[tuple[str, int]]] = Fresh(
            ttl_s=ttl_s, size=_CACHED, monotonic=clock.monotonic
        )
        self._deployments: Fresh[tuple[str, str], Deployment | None] = Fresh(
            ttl_s=ttl_s, size=_CACHED, monotonic=clock.monotonic
        )
        self._schemas: Fresh[tuple[str, str], VersionSchema | None] = Fresh(
            ttl_s=ttl_s, size=_CACHED, monotonic=clock.monotonic
        )
        """As they are found, or are not; those that are stay in ``_known``."""
        self._numbers: dict[tuple[str, str], int] = {}
        self._known: dict[tuple[str, str], VersionSchema] = {}

    def forget(self) -> None:
        """Somebody changed a model or deployment here, and will look whether it is done."""
        self._deployments.forget(lambda _: True)
        self._models.forget(lambda _: True)
        self._versions.forget(lambda _: True)

    async def stop(self) -> None:
        await self._models.stop()
        await self._versions.stop()
        await self._schemas.stop()
        await self._gpus.stop()
        await self._deployments.stop()

    async def model(self, account: str, name: str, pools: tuple[str, ...] | None = None) -> ModelRow | None:
        """A model that the account may see; with ``pools`` only as far as it is registered there."""
        return await self._models.get(
            (account, name, pools), partial(self._store.models.get, account, name, pools)
        )

    async def version(self, account: str, model: str | None, version: str) -> VersionRow | None:
        """A version that the account may see."""
        return await self._versions.get(
            (account, model, version), partial(self._store.models.version, account, model, version)
        )

    async def deployment(self, account: str, name: str) -> Deployment | None:
        """A deployment of the account."""
        return await self._deployments.get(
            (account, name), partial(self._store.deployments.get, account, name)
        )

    async def target(self, principal: Principal, wanted: Reference, *, here: bool = False) -> Target | None:
        """What the token's pools can serve of what is wanted; what they never could, the provider of its key
        can perhaps, unless it is to be ``here``. None when nobody can. Raises Problem when the provider does
        not say."""
        found = await self._here(principal, wanted)
        return found if found is not None or here else await self._there(principal, wanted)

    async def _there(self, principal: Principal, wanted: Reference) -> Target | None:
        if self._provided is None or not principal.replicate or not principal.pools:
            return None
        own = None if wanted.model is None else await self.model(principal.account, wanted.model)
        config = ModelConfig() if own is None else own.config
        if config.overflow == NEVER:
            return None
        name, _, version = config.replicate_model.partition(":")
        name, version = name or wanted.model or "", wanted.version or version
        offer = await self._provided.offer(principal, name or None, version or None)
        if offer is None:
            return None
        model = wanted.model or offer.model
        schema = self._remember(model, offer.version, offer.openapi_schema)
        await self._store.provider_versions.put(model, offer.version, offer.openapi_schema)
        return Target(
            pools=principal.pools[:1],
            model=model,
            pinned=offer.version,
            version=offer.version,
            schema=schema,
            config=replace(config, overflow=ALWAYS, replicate_model=offer.model, gpu="", gpu_memory=0),
        )

    async def _here(self, principal: Principal, wanted: Reference) -> Target | None:
        if wanted.version is not None:
            row = await self.version(principal.account, wanted.model, wanted.version)
            if row is None:
                return None
            pools = tuple(pool for pool in principal.pools if pool in row.pools)
            return self._target(pools, row, pinned=row.id) if pools else None
        if wanted.model is None:
            return None
        model = await self.model(principal.account, wanted.model, principal.pools)
        if model is None:
            return None
        pools = model.pools
        if model.latest_version is None or pools[0] not in model.latest_version.pools:
            # The newest version is in a later pool of the token: take the newest of the first pool.
            model = await self.model(principal.account, wanted.model, pools[:1])
        if model is None or model.latest_version is None:
            return None
        return self._target(pools, model.latest_version, pinned="")

    async def within(self, account: str, target: Target, pool: str) -> Target:
        """The same, of one of its pools: what is not pinned is of the newest version there."""
        if target.pinned or target.pools[0] == pool:
            return target
        model = await self.model(account, target.model, (pool,))
        if model is None or model.latest_version is None:
            return target
        return self._target((pool,), model.latest_version, pinned="")

    async def number(self, pool: str, model: str) -> int:
        """The number of the coordinator of this pool and model; made when there is none."""
        number = self._numbers.get((pool, model))
        if number is None:
            number = await self._store.objects.number(pool, model)
            self._numbers[pool, model] = number
        return number

    async def shown(self, document: Document) -> tuple[str, VersionSchema]:
        """The version to show for a prediction, and the schema that says which of its inputs are secret."""
        version, schema = await self._shown(document)
        return version, schema if not document.destination else schema.training or FORGOTTEN

    async def _shown(self, document: Document) -> tuple[str, VersionSchema]:
        if document.version and document.version != legacy_version(document.model):
            known = self._known.get((document.model, document.version))
            if known is None:
                wanted = document.model, document.version
                known = await self._schemas.get(wanted, partial(self._schema, *wanted))
            return document.version, known or FORGOTTEN
        # A worker of 2022 says nothing of its inputs: what is secret, the schema says that it was checked by.
        model = await self.model(document.account, document.model)
        if model is None or model.latest_version is None:
            # Of one that runs at a provider by its name, what that said of it then.
            there = await self._schemas.get((document.model, ""), partial(self._schema, document.model, ""))
            return document.version, there or FORGOTTEN
        return document.version or model.latest_version.id, self._know(model.latest_version)

    async def gpus(self, pool: str, model: str) -> list[tuple[str, int]]:
        """The GPUs that workers of the pool had, which served the model."""
        return await self._gpus.get((pool, model), partial(self._store.models.gpus, pool, model))

    def _target(self, pools: tuple[str, ...], row: VersionRow, pinned: str) -> Target:
        return Target(
            pools=pools,
            model=row.model,
            pinned=pinned,
            version=row.id,
            schema=self._know(row),
            config=row.config,
        )

    async def _schema(self, model: str, version: str) -> VersionSchema | None:
        # Not as the account sees it now: a version that is gone still says which inputs are secret.
        openapi_schema = await self._store.models.schema(model, version)
        if openapi_schema is None:
            openapi_schema = await self._store.provider_versions.schema(model, version)
        return None if openapi_schema is None else self._remember(model, version, openapi_schema)

    def _know(self, row: VersionRow) -> VersionSchema:
        return self._remember(row.model, row.id, row.openapi_schema)

    def _remember(self, model: str, version: str, openapi_schema: bytes) -> VersionSchema:
        schema = version_schema(openapi_schema)
        if len(self._known) >= _CACHED:
            self._known.clear()
        self._known[model, version] = schema
        return schema
