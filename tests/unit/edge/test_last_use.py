"""When tokens were used: nothing is written at a use, and nothing is lost but by a kill."""

import logging
from collections.abc import Mapping

import pytest

from coordinator.store.errors import StoreUnavailable
from edge.last_use import WRITTEN_EVERY_S, LastUse
from tests.support.virtual_clock import VirtualClock


class Written:
    """What a store is told, unless it is away."""

    def __init__(self) -> None:
        self.rows: list[dict[str, int]] = []
        self.away = False

    async def used(self, last: Mapping[str, int]) -> None:
        if self.away:
            raise StoreUnavailable("the disk is full")
        if last:
            self.rows.append(dict(last))


def last_use(store: Written, clock: VirtualClock) -> LastUse:
    return LastUse(store, clock)  # type: ignore[arg-type]


async def test_uses_are_written_together_after_a_while() -> None:
    store, clock = Written(), VirtualClock()
    uses = last_use(store, clock)
    for at in (1, 2, 3):
        uses.note("tok_a", at)
    uses.note("tok_b", 2)
    await clock.advance(WRITTEN_EVERY_S - 1)
    assert store.rows == []
    await clock.advance(2)
    assert store.rows == [{"tok_a": 3, "tok_b": 2}]
    await clock.advance(10 * WRITTEN_EVERY_S)
    uses.note("tok_a", 9)
    await clock.advance(WRITTEN_EVERY_S + 1)
    assert store.rows[1:] == [{"tok_a": 9}]
    await uses.stop()


async def test_what_could_not_be_written_is_kept_and_the_last_is_written_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, clock = Written(), VirtualClock()
    uses = last_use(store, clock)
    uses.note("tok_a", 1)
    store.away = True
    with caplog.at_level(logging.WARNING):
        await clock.advance(WRITTEN_EVERY_S + 1)
    assert "was not written" in caplog.text
    store.away = False
    uses.note("tok_b", 2)
    await uses.stop()
    await uses.stop()
    assert store.rows == [{"tok_a": 1, "tok_b": 2}]
