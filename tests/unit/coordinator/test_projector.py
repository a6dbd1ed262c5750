"""From the coordinators into the control index: batched, in order, at least once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.prediction import Document, Status
from coordinator.projector import BATCH, KEEP_ROW, Projector
from coordinator.store.database import Store
from coordinator.store.errors import StoreUnavailable
from coordinator.stub import Models
from tests.support.virtual_clock import breathe
from tests.support.waiting import until


def document(id: str, account: str = "acme", **fields: Any) -> Document:
    given: dict[str, Any] = {"token": "t", "pool": "default", "model": "acme/m", "created_at": 1}
    return Document(id=id, account=account, input=b"{}", **(given | fields))


def ended(known: Document, **fields: Any) -> Document:
    return replace(known, status=Status.SUCCEEDED, completed_at=2, sequence=known.sequence + 1, **fields)


class Told:
    """The coordinators, as far as the projector sees them: those that are live keep what they are told."""

    def __init__(self) -> None:
        self.awake = {1, 2}
        self.indexed: list[tuple[int, dict[str, int]]] = []
        self.failures = 0
        self.holds: dict[int, asyncio.Event] = {}
        """Those that answer only after their event."""

    async def call(self, number: int, call: calls.AnyCall, deadline_s: float) -> calls.AnyReply:
        assert isinstance(call, calls.Indexed)
        if self.failures:
            self.failures -= 1
            raise Unavailable("broken")
        if number in self.holds:
            await self.holds[number].wait()
        self.indexed.append((number, call.sequences))
        return calls.Done()

    def post(self, number: int, *posted: calls.AnyCall) -> bool:
        raise AssertionError

    def live(self, number: int) -> bool:
        return number in self.awake


class House:
    """The real index, with every batch noted."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.index = store.index
        self.told = Told()
        self.batches: list[list[Document]] = []
        self.runs: dict[str, int] = {}
        self.failures: list[Exception] = []
        self._upsert = store.index.upsert
        monkeypatch.setattr(store.index, "upsert", self.upsert)
        self.projector = Projector(store.index, Models(self.told, 5.0), self.count)

    async def upsert(self, documents: Sequence[Document]) -> None:
        self.batches.append(list(documents))
        if self.failures:
            raise self.failures.pop(0)
        await self._upsert(documents)

    async def count(self, runs: Mapping[str, int]) -> None:
        for model, number in runs.items():
            self.runs[model] = self.runs.get(model, 0) + number

    async def empty(self, *accounts: str) -> None:
        pending = self.projector.pending
        await until(lambda: not any(pending(a) for a in accounts or ("acme",)), "all is in the index")
        await breathe()


