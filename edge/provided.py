"""Models that are not known here, as a provider shows them to a token that has a key of it.

Nothing of them is registered: their names stay free for workers, and what one key may see no other token
sees.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import msgspec

from coordinator.actor.clock import Clock
from coordinator.overflow.policy import REPLICATE
from coordinator.overflow.provider import (
    BadKey,
    OutOfCredit,
    Provider,
    ProviderError,
    RemoteModel,
    RemoteVersion,
    Throttled,
)
from coordinator.protocol.names import valid_model_name, valid_version
from coordinator.store.models import ModelRow, VersionRow
from coordinator.store.provider_versions import ProviderVersions
from edge.auth import Principal
from edge.errors import Problem, not_found
from edge.fresh import Fresh

log = logging.getLogger(__name__)

T = TypeVar("T")

Access = Callable[[str, str], Awaitable[tuple[Provider | None, str | None]]]
"""Provider, and the key of a token (by id) for it; None for what there is not."""
ABSENT_S = 10.0
"""How long what is not there is taken for that: somebody may just be making it."""
RETRY_S = 5.0
_CACHED = 200
"""Schemas are large."""
_SHOWN = 10_000


class Offer(msgspec.Struct, frozen=True):
    """What the provider would run."""

    model: str
    """``owner/name`` there."""
    version: str
    """Empty for whatever it likes."""
    openapi_schema: bytes


class ProvidedModels:
    """Each method raises Problem when the provider cannot be asked."""

    def __init__(self, access: Access, known: ProviderVersions, clock: Clock, ttl_s: float) -> None:
        self._access = access
        self._known = known
        absent_s = min(ABSENT_S, ttl_s)
        self._models: Fresh[tuple[str, str], RemoteModel | None] = Fresh(
            ttl_s=ttl_s, absent_s=absent_s, size=_CACHED, monotonic=clock.monotonic
        )
        self._versions: Fresh[tuple[str, str, str], RemoteVersion | None] = Fresh(
            ttl_s=ttl_s, absent_s=absent_s, size=_CACHED, monotonic=clock.monotonic
        )
        self._names: Fresh[tuple[str, str], str | None] = Fresh(
            ttl_s=ttl_s, absent_s=absent_s, size=_CACHED, monotonic=clock.monotonic
        )
        self._shown: dict[tuple[str, str], str] = {}
        """By token and version the model of what was looked up last."""

    async def offer(self, principal: Principal, name: str | None, version: str | None) -> Offer | None:
        """What it would run of a model, of its version, or of a version alone; None when it has none such."""
        if version is None:
            model = None if name is None else await self._model(principal, name)
            if model is None:
                return None
            schema = b"{}" if model.latest is None else model.latest.openapi_schema
            return Offer(model.name, model.version, schema)
        name = name or await self._name(principal, version)
        found = None if name is None else await self._version(principal, name, version)
        return None if found is None or name is None else Offer(name, version, found.openapi_schema)

    async def model(self, principal: Principal, name: str) -> ModelRow | None:
        """A model as our own are shown."""
        found = await self._model(principal, name)
        if found is None:
            return None
        latest = None if found.latest is None else _row(found.name, found.latest)
        return ModelRow(
            model=found.name,
            account=principal.account,
            visibility="private" if found.private else "public",
            created_at=0 if latest is None else latest.created_at,
            run_count=found.run_count,
            pools=(),
            latest_version=latest,
            description=found.description,
            links=found.links,
        )

    async def version(self, principal: Principal, name: str, version: str) -> VersionRow | None:
        found = await self._version(principal, name, version)
        return None if found is None else _row(name, found)

    async def versions(self, principal: Principal, name: str) -> list[VersionRow]:
        """The newest first; none of what there is not, or of a model that is only asked for by its name."""
        if not (principal.replicate and valid_model_name(name)):
            return []
        found = await self._asked(principal, lambda provider, key: provider.versions(key, name)) or []
        self._show(principal, name, found)
        rows = [_row(name, each) for each in found]
        return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)

    async def _model(self, principal: Principal, name: str) -> RemoteModel | None:
        if not (principal.replicate and valid_model_name(name)):
            return None

        async def load() -> RemoteModel | None:
            found = await self._asked(principal, lambda provider, key: provider.model(key, name))
            if found is not None:
                self._show(principal, found.name, [found.latest])
            return found

        return await self._models.get((principal.counts_as, name), load)

    async def _version(self, principal: Principal, name: str, version: str) -> RemoteVersion | None:
        if not (principal.replicate and valid_model_name(name) and valid_version(version)):
            return None

        async def load() -> RemoteVersion | None:
            found = await self._asked(principal, lambda provider, key: provider.version(key, name, version))
            self._show(principal, name, [found])
            return found

        return await self._versions.get((principal.counts_as, name, version), load)

    async def _name(self, principal: Principal, version: str) -> str | None:
        """Providers find no model by its version, and clients give it alone: what was created of it here says
        whose it is, else what this key has run there."""

        async def load() -> str | None:
            for name in await self._known.models(version):
                if await self._version(principal, name, version) is not None:
                    return name
            return await self._asked(principal, lambda provider, key: provider.model_of(key, version))

        if not principal.replicate:
            return None
        return self._shown.get((principal.counts_as, version)) or await self._names.get(
            (principal.counts_as, version), load
        )

    def _show(self, principal: Principal, name: str, versions: Iterable[RemoteVersion | None]) -> None:
        for version in versions:
            if version is not None and valid_version(version.id):
                self._shown[principal.counts_as, version.id] = name
        while len(self._shown) > _SHOWN:
            del self._shown[next(iter(self._shown))]

    async def _asked(
        self, principal: Principal, ask: Callable[[Provider, str], Awaitable[T | None]]
    ) -> T | None:
        provider, key = await self._access(principal.counts_as, REPLICATE)
        if provider is None or key is None:
            return None
        try:
            return await ask(provider, key)
        except (BadKey, OutOfCredit) as error:
            log.warning("token %s: %s", principal.name, error)
            raise not_found(f"It is not known here, and {error} (the key of your token)") from None
        except ProviderError as error:
            after_s = error.retry_after_s if isinstance(error, Throttled) else RETRY_S
            detail = f"It is not known here, and {provider.name} cannot be asked now: {error}."
            raise Problem("unavailable", detail, retry_after_s=after_s) from None


def _row(model: str, version: RemoteVersion) -> VersionRow:
    return VersionRow(
        id=version.id,
        model=model,
        account="",
        created_at=version.created_at,
        cog_version=version.cog_version,
        openapi_schema=version.openapi_schema,
        pools=(),
    )
