"""Models as their account changes them: made before a worker has them, described, and taken away."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.protocol.names import training_queue, valid_model_name
from coordinator.store.config import ModelConfig, decode, encode
from coordinator.store.connections import Connections
from coordinator.store.errors import InUse, Invalid, NameTaken, NotFound
from coordinator.store.model_rows import Visibility
from coordinator.store.schema import accounts, deployments, models, objects, registrations, versions


class ModelEdits:
    """Every change is of the account's own models; another's are NotFound."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def create(
        self,
        *,
        account: str,
        model: str,
        visibility: Visibility,
        config: ModelConfig,
        description: str,
        links: Mapping[str, str],
        now: int,
    ) -> None:
        """Make a model that has no version yet. Raises Invalid, and NameTaken whoever has the name."""
        if not valid_model_name(model):
            raise Invalid(
                f"{model!r} is no model name", "use owner/name, lower-case letters, digits and . _ -"
            )
        row = {
            "name": model,
            "account": account,
            "visibility": visibility,
            "created_at": now,
            "latest_at": now,
            "run_count": 0,
            "config": encode(config).decode(),
            "description": description,
            "readme": "",
            "links": _text(links),
        }
        insert = self._connections.insert

        async def put(connection: AsyncConnection) -> None:
            await connection.execute(
                insert(accounts).on_conflict_do_nothing(), {"name": account, "created_at": now}
            )
            made = await connection.execute(insert(models).on_conflict_do_nothing(), row)
            if made.rowcount == 0:
                raise NameTaken(f"there is a model {model} already")

        await self._connections.write(put)

    async def update(
        self,
        account: str,
        model: str,
        changes: Mapping[str, str | None],
        examples: Sequence[str] | None = None,
    ) -> None:
        """Set ``visibility``, ``description``, ``readme``, and else links; None or empty takes one of these
        away. ``examples`` take the place of those that it has, if they are given. Raises NotFound."""
        c = models.c
        own = (c.name == model, c.account == account)
        columns = ("description", "readme", "visibility")
        texts = {name: changes[name] or "" for name in columns if name in changes}

        async def put(connection: AsyncConnection) -> None:
            stored = (await connection.execute(select(c.links, c.config).where(*own))).first()
            if stored is None:
                raise NotFound(f"there is no model {model} of account {account}")
            links = msgspec.json.decode(stored.links, type=dict[str, str | None])
            links |= {name: link for name, link in changes.items() if name not in texts}
            kept = {name: link for name, link in links.items() if link}
            values = {**texts, "links": _text(kept)}
            if examples is not None:
                config = msgspec.structs.replace(decode(stored.config), examples=tuple(examples))
                values["config"] = encode(config).decode()
            await connection.execute(update(models).where(*own).values(**values))

        await self._connections.write(put)

    async def delete(self, account: str, model: str) -> None:
        """Take a model away, and its name with it. Raises NotFound, and InUse while it has a version, or is
        public: others may count on it."""
        c = models.c

        async def take(connection: AsyncConnection) -> None:
            own = select(c.visibility).where(c.name == model, c.account == account)
            visibility = await connection.scalar(own)
            if visibility is None:
                raise NotFound(f"there is no model {model} of account {account}")
            if visibility != "private":
                raise InUse(f"{model} is public", "make it private first")
            if await _any(connection, select(registrations.c.model).where(registrations.c.model == model)):
                raise InUse(f"{model} has versions", "delete them first")
            # Whoever has the name next would be given what waits under it.
            queues = objects.c.model.in_((model, training_queue(model)))
            busy = queues & (objects.c.active | objects.c.alarm_at.is_not(None))
            if await _any(connection, select(objects.c.number).where(busy)):
                raise InUse(f"predictions of {model} wait or ended a moment ago", "try again in some minutes")
            await connection.execute(delete(versions).where(versions.c.model == model))
            await connection.execute(delete(models).where(c.name == model))

        await self._connections.write(take)

    async def delete_version(self, account: str, model: str, version: str) -> None:
        """Take a version away, until a worker registers it again. What it says of its inputs stays: which of
        them are secret counts as long as there are predictions. Raises NotFound, and InUse when a deployment
        has it."""
        r = registrations.c
        places = (r.model == model, r.version == version)

        async def take(connection: AsyncConnection) -> None:
            own = (models.c.name == model, models.c.account == account)
            owned = await _any(connection, select(models.c.name).where(*own))
            if not owned or not await _any(connection, select(r.pool).where(*places)):
                raise NotFound(f"there is no version {version} of {model}")
            await _refuse_deployed(connection, account, model, version)
            await connection.execute(delete(registrations).where(*places))

        await self._connections.write(take)

    async def refuse_deployed(self, account: str, model: str, version: str) -> None:
        """Raises InUse when a deployment of the account has this version, which no worker need have
        registered."""

        async def look(connection: AsyncConnection) -> None:
            await _refuse_deployed(connection, account, model, version)

        await self._connections.read(look)


async def _refuse_deployed(connection: AsyncConnection, account: str, model: str, version: str) -> None:
    """Only the account's own deployments: others of a public model cannot hold it, nor are they told of."""
    c = deployments.c
    found = select(c.account, c.name).where(c.account == account, c.model == model, c.version == version)
    row = (await connection.execute(found.limit(1))).first()
    if row is not None:
        raise InUse(
            f"the deployment {row.account}/{row.name} has it", "change or delete the deployment first"
        )


async def _any(connection: AsyncConnection, statement: Any) -> bool:
    return (await connection.execute(statement.limit(1))).first() is not None


def _text(links: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(links)).decode()
