"""What predictions came to: a row per day, account, token, end user and model.

Counted in the transaction that writes the index, by what the row of each prediction was before: what is new
is created, and what has ended and had not before is ended. So each counts once, however often it is told and
whatever is killed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.metering import FREE, Amounts, Price, add_end, day_of
from coordinator.prediction import Document
from coordinator.store.config import decode
from coordinator.store.connections import Connections
from coordinator.store.schema import models, usage
from coordinator.today import Today

FIELDS = Amounts.__struct_fields__
GROUPS = ("day", "account", "token", "end_user", "model")
"""By what a report may be broken down."""
_MEANS_DAYS = 7
"""How far back the average of a model is looked for at a start."""


class Key(NamedTuple):
    """Of a row."""

    day: int
    account: str
    token: str
    end_user: str
    model: str


class News(NamedTuple):
    """What a batch has changed: sums by row, and the ids that are created and ended by it."""

    sums: Mapping[Key, Amounts]
    created: Sequence[str]
    ended: Sequence[str]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is of. Days are inclusive; None is all."""

    first: int
    last: int
    group_by: tuple[str, ...]
    account: str | None = None
    token: str | None = None
    end_user: str | None = None
    model: str | None = None


class Line(msgspec.Struct, frozen=True):
    """One line of a report: the values of its groups, in their order, and the sums."""

    group: tuple[Any, ...]
    amounts: Amounts


class Usage:
    """Of all accounts. ``today`` is what counts for daily limits, in memory; ``load`` comes first."""

    def __init__(self, connections: Connections, today: Today) -> None:
        self._connections = connections
        self.today = today
        c, insert = usage.c, connections.insert(usage)
        new = insert.excluded
        self._add = insert.on_conflict_do_update(
            index_elements=[c[name] for name in GROUPS],
            set_={name: c[name] + new[name] for name in FIELDS},
        )
        self._prices = select(models.c.name, models.c.config)

    async def load(self) -> None:
        """Take up what this day had until now."""
        c, day = usage.c, self.today.day
        sums = [func.sum(c[name]) for name in FIELDS]
        rows = await self._connections.rows(
            select(c.account, c.token, *sums).where(c.day == day).group_by(c.account, c.token)
        )
        for account, token, *values in rows:
            self.today.count(day, account, token, Amounts(*values))
        days = list(range(day - _MEANS_DAYS, day + 1))
        rows = await self._connections.rows(select(c.model, *sums).where(c.day.in_(days)).group_by(c.model))
        for model, *values in rows:
            self.today.learn(model, Amounts(*values))

    async def count(
        self, connection: AsyncConnection, documents: Sequence[Document], known: Mapping[str, bool]
    ) -> News:
        """Count what these documents change, in the transaction that writes them. ``known`` has the ids that
        the index has, and whether as ended."""
        news = await self._news(connection, documents, known)
        if news.sums:
            rows = [
                {**key._asdict(), **msgspec.structs.asdict(amounts)} for key, amounts in news.sums.items()
            ]
            await connection.execute(self._add, rows)
        return news

    def counted(self, news: News) -> None:
        """The transaction is durable."""
        today = self.today
        for key, amounts in news.sums.items():
            today.count(key.day, key.account, key.token, amounts)
            today.learn(key.model, amounts)
        today.indexed(news.created, news.ended)

    async def _news(
        self, connection: AsyncConnection, documents: Sequence[Document], known: Mapping[str, bool]
    ) -> News:
        sums: defaultdict[Key, Amounts] = defaultdict(Amounts)
        last = _latest(documents)
        created = [each for each in last if each.id not in known]
        ended = [each for each in last if each.completed_at is not None and not known.get(each.id)]
        for each in created:
            sums[_key(day_of(each.created_at), each)].created += 1
        prices = await self._priced(connection, {each.model for each in ended}) if ended else {}
        for each in ended:
            assert each.completed_at is not None
            add_end(sums[_key(day_of(each.completed_at), each)], each, prices.get(each.model, FREE))
        return News(sums, [each.id for each in created], [each.id for each in ended])

    async def _priced(self, connection: AsyncConnection, names: set[str]) -> dict[str, Price]:
        """As they are now: what has ended keeps the price of its time."""
        found = await connection.execute(self._prices.where(models.c.name.in_(names)))
        return {name: _price(config) for name, config in found}

    async def report(self, wanted: Wanted, limit: int) -> list[Line]:
        """The lines, ordered by their groups; at most ``limit``."""
        c = usage.c
        groups = [c[name] for name in wanted.group_by]
        # Each day by its name, so that the key finds the account's rows in it.
        where: list[Any] = [c.day.in_(list(range(wanted.first, wanted.last + 1)))]
        where += [
            c[name] == value
            for name in ("account", "token", "end_user", "model")
            if (value := getattr(wanted, name)) is not None
        ]
        statement = select(*groups, *(func.sum(c[name]) for name in FIELDS)).where(*where)
        statement = statement.group_by(*groups).order_by(*groups) if groups else statement
        rows = await self._connections.rows(statement.limit(limit))
        split = len(groups)
        return [Line(tuple(row[:split]), Amounts(*row[split:])) for row in rows if row[split] is not None]

    async def forget(self, before: int) -> None:
        """Delete the rows of days before this one."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(usage).where(usage.c.day < before))

        await self._connections.write(work)


def _latest(documents: Sequence[Document]) -> Iterable[Document]:
    """Of several of one prediction the last."""
    latest: dict[str, Document] = {}
    for each in documents:
        known = latest.get(each.id)
        if known is None or known.sequence < each.sequence:
            latest[each.id] = each
    return latest.values()


def _key(day: int, document: Document) -> Key:
    return Key(day, document.account, document.token, document.user, document.model)


@lru_cache(maxsize=1024)
def _price(config: str) -> Price:
    known = decode(config)
    return Price(known.price_per_second, known.price_per_prediction)