@pytest.fixture
async def house(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr("coordinator.projector.RETRY_S", (0.001,))
    house = House(store, monkeypatch)
    await house.projector.start()
    yield house
    await house.projector.stop()
    await house.projector.stop()


async def test_what_is_told_again_after_a_load_is_not_recent(house: House) -> None:
    one = ended(document("1"))
    house.projector.add(1, one, recent=False)
    assert house.projector.recent("1") is None
    assert house.projector.pending("acme") == [one]


async def test_what_is_added_is_pending_until_it_is_in_the_index(house: House) -> None:
    one, two = document("1"), document("2", account="other")
    house.projector.add(1, one)
    house.projector.add(2, two)
    assert house.projector.pending("acme") == [one]
    assert house.projector.pending("other") == [two]
    assert house.projector.pending("nobody") == []
    await house.empty("acme", "other")
    assert await house.index.get("1", "acme") == one
    assert await house.index.get("2", "other") == two
    await until(lambda: len(house.told.indexed) == 2, "both coordinators are told")
    assert sorted(house.told.indexed, key=lambda told: told[0]) == [(1, {"1": 1}), (2, {"2": 1})]


async def test_a_slow_coordinator_does_not_keep_the_others_waiting(house: House) -> None:
    slow = house.told.holds[1] = asyncio.Event()
    house.projector.add(1, document("1"))
    house.projector.add(2, document("2"))
    await until(lambda: house.told.indexed, "the other one is told")
    assert house.told.indexed == [(2, {"2": 1})]
    slow.set()
    await until(lambda: len(house.told.indexed) == 2, "both are told")


async def test_a_short_prediction_is_written_once(house: House) -> None:
    one = document("1")
    house.projector.add(1, one)
    house.projector.add(1, ended(one))
    await house.empty()
    assert house.batches == [[ended(one)]]
    await until(lambda: house.told.indexed, "the coordinator is told")
    assert house.told.indexed == [(1, {"1": 2})]


async def test_the_older_state_comes_to_nothing(house: House) -> None:
    one = document("1")
    house.projector.add(1, ended(one))
    house.projector.add(1, one)
    assert house.projector.pending("acme") == [ended(one)]
    await house.empty()
    house.projector.add(1, one)  # a coordinator that was loaded again sends it again
    await house.empty()
    assert await house.index.get("1", "acme") == ended(one)


async def test_what_changes_while_it_is_written_is_written_again(house: House) -> None:
    one = document("1")
    house.projector.add(1, one)
    await until(lambda: house.batches, "it is being written")
    house.projector.add(1, ended(one))
    assert house.projector.pending("acme") == [ended(one)]
    await house.empty()
    assert await house.index.get("1", "acme") == ended(one)
    await until(lambda: len(house.told.indexed) == 2, "the coordinator is told of both")


async def test_many_go_in_batches(house: House) -> None:
    for number in range(BATCH + 10):
        house.projector.add(1, document(f"{number}"))
    await house.empty()
    assert [len(batch) for batch in house.batches] == [BATCH, 10]


async def test_an_index_that_is_away_gets_them_later(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.failures = [StoreUnavailable("disk full"), ValueError("a mistake of ours")]
    one = document("1")
    with caplog.at_level(logging.CRITICAL):
        house.projector.add(1, one)
        await house.empty()
    assert len(house.batches) == 3
    assert await house.index.get("1", "acme") == one


async def test_coordinators_that_sleep_or_break_are_not_told(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.told.awake = {2}
    house.told.failures = 1
    with caplog.at_level(logging.CRITICAL):
        house.projector.add(1, document("1"))
        house.projector.add(2, document("2"))
        await house.empty()
        await until(lambda: not house.told.failures, "the second was asked")
    assert house.told.indexed == []


async def test_what_ended_lately_is_at_hand(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.projector.RECENT_BYTES", 5000)
    documents = [ended(document(f"{n}"), output=b"1" * 500) for n in range(5)]
    for one in documents:
        house.projector.add(1, one)
    house.projector.add(1, document("running"))
    assert house.projector.recent("running") is None
    assert house.projector.recent("absent") is None
    found = [house.projector.recent(one.id) for one in documents]
    assert found == [None, None, *documents[2:]], "the oldest give way"
    await house.empty()
    assert house.projector.recent("4") == documents[4]


async def test_stop_writes_what_is_pending(house: House) -> None:
    one = document("1")
    house.projector.add(1, ended(one))
    await house.projector.stop()
    assert await house.index.get("1", "acme") == ended(one)
    assert house.runs == {"acme/m": 1}


async def test_stop_does_not_wait_for_an_index_that_is_away(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.failures = [StoreUnavailable("disk full")]
    house.projector.add(1, document("1"))
    with caplog.at_level(logging.CRITICAL):
        await house.projector.stop()
    assert house.projector.pending("acme") == [document("1")]


async def test_while_rows_are_held_coordinators_hear_of_creations_alone(house: House) -> None:
    house.projector.hold_rows()
    for number in (1, 2):
        house.projector.add(number, ended(document(f"{number}")))
    await house.empty()
    await until(lambda: len(house.told.indexed) == 2, "both coordinators are told")
    assert sorted(house.told.indexed) == [(1, {"1": KEEP_ROW}), (2, {"2": KEEP_ROW})]
    house.told.indexed.clear()
    await house.projector.let_rows_go(2)
    assert house.told.indexed == [(2, {"2": 2})]
    house.projector.add(1, ended(document("3")))
    house.projector.add(2, ended(document("4")))
    await house.empty()
    await until(lambda: len(house.told.indexed) == 3, "both are told")
    assert sorted(house.told.indexed[1:]) == [(1, {"3": KEEP_ROW}), (2, {"4": 2})]
    house.told.indexed.clear()
    await house.projector.let_rows_go()
    await house.projector.let_rows_go()
    assert house.told.indexed == [(1, {"1": 2, "3": 2})]
