"""What is read of models and versions: the rows, the statements that fetch them, and how a page continues."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, literal_column, or_, select

from coordinator.protocol.names import legacy_version
from coordinator.store.config import ModelConfig, decode
from coordinator.store.errors import Invalid
from coordinator.store.schema import models, registrations, versions

Visibility = Literal["private", "public"]
Sorting = Literal["latest_at", "created_at"]
"""By the time of the newest version, or of the model."""


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model."""

    id: str
    model: str
    account: str
    created_at: int
    cog_version: str
    openapi_schema: bytes
    pools: tuple[str, ...]
    """Where workers registered it, first registered first."""
    config: ModelConfig = ModelConfig()
    """Its model's."""


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One model, with its newest version."""

    model: str
    account: str
    visibility: Visibility
    created_at: int
    run_count: int
    pools: tuple[str, ...]
    latest_version: VersionRow | None
    config: ModelConfig = ModelConfig()
    description: str = ""
    readme: str = ""
    """Markdown; empty for none."""
    links: Mapping[str, str] = {}
    """Where more is said of it: ``github_url`` and the like, as far as there are any."""


def visible(account: Any) -> ColumnElement[bool]:
    return or_(models.c.account == account, models.c.visibility == literal_column("'public'"))


PLACES = (
    select(
        registrations.c.model,
        registrations.c.pool,
        versions.c.created_at,
        versions.c.id,
    )
    .join(
        versions,
        (versions.c.id == registrations.c.version) & (versions.c.model == registrations.c.model),
    )
    .order_by(registrations.c.registered_at, registrations.c.pool)
)
"""Which version is registered in which pool: without the schemas, which are large."""

VERSIONS = (
    select(*versions.c, models.c.config, registrations.c.pool)
    .join(models, models.c.name == versions.c.model)
    .join(
        registrations,
        (registrations.c.version == versions.c.id) & (registrations.c.model == versions.c.model),
    )
    .order_by(
        versions.c.created_at.desc(),
        versions.c.id.desc(),
        versions.c.model,
        registrations.c.registered_at,
        registrations.c.pool,
    )
)
"""Versions, newest first, one row for each pool."""


def choose_places(places: Sequence[Any], pools: Sequence[str] | None) -> Sequence[Any]:
    return places if pools is None else [place for place in places if place[1] in pools]


def newest_of(places: Sequence[Any]) -> str:
    """The version made last; one that only stands for workers of 2022, when there is no other."""
    known = [place for place in places if place[3] != legacy_version(place[0])] or places
    return str(max(place[2:4] for place in known)[1])


def to_model(
    row: Any, places: Sequence[Any], pools: Sequence[str] | None, latest: VersionRow | None
) -> ModelRow:
    name, account, visibility, created_at, _, run_count, config, description, readme, links = row
    names = dict.fromkeys(place[1] for place in places)
    return ModelRow(
        model=name,
        account=account,
        visibility=visibility,
        created_at=created_at,
        run_count=run_count,
        pools=tuple(names if pools is None else (pool for pool in pools if pool in names)),
        latest_version=latest,
        config=decode(config),
        description=description,
        readme=readme,
        links=msgspec.json.decode(links, type=dict[str, str]),
    )


def to_versions(rows: Sequence[Any]) -> list[VersionRow]:
    found: dict[tuple[str, str], VersionRow] = {}
    for *columns, pool in rows:
        id, model, account, created_at, cog_version, openapi_schema, config = columns
        known = found.get((id, model))
        found[id, model] = VersionRow(
            id=id,
            model=model,
            account=account,
            created_at=created_at,
            cog_version=cog_version,
            openapi_schema=openapi_schema,
            pools=(*(() if known is None else known.pools), pool),
            config=decode(config),
        )
    return list(found.values())


def encode_cursor(at: int, name: str) -> str:
    return base64.urlsafe_b64encode(f"{at} {name}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[int, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode(
            "ascii"
        )
        at, name = text.split(" ")
        position = int(at), name
    except ValueError:
        raise Invalid("the cursor is not one of ours") from None
    if not 0 <= position[0] < 1 << 63:
        raise Invalid("the cursor is not one of ours")
    return position
