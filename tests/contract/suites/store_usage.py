"""What every control store must do with what predictions come to. The fixtures ``store`` and ``reopened`` are
the implementation's."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from coordinator.metering import DAY_US, Amounts
from coordinator.overflow.policy import Overflow
from coordinator.prediction import Attempt, Document, Status
from coordinator.protocol.messages import StoredFile
from coordinator.store.database import Store
from coordinator.store.usage import Line, Wanted
from coordinator.today import Owner
from tests.contract.suites.store_index import document
from tests.contract.suites.store_tokens import StoreClock

SECOND = 1_000_000
Reopened = Callable[[], Awaitable[Store]]
TODAY = 20_000
NOON = TODAY * DAY_US + DAY_US // 2
FILE = StoredFile(key="k", name="n", content_type="a/b", length=1000, sha256="0" * 64)


def made(id: str, at: int = NOON, **fields: Any) -> Document:
    return replace(document(id, created_at=at), **fields)


def over(before: Document, status: Status = Status.SUCCEEDED, run_s: float = 2.0, **fields: Any) -> Document:
    given: dict[str, Any] = {
        "completed_at": before.created_at + 10 * SECOND,
        "metrics": b'{"predict_time": %f}' % run_s,
        "attempts": (attempt(),),
        "sequence": before.sequence + 1,
    }
    return replace(before, status=status, **(given | fields))


def attempt(**fields: Any) -> Attempt:
    common: dict[str, Any] = {"number": 1, "agent": "a", "agent_name": "box", "incarnation": "i"}
    return Attempt(**common, dispatched_at=NOON, outcome="finished", **fields)


def at_provider(before: Document, price_s: float, **fields: Any) -> Document:
    there = Overflow(when="always", model="a/b", price_s=price_s)
    fields["attempts"] = (attempt(provider="replicate", remote="r1"),)
    return over(replace(before, overflow=there), **fields)


async def report(store: Store, *group_by: str, **fields: Any) -> list[Line]:
    days = {"first": TODAY - 30, "last": TODAY + 30}
    return await store.usage.report(Wanted(group_by=group_by, **(days | fields)), 100)


async def total(store: Store, **fields: Any) -> Amounts:
    (line,) = await report(store, **fields)
    return line.amounts


class UsageContract:
    @pytest.fixture(autouse=True)
    def _noon(self, clock: StoreClock) -> None:
        clock.now = NOON

    async def test_each_counts_once_however_often_it_is_told(self, store: Store) -> None:
        begun = [made(str(n)) for n in range(3)]
        ended = [over(begun[0]), over(begun[1], Status.FAILED), over(begun[2], Status.CANCELED, run_s=0)]
        for batch in (begun, begun, ended, ended[1:], begun, [ended[0], begun[0]]):
            await store.index.upsert(batch)
        # Of this one all is news at once, and told twice in one batch.
        late = over(made("late"))
        await store.index.upsert([made("late"), late, made("late")])
        assert await total(store) == Amounts(created=4, succeeded=2, failed=1, canceled=1, run_s=6.0)

    async def test_what_is_not_written_is_not_counted(self, store: Store) -> None:
        broken = made("2", model="\ud800")
        with pytest.raises(Exception, match="surrogates"):
            await store.index.upsert([over(made("1")), broken])
        assert await report(store) == []
        assert store.usage.today.used(Owner("token", "tok_1")) == Amounts()
        await store.index.upsert([over(made("1"))])
        assert (await total(store)).succeeded == 1

    async def test_what_ends_is_of_the_day_of_its_end(self, store: Store) -> None:
        before_midnight = made("1", TODAY * DAY_US - SECOND)
        await store.index.upsert([over(before_midnight)])
        lines = await report(store, "day")
        assert [(line.group, line.amounts.created, line.amounts.succeeded) for line in lines] == [
            ((TODAY - 1,), 1, 0),
            ((TODAY,), 0, 1),
        ]

    async def test_it_is_told_apart_by_account_token_end_user_and_model(self, store: Store) -> None:
        one = made("1")
        others = [
            replace(one, id="2", account="other"),
            replace(one, id="3", token="tok_2"),
            replace(one, id="4", user="ann"),
            replace(one, id="5", model="acme/other"),
        ]
        await store.index.upsert([over(each) for each in (one, *others)])
        assert (await total(store, account="acme")).succeeded == 4
        assert (
            await total(store, account="acme", token="tok_1", end_user="", model="acme/hello")
        ).created == 1
        by_user = await report(store, "end_user", account="acme")
        assert [(line.group, line.amounts.succeeded) for line in by_user] == [(("",), 3), (("ann",), 1)]
        by_both = await report(store, "account", "token")
        assert [line.group for line in by_both] == [
            ("acme", "tok_1"),
            ("acme", "tok_2"),
            ("other", "tok_1"),
        ]
        assert await report(store, account="nobody") == []
        assert await report(store, "day", first=TODAY + 1) == []

    async def test_run_time_is_as_reported_but_never_longer_than_it_was_there(self, store: Store) -> None:
        odd = (b'{"predict_time": 1e9}', b'{"predict_time": -1}', b'{"predict_time": "2"}', b"{}", b"[]")
        odd = (*odd, b'{"predict_time": true}', b'{"predict_time": null}')
        await store.index.upsert([over(made(str(n)), metrics=text) for n, text in enumerate(odd)])
        assert await total(store) == Amounts(created=7, succeeded=7, run_s=10.0)

    async def test_bytes_are_those_of_files_and_json(self, store: Store) -> None:
        await store.index.upsert([over(made("1"), output=b'"12345678"', files=(FILE, FILE))])
        assert (await total(store)).output_bytes == 2010

    async def test_money_is_by_the_price_of_the_end(self, store: Store) -> None:
        await self._model(store, price_per_second=0.5, price_per_prediction=3.0)
        await store.index.upsert([over(made("1")), over(made("2"), Status.FAILED)])
        assert (await total(store)).spend == 2 * 2.0 * 0.5 + 3.0
        await store.models.configure("acme/hello", {"price_per_second": 0.0, "price_per_prediction": 1.0})
        await store.index.upsert([over(made("3"))])
        assert (await total(store)).spend == 6.0

    async def test_what_ran_at_a_provider_costs_what_it_costs_there(self, store: Store) -> None:
        await self._model(store, price_per_second=100.0, price_per_prediction=100.0)
        await store.index.upsert([at_provider(made("1"), 0.25), at_provider(made("2"), 0.0)])
        amounts = await total(store)
        assert (amounts.overflowed, amounts.overflow_spend, amounts.spend) == (2, 0.5, 0.0)
        # It was on its way there, and then ran here.
        tried = (attempt(provider="replicate"), attempt())
        await store.index.upsert([over(made("3"), attempts=tried)])
        assert (await total(store)).overflowed == 2

    async def test_what_a_model_costs_that_is_none_of_ours(self, store: Store) -> None:
        await store.index.upsert([over(made("1"))])
        assert (await total(store)).spend == 0.0

    async def test_today_is_taken_up_after_a_restart(
        self, store: Store, reopened: Reopened, clock: StoreClock
    ) -> None:
        await store.index.upsert([over(made("1"), run_s=4.0), made("2"), over(made("3", NOON - DAY_US))])
        again = await reopened()
        token, account = Owner("token", "tok_1"), Owner("account", "acme")
        for owner in (token, account):
            assert again.usage.today.used(owner) == Amounts(created=2, succeeded=1, run_s=4.0)
        again.usage.today.take("4", "acme", "tok_1", "acme/hello")
        assert again.usage.today.expected(token).run_s == 3.0  # the average of a week
        clock.now += DAY_US
        assert again.usage.today.used(token) == Amounts()

    async def test_old_days_are_forgotten(self, store: Store) -> None:
        await store.index.upsert([over(made("1")), over(made("2", NOON - 2 * DAY_US))])
        await store.usage.forget(TODAY - 1)
        assert [line.group for line in await report(store, "day")] == [(TODAY,)]

    async def _model(self, store: Store, **changes: float) -> None:
        await store.models.register(
            account="acme",
            pool="default",
            model="acme/hello",
            version="a" * 64,
            openapi_schema=b"{}",
            cog_version="0.1.0",
            allowed=(),
            now=NOON,
        )
        await store.models.configure("acme/hello", changes)
