"""What a token may have of providers in a day."""

import asyncio

import pytest
from msgspec import Raw

from coordinator.overflow.caps import DailyCaps, cost_of
from coordinator.overflow.errand import Errand
from coordinator.overflow.policy import Overflow
from coordinator.overflow.provider import Remote
from coordinator.protocol.limits import ServerLimits
from coordinator.store.database import Store
from tests.support.virtual_clock import VirtualClock

DAY_S = 86_400


def errand(token: str = "tok_1", price_s: float = 0.0) -> Errand:
    return Errand(
        number=1,
        prediction="p",
        attempt=1,
        secret="s",
        key="k",
        account="acme",
        token=token,
        input=b"{}",
        input_files={},
        run_s=1.0,
        streams=False,
        target=Overflow(when="always", model="acme/elsewhere", price_s=price_s),
        dispatched_at=1,
    )


def ran(seconds: float) -> Remote:
    return Remote(id="r", status="succeeded", metrics={"predict_time": Raw(str(seconds).encode())})


async def test_a_count_until_the_day_is_over(store: Store, clock: VirtualClock) -> None:
    caps = DailyCaps(store.overflow_days, clock, ServerLimits(overflow_per_day=2))
    assert [await caps.reserve(errand()) for _ in range(2)] == [0, 0]
    left_s = await caps.reserve(errand())
    assert 0 < left_s <= DAY_S + 1
    assert await caps.reserve(errand("tok_2")) == 0, "each token has its own"
    await clock.advance(left_s)
    assert await caps.reserve(errand()) == 0


async def test_what_has_not_begun_is_given_back(store: Store, clock: VirtualClock) -> None:
    caps = DailyCaps(store.overflow_days, clock, ServerLimits(overflow_per_day=1))
    assert await caps.reserve(errand()) == 0
    await caps.release(errand())
    assert await caps.reserve(errand()) == 0


async def test_it_is_durable(store: Store, clock: VirtualClock) -> None:
    limits = ServerLimits(overflow_per_day=1)
    assert await DailyCaps(store.overflow_days, clock, limits).reserve(errand()) == 0
    assert await DailyCaps(store.overflow_days, clock, limits).reserve(errand()) > 0


async def test_at_the_same_time_no_more_than_may(store: Store, clock: VirtualClock) -> None:
    caps = DailyCaps(store.overflow_days, clock, ServerLimits(overflow_per_day=5))
    found = await asyncio.gather(*(caps.reserve(errand()) for _ in range(20)))
    assert found.count(0.0) == 5


async def test_money(store: Store, clock: VirtualClock) -> None:
    caps = DailyCaps(store.overflow_days, clock, ServerLimits(overflow_cost_per_day=1.0))
    dear = errand(price_s=0.01)
    for seconds in (50, 60):
        assert await caps.reserve(dear) == 0
        await caps.settle(dear, ran(seconds))
    assert await caps.reserve(dear) > 0
    assert await store.overflow_days.of("tok_1", clock.now() // (DAY_S * 1_000_000)) == (
        2,
        pytest.approx(1.1),
    )


async def test_without_caps_all_may(store: Store, clock: VirtualClock) -> None:
    caps = DailyCaps(store.overflow_days, clock, ServerLimits())
    assert [await caps.reserve(errand()) for _ in range(20)] == [0] * 20


async def test_old_days_are_forgotten(store: Store, clock: VirtualClock) -> None:
    caps = DailyCaps(store.overflow_days, clock, ServerLimits())
    first = clock.now() // (DAY_S * 1_000_000)
    await caps.reserve(errand())
    await clock.advance(9 * DAY_S)
    await caps.reserve(errand())
    assert await store.overflow_days.of("tok_1", first) == (0, 0.0)


def test_a_cost_that_is_not_known_is_none() -> None:
    assert cost_of(errand(price_s=1.0), Remote(id="r", status="failed")) == 0
    assert cost_of(errand(price_s=1.0), ran(2.5)) == 2.5
    odd = Remote(id="r", status="failed", metrics={"predict_time": Raw(b'"long"')})
    assert cost_of(errand(price_s=1.0), odd) == 0


async def test_a_token_may_have_limits_of_its_own(store: Store, clock: VirtualClock) -> None:
    caps = DailyCaps(store.overflow_days, clock, ServerLimits(overflow_per_day=1), store.tokens)
    fewer, _ = await store.tokens.create(name="fewer", overflow_cost_per_day=0.5)
    more, _ = await store.tokens.create(name="more", overflow_per_day=2)
    any_number, _ = await store.tokens.create(name="any", overflow_per_day=0)
    for token, taken in ((more.id, 2), (any_number.id, 3), (fewer.id, 1), ("gone", 1)):
        waits = [await caps.reserve(errand(token)) for _ in range(3)]
        assert waits.count(0) == taken
    dear = errand(any_number.id, price_s=1.0)
    await caps.settle(dear, ran(100.0))
    assert await caps.reserve(dear) == 0
