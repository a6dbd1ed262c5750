"""Dispatches whose inputs are read first, in virtual time."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.errors import BlobsUnavailable
from coordinator.calls import SocketAddress
from coordinator.long_inputs import AGAIN_S, LongDispatch, LongDispatches, store
from coordinator.overflow.errand import Errand, address_of
from coordinator.overflow.policy import Overflow
from coordinator.protocol import messages as wire
from tests.support.virtual_clock import VirtualClock
from tests.support.waiting import until

RAW = b'{"text": "%s"}' % (b"x" * 300_000)
AGENT = SocketAddress("gateway", "1")
DISPATCH = wire.Dispatch(
    channel=1, prediction="p", attempt=1, secret="s", input=msgspec.Raw(b"{}"), run_s=60.0
)
CANCEL = wire.Cancel(channel=1, prediction="p", attempt=1, grace_s=1.0)
OTHER = wire.Cancel(channel=1, prediction="other", attempt=1, grace_s=1.0)


class House:
    def __init__(self, folder: Path) -> None:
        self.blobs = DiskBlobs(folder)
        self.clock = VirtualClock()
        self.sent: list[tuple[Any, Any]] = []
        self.dispatches = LongDispatches(self.blobs, self.clock, self.deliver)

    def deliver(self, address: Any, message: Any) -> None:
        self.sent.append((address, message))

    async def until(self, count: int) -> None:
        await until(lambda: len(self.sent) >= count, f"{count} messages")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_what_concerns_it_waits_behind_it_and_nothing_else(house: House) -> None:
    long = await store(house.blobs, RAW)
    assert house.dispatches.send(AGENT, LongDispatch(DISPATCH, long))
    assert house.dispatches.send(AGENT, LongDispatch(DISPATCH, long))  # sent again before it was read
    assert house.dispatches.send(AGENT, CANCEL)
    assert not house.dispatches.send(AGENT, OTHER)
    assert not house.dispatches.send(SocketAddress("gateway", "2"), CANCEL)
    await house.until(2)
    (_, first), (_, second) = house.sent
    assert bytes(first.input) == RAW
    assert msgspec.structs.replace(first, input=DISPATCH.input) == DISPATCH
    assert second == CANCEL
    assert not house.dispatches.send(AGENT, CANCEL)


async def test_what_goes_to_a_provider_has_it_too(house: House) -> None:
    errand = Errand(
        number=7,
        prediction="p",
        attempt=1,
        secret="s",
        key="k",
        account="a",
        token="t",
        input=b"{}",
        input_files={},
        run_s=60.0,
        streams=False,
        target=Overflow(when="always", model="acme/greeter"),
        dispatched_at=1,
    )
    assert house.dispatches.send(address_of(7), LongDispatch(errand, await store(house.blobs, RAW)))
    await house.until(1)
    assert house.sent == [(address_of(7), msgspec.structs.replace(errand, input=RAW))]


async def test_a_storage_that_is_away_is_asked_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    long = await store(house.blobs, RAW)
    read, failures = house.blobs.read, [1, 2, 3]

    def away(key: str, start: int = 0, end: int | None = None) -> Any:
        if failures:
            failures.pop()
            raise BlobsUnavailable("storage is away")
        return read(key, start, end)

    monkeypatch.setattr(house.blobs, "read", away)
    house.dispatches.send(AGENT, LongDispatch(DISPATCH, long))
    await house.clock.advance(3.5 * AGAIN_S)
    await house.until(1)
    assert bytes(house.sent[0][1].input) == RAW


async def test_one_that_was_deleted_is_said_to_be_gone(house: House) -> None:
    long = await store(house.blobs, RAW)
    await house.blobs.delete(long.key)
    house.dispatches.send(AGENT, LongDispatch(DISPATCH, long))
    await house.until(1)
    assert bytes(house.sent[0][1].input) == b"null"


async def test_an_end_leaves_nothing_running(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    long = await store(house.blobs, RAW)

    def away(key: str, start: int = 0, end: int | None = None) -> Any:
        raise BlobsUnavailable("storage is away")

    monkeypatch.setattr(house.blobs, "read", away)
    house.dispatches.send(AGENT, LongDispatch(DISPATCH, long))
    await house.dispatches.stop()
    await house.dispatches.stop()
    assert house.sent == []
