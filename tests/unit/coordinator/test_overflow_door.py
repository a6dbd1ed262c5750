"""Predictions at a provider from end to end, with real coordinators, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from coordinator import calls
from coordinator.actor.errors import CommitFailed
from coordinator.errors import Unavailable
from coordinator.overflow.carrier import Carrier, mark_of
from coordinator.overflow.door import Door
from coordinator.overflow.errand import Errand
from coordinator.overflow.policy import Overflow
from coordinator.overflow.provider import (
    BadKey,
    NoModel,
    NotReached,
    OutOfCredit,
    Rejected,
    Remote,
    Throttled,
    Unreachable,
)
from coordinator.prediction import Document, Status
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits, WireLimits
from tests.support.coordination import Coordination, Worker
from tests.support.elsewhere import Elsewhere
from tests.support.virtual_clock import VirtualClock, breathe
from tests.support.waiting import until

GOING = Overflow(when="no_workers", model="acme/elsewhere")
SETTLE_S = 10.0


class Plain:
    """Inputs and outputs without files."""

    async def fit(self, keys: Collection[str]) -> bool:
        return True

    async def given(self, errand: Errand) -> bytes:
        return errand.input

    async def kept(
        self, errand: Errand, output: Raw, known: dict[str, wire.StoredFile]
    ) -> tuple[Raw, tuple[wire.StoredFile, ...]]:
        return output, ()


class Purse:
    """Counts; ``left`` of them may begin."""

    def __init__(self) -> None:
        self.left = 1000
        self.settled: list[str] = []

    async def reserve(self, errand: Errand) -> float:
        if not self.left:
            return 600.0
        self.left -= 1
        return 0.0

    async def release(self, errand: Errand) -> None:
        self.left += 1

    async def settle(self, errand: Errand, remote: Remote) -> None:
        self.settled.append(errand.prediction)


class House(Coordination):
    """A server with a door to one provider."""

    def __init__(self, folder: Path, clock: VirtualClock, limits: ServerLimits) -> None:
        super().__init__(folder, clock, limits)
        self.provider = Elsewhere(clock.now)
        self.keys: dict[str, str] = {"tok_1": "key-1", "tok_2": "key-2", "tok_3": "key-1"}
        self.keys_away = False
        self.purse = Purse()
        self.public_url = ""
        self.mine: Door | None = None
        self.watch = self._open_door

    def _open_door(self) -> None:
        carrier = partial(
            Carrier,
            providers={"replicate": self.provider},
            keys=self._key,
            files=Plain(),
            caps=self.purse,
            awake=self.coordinators.namespace.woken,
            clock=self.clock,
            limits=self.limits,
            wire_limits=WireLimits(),
            public_url=self.public_url,
        )
        self.mine = self.door = Door(
            models=self.models, carrier=carrier, clock=self.clock, limits=self.limits
        )
        self.coordinators.connect(self.sockets, None, self.mine)

    async def _key(self, token: str, provider: str) -> str | None:
        if self.keys_away:
            raise Unavailable("the control store is away")
        return self.keys.get(token)

    async def stop(self) -> None:
        if self.mine is not None:
            await self.mine.stop()
        await super().stop()

    async def go(self, **fields: Any) -> str:
        return await self.create(**({"overflow": GOING} | fields))

    async def passes(self, seconds: float) -> None:
        """Time, in steps that let both sides answer."""
        for _ in range(round(seconds / 0.5)):
            await self.advance(0.5)

    async def reaches(self, goal: Callable[[], Awaitable[bool]]) -> None:
        """Let time pass until it is so: what is read from disk meanwhile takes as long as it does."""
        async with asyncio.timeout(20):
            while not await goal():
                await self.advance(0.5)
                await asyncio.sleep(0.005)

    async def end(self, id: str) -> Document:
        """It once it has ended, however often somebody must look."""

        async def ended() -> bool:
            found = self.coordinators.projector.recent(id)
            return found is not None and found.status.terminal

        await self.reaches(ended)
        return await self.get(id)


@pytest.fixture
def limits() -> ServerLimits:
    return replace(ServerLimits(), overflow_settle_s=0.0)


@pytest.fixture
async def server(
    tmp_path: Path, clock: VirtualClock, limits: ServerLimits, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    monkeypatch.setattr("coordinator.projector.GATHER_S", 0.0)
    server = House(tmp_path, clock, limits)
    await server.start()
    yield server
    await server.stop()
    assert server.fatal == []


@pytest.fixture
def provider(server: House) -> Elsewhere:
    return server.provider


async def reason(server: House, id: str) -> str | None:
    found = await server.stub.why(calls.Why(id=id, account="acme"))
    assert isinstance(found, calls.Explained)
    return found.reason


class TestRun:
    async def test_from_end_to_end(self, server: House, provider: Elsewhere) -> None:
        id = await server.go(input=b'{"text":"hi"}')
        begun = await provider.one()
        assert (begun.key, begun.wanted.model) == ("key-1", "acme/elsewhere")
        assert begun.wanted.input == b'{"text":"hi"}'
        assert (await server.get(id)).status is Status.STARTING
        provider.becomes(begun.id, "processing", started_at=server.clock.now())
        await server.passes(1)
        assert (await server.get(id)).status is Status.PROCESSING
        metrics = {"predict_time": Raw(b"1.5")}
        provider.becomes(begun.id, "succeeded", "hi there", logs="done\n", metrics=metrics)
        document = await server.end(id)
        assert (document.status, document.output) == (Status.SUCCEEDED, b'"hi there"')
        assert document.logs == "done\n"
        assert msgspec.json.decode(document.metrics) == {"predict_time": 1.5, "runner": "replicate"}
        assert document.attempts[0].remote == begun.id
        assert server.purse.settled == [id]

    async def test_logs_and_output_come_as_they_grow(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        begun = await provider.one()
        provider.becomes(begun.id, "processing", ["a"], logs="one\n")
        await server.passes(1)
        provider.becomes(begun.id, "processing", ["a", "b"], logs="one\ntwo\n")
        await server.passes(1)
        document = await server.get(id)
        assert (document.output, document.logs) == (b'["a","b"]', "one\ntwo\n")
        found = await server.events(id)
        said = [(event.kind, msgspec.json.decode(event.data)) for event in found.events]
        assert said == [("logs", "one\n"), ("output", "a"), ("logs", "two\n"), ("output", "b")]

    async def test_a_failure_is_the_models(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        provider.becomes((await provider.one()).id, "failed", error="out of memory")
        document = await server.end(id)
        assert (document.status, document.error) == (Status.FAILED, "out of memory")
        assert document.error_code == "model_error"

    async def test_looks_become_rare_while_nothing_changes(self, server: House, provider: Elsewhere) -> None:
        await server.go()
        await provider.one()
        await server.passes(120)
        assert 20 <= provider.looks <= 32

    async def test_an_input_that_is_refused_fails_it(self, server: House, provider: Elsewhere) -> None:
        provider.trouble = [Rejected("replicate says: input.text is required")]
        document = await server.end(await server.go())
        assert (document.status, document.error) == (
            Status.FAILED,
            "replicate says: input.text is required",
        )
        await server.go()
        await provider.one()

    async def test_a_model_that_the_provider_has_not_waits_for_a_worker(
        self, server: House, provider: Elsewhere
    ) -> None:
        provider.trouble = [NoModel("replicate has no model acme/greeter")]
        id = await server.go()
        await until(lambda: provider.asked, "it is asked")
        await server.settled()
        assert await reason(server, id) == "overflow_paused"
        worker = Worker(server)
        await worker.attach()
        assert (await worker.take()).prediction == id

    async def test_workers_have_time_to_come_back_after_a_start(
        self, tmp_path: Path, clock: VirtualClock
    ) -> None:
        house = House(tmp_path, clock, replace(ServerLimits(), overflow_settle_s=SETTLE_S))
        await house.start()
        mine, other = await house.go(), await house.go()
        await house.passes(SETTLE_S - 2)
        worker = Worker(house)
        await worker.attach()
        assert (await worker.take()).prediction == mine
        worker.lose()
        await house.passes(4)
        assert [each.wanted.input for each in house.provider.begun] == [b'{"n":1}']
        assert house.provider.asked == 1 and other
        await house.stop()

    async def test_a_limit_that_the_provider_kept(self, server: House, provider: Elsewhere) -> None:
        id = await server.go(run_s=60.0)
        begun = await provider.one()
        assert begun.wanted.run_s == 60
        await server.passes(61)
        provider.becomes(begun.id, "canceled")
        document = await server.end(id)
        assert (document.status, document.error_code) == (Status.FAILED, "run_timeout")

    async def test_one_that_somebody_canceled_there(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        provider.becomes((await provider.one()).id, "canceled")
        document = await server.end(id)
        assert (document.status, document.error) == (Status.CANCELED, "it was canceled at the provider")

    async def test_a_token_takes_no_slots_from_another(
        self, tmp_path: Path, clock: VirtualClock, limits: ServerLimits
    ) -> None:
        house = House(tmp_path, clock, replace(limits, overflow_running=2))
        await house.start()
        ids = [await house.go() for _ in range(3)]
        await house.provider.one(2)
        assert await reason(house, ids[2]) == "overflow_full"
        await house.go(token="tok_2")
        assert (await house.provider.one(3)).key == "key-2"
        house.provider.becomes(house.provider.begun[0].id, "succeeded")
        await house.end(ids[0])
        await house.provider.one(4)
        await house.stop()


class TestKeys:
    async def test_another_key_in_its_middle(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        begun = await provider.one()
        provider.down = BadKey("replicate says: no such key")
        await server.passes(2)
        server.keys["tok_1"] = "key-1b"
        provider.down = None
        provider.becomes(begun.id, "succeeded", "same")
        assert (await server.end(id)).output == b'"same"'
        assert provider.asked == 1

    async def test_a_control_store_that_is_away(self, server: House, provider: Elsewhere) -> None:
        server.keys_away = True
        await server.go()
        await server.passes(3)
        assert provider.asked == 0
        server.keys_away = False
        await server.passes(3)
        await provider.one()

    async def test_it_is_away_after_a_restart(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        begun = await provider.one()
        await server.settled()
        server.keys_away = True
        await server.restart()
        await server.passes(5)
        server.keys_away = False
        provider.becomes(begun.id, "succeeded", "same")
        assert (await server.end(id)).output == b'"same"'
        assert provider.asked == 1


class TestBreaker:
    @pytest.mark.parametrize(
        ("trouble", "closed_s"),
        [
            (OutOfCredit("replicate says: pay first"), 600),
            (Throttled("replicate says: slow down", 45.0), 45),
            (NotReached("replicate cannot be reached"), 2),
        ],
    )
    async def test_opens_and_closes(
        self, server: House, provider: Elsewhere, trouble: Exception, closed_s: float
    ) -> None:
        provider.trouble = [trouble]  # type: ignore[list-item]
        id = await server.go(queue_s=7200.0)
        await until(lambda: provider.asked, "it is asked")
        await server.settled()
        assert await reason(server, id) == "overflow_paused"
        other = await server.go(token="tok_3", queue_s=7200.0)
        await server.advance(closed_s - 0.5)
        assert provider.asked == 1
        assert await reason(server, other) == "overflow_paused"
        for _ in range(8):
            await server.advance(0.5)
        await provider.one(2)
        document = await server.get(id)
        assert document.attempts[0].reason == str(trouble)

    async def test_it_opens_for_longer_each_time(self, server: House, provider: Elsewhere) -> None:
        provider.trouble = [NotReached("down")] * 4
        await server.go()
        await server.passes(2 + 4 + 8 + 1)
        assert provider.asked == 4
        await server.passes(14)
        assert provider.asked == 4
        await server.passes(3)
        assert provider.asked == 5

    async def test_another_key_is_not_held(self, server: House, provider: Elsewhere) -> None:
        provider.trouble = [OutOfCredit("pay")]
        await server.go()
        await until(lambda: provider.asked, "it is asked")
        await server.settled()
        await server.go(token="tok_2")
        assert (await provider.one()).key == "key-2"

    async def test_one_is_tried_and_the_others_follow(self, server: House, provider: Elsewhere) -> None:
        provider.trouble = [Throttled("slow", 20.0)]
        for _ in range(5):
            await server.go()
            await server.settled()
        assert provider.asked == 1
        provider.trouble = [Throttled("slow", 20.0)]
        await server.passes(21)
        assert provider.asked == 2
        await server.passes(24)
        await provider.one(5)

    async def test_a_token_without_a_key_waits(self, server: House, provider: Elsewhere) -> None:
        id = await server.go(token="tok_9")
        await server.settled()
        assert await reason(server, id) == "overflow_paused"
        server.keys["tok_9"] = "late"
        await server.passes(62)
        await provider.one()


class TestDoubt:
    async def test_what_has_begun_all_the_same_is_found(self, server: House, provider: Elsewhere) -> None:
        provider.trouble, provider.begins_all_the_same = [Unreachable("no answer")], True
        id = await server.go()
        begun = await provider.one()
        provider.becomes(begun.id, "succeeded", "once")
        assert (await server.end(id)).output == b'"once"'
        assert provider.asked == 1

    async def test_it_is_looked_for_before_the_next_try(self, server: House, provider: Elsewhere) -> None:
        """Neither an answer nor a list: after the pause it is found, and not begun again."""
        provider.trouble, provider.begins_all_the_same = [Unreachable("no answer")], True
        provider.down = Unreachable("500")
        id = await server.go()
        begun = await provider.one()
        await server.passes(20)
        provider.down = None
        provider.becomes(begun.id, "succeeded", "once")
        document = await server.end(id)
        assert (document.output, provider.asked) == (b'"once"', 1)
        assert len([a for a in document.attempts if a.doubtful]) >= 1

    async def test_what_has_not_begun_is_tried_again(self, server: House, provider: Elsewhere) -> None:
        provider.trouble = [Unreachable("500")]
        await server.go()
        await server.passes(12)
        await provider.one()
        assert provider.asked == 2

    async def test_two_with_the_same_input_stay_two(self, server: House, provider: Elsewhere) -> None:
        first = await server.go()
        mine = await provider.one()
        provider.trouble, provider.begins_all_the_same = [Unreachable("no answer")], True
        second = await server.go()
        other = await provider.one(2)
        await server.passes(1)
        provider.becomes(mine.id, "succeeded", 1)
        provider.becomes(other.id, "succeeded", 2)
        assert (await server.end(first)).output == b"1"
        assert (await server.end(second)).output == b"2"

    async def test_one_that_is_gone_there_is_tried_again(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        provider.forget((await provider.one()).id)
        await server.passes(1)
        provider.becomes((await provider.one()).id, "succeeded", 2)
        document = await server.end(id)
        assert [a.outcome for a in document.attempts] == ["lost", "finished"]

    async def test_trouble_while_it_runs_changes_nothing(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        begun = await provider.one()
        provider.down = Unreachable("502")
        await server.passes(60)
        provider.down = None
        provider.becomes(begun.id, "succeeded", 3)
        assert (await server.end(id)).output == b"3"
        assert provider.asked == 1


class TestCancel:
    async def test_it_is_canceled_there(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        begun = await provider.one()
        provider.becomes(begun.id, "processing")
        await server.passes(1)
        await server.cancel(id)
        document = await server.end(id)
        assert document.status is Status.CANCELED
        assert provider.canceled == [begun.id]

    async def test_after_a_restart_too(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        begun = await provider.one()
        await server.settled()
        provider.down = Unreachable("502")
        await server.cancel(id)
        await server.restart()
        provider.down = None
        await server.passes(3)
        assert provider.canceled == [begun.id]
        assert (await server.end(id)).status is Status.CANCELED

    async def test_the_run_limit_cancels_it(self, server: House, provider: Elsewhere) -> None:
        id = await server.go(run_s=60.0)
        begun = await provider.one()
        await server.passes(105)
        assert provider.canceled == [begun.id]
        assert (await server.end(id)).error_code == "run_timeout"


class TestRestart:
    async def test_it_is_taken_up_by_its_name(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        begun = await provider.one()
        await server.settled()
        await server.restart()
        provider.becomes(begun.id, "succeeded", "same")
        document = await server.end(id)
        assert (document.output, provider.asked) == (b'"same"', 1)
        assert len(document.attempts) == 1

    async def test_one_that_ended_meanwhile(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        begun = await provider.one()
        await server.settled()
        await server.stop()
        provider.becomes(begun.id, "succeeded", "same")
        await server.start()
        assert (await server.end(id)).output == b'"same"'
        assert provider.asked == 1

    async def test_an_instance_that_broke_is_told_all_again(self, server: House, provider: Elsewhere) -> None:
        id = await server.go()
        begun = await provider.one()
        provider.becomes(begun.id, "processing", ["a"], logs="one\n")
        await server.passes(1)
        server.storages.fail(CommitFailed("the disk is full"))
        with pytest.raises(Unavailable):
            await server.create()

        async def known_again() -> bool:
            document = await server.find(id)
            return document is not None and (document.output, document.logs) == (b'["a"]', "one\n")

        await server.reaches(known_again)
        provider.becomes(begun.id, "succeeded", ["a"])
        assert (await server.end(id)).output == b'["a"]'
        assert provider.asked == 1


class TestCap:
    async def test_what_is_over_waits_for_own_workers(self, server: House, provider: Elsewhere) -> None:
        server.purse.left = 1
        await server.go()
        await provider.one()
        id = await server.go()
        await server.settled()
        assert await reason(server, id) == "overflow_cap"
        worker = Worker(server)
        await worker.attach()
        assert (await worker.take()).prediction == id

    async def test_what_is_refused_does_not_count(self, server: House, provider: Elsewhere) -> None:
        server.purse.left = 1
        provider.trouble = [OutOfCredit("pay")]
        await server.go(queue_s=7200.0)
        await until(lambda: provider.asked, "it is asked")
        await server.settled()
        assert server.purse.left == 1


class TestHint:
    async def test_the_provider_says_that_it_has_ended(
        self, tmp_path: Path, clock: VirtualClock, limits: ServerLimits
    ) -> None:
        house = House(tmp_path, clock, limits)
        house.public_url = "https://cogflare.example"
        await house.start()
        id = await house.go()
        begun = await house.provider.one()
        await house.passes(60)
        base, _, mark = begun.wanted.webhook.rpartition("/")
        assert base == f"https://cogflare.example/v1/overflow/{id}/1"
        house.provider.becomes(begun.id, "succeeded", "told")
        assert house.mine is not None
        assert not house.mine.hint(id, 1, "0" * 32, begun.id)
        assert not house.mine.hint(id, 2, mark, begun.id)
        looks = house.provider.looks
        assert looks < 15, "where it is told, few looks are enough"
        assert house.mine.hint(id, 1, mark, begun.id)
        await breathe()
        document = await house.ended(id)
        assert (document.output, house.provider.looks) == (b'"told"', looks + 1)
        await house.stop()

    async def test_who_tells_nothing_is_looked_at_as_one_that_does_not_know_us(
        self, tmp_path: Path, clock: VirtualClock, limits: ServerLimits
    ) -> None:
        house = House(tmp_path, clock, limits)
        house.public_url, house.provider.tells = "https://cogflare.example", False
        await house.start()
        await house.go()
        await house.provider.one()
        await house.passes(120)
        assert house.provider.looks > 20
        await house.stop()


def test_a_mark_is_of_one_attempt() -> None:
    errand = Errand(
        number=1,
        prediction="p",
        attempt=1,
        secret="s" * 32,
        key="k",
        account="a",
        token="t",
        input=b"{}",
        input_files={},
        run_s=1.0,
        streams=False,
        target=GOING,
        dispatched_at=1,
    )
    assert mark_of(errand) != mark_of(msgspec.structs.replace(errand, secret="t" * 32))
