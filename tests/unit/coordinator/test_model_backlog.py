"""A queue longer than what memory holds of it: everything that can be asked of what waits on disk."""

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from coordinator import calls
from coordinator.actor.errors import CommitFailed, ReadFailed
from coordinator.errors import Unavailable
from coordinator.model import Model
from coordinator.model_schema import CREATED, FLOWS_LOADED, OVERDUE
from coordinator.prediction import Document, Status, encode
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from coordinator.waiting import flow_of, queued_as
from tests.support.coordination import V2, Coordination, Worker, finished
from tests.support.virtual_clock import breathe
from tests.support.waiting import until

WINDOW = 8


@pytest.fixture
def limits() -> ServerLimits:
    return ServerLimits(queue_window=WINDOW)


def model(server: Coordination) -> Model:
    actor = server.coordinators.namespace._instances[server.number]._actor
    assert isinstance(actor, Model)
    return actor


def in_memory(server: Coordination) -> set[str]:
    return set(model(server)._book.entries)


async def queued(server: Coordination, count: int, **fields: object) -> list[str]:
    """So many that wait, all told to the index."""
    ids = [await server.create(input=b'{"n":%d}' % n, **fields) for n in range(count)]
    await server.settled()
    return ids


async def drained(server: Coordination, worker: Worker, count: int) -> list[str]:
    """Run so many, one after the other."""
    order = []
    for _ in range(count):
        dispatch = await worker.take()
        order.append(dispatch.prediction)
        worker.finish(dispatch)
        await worker.next(wire.Ack)
        worker.offer()
    return order


class TestWindow:
    async def test_memory_holds_the_head_of_the_queue(self, server: Coordination) -> None:
        ids = await queued(server, 5 * WINDOW)
        assert in_memory(server) == set(ids[:WINDOW])
        assert len(model(server)._book.queue) == len(ids)

    async def test_all_run_in_order(self, server: Coordination) -> None:
        ids = await queued(server, 5 * WINDOW)
        worker = Worker(server)
        await worker.attach()
        assert await drained(server, worker, len(ids)) == ids
        await server.settled()
        assert in_memory(server) == set()

    async def test_what_was_canceled_on_disk_leaves_no_line_behind(self, server: Coordination) -> None:
        ids = await queued(server, 3 * WINDOW, user="someone")
        for id in reversed(ids):
            await server.cancel(id)
        await server.settled()
        assert in_memory(server) == set()
        queue = model(server)._book.queue
        assert queue._window.lines == {}
        assert queue._owners.root.children == {}

    async def test_inputs_come_back_whole(self, server: Coordination) -> None:
        await queued(server, 3 * WINDOW)
        worker = Worker(server)
        await worker.attach(slots=3 * WINDOW)
        for n in range(3 * WINDOW):
            assert bytes((await worker.take()).input) == b'{"n":%d}' % n

    async def test_what_comes_while_the_queue_is_read_keeps_its_place(self, server: Coordination) -> None:
        ids = await queued(server, 2 * WINDOW)
        worker = Worker(server)
        server.storages.hold_reads()
        await worker.attach(slots=WINDOW)
        first = [await worker.take() for _ in range(WINDOW)]
        await until(lambda: server.storages.reading, "more is being read")
        ids += await queued(server, 2 * WINDOW)
        server.storages.let_go()
        for dispatch in first:
            worker.finish(dispatch)
            await worker.next_of(wire.Ack)
        worker.offer(WINDOW)
        rest = []
        while len(rest) < 3 * WINDOW:
            dispatch = await worker.next_of(wire.Dispatch)
            rest.append(dispatch.prediction)
            worker.accept(dispatch)
            worker.finish(dispatch)
            worker.offer()
        assert [d.prediction for d in first] + rest == ids

    async def test_large_inputs_are_in_memory_as_far_as_there_is_room(self, server: Coordination) -> None:
        large, window_bytes = b'{"n":"%s"}' % (b"x" * 1000), 3500
        object.__setattr__(server.limits, "queue_window_bytes", window_bytes)
        await server.restart()
        ids = [await server.create(input=large) for _ in range(3 * WINDOW)]
        await server.settled()
        assert 1 <= len(in_memory(server)) <= 3
        assert model(server)._book.queue.bytes_in_memory <= window_bytes
        worker = Worker(server)
        await worker.attach()
        for id in ids:
            dispatch = await worker.take()
            assert (dispatch.prediction, bytes(dispatch.input)) == (id, large)
            worker.finish(dispatch)
            await worker.next(wire.Ack)
            worker.offer()
            assert model(server)._book.queue.bytes_in_memory <= window_bytes

    async def test_what_fits_runs_however_many_flows_of_others_memory_is_full_of(
        self, server: Coordination
    ) -> None:
        """Of other tokens and of the same one: they need a version that is not there."""
        for user in range(3 * WINDOW):
            await queued(server, 1, version=V2, user=f"x{user}")
            await queued(server, 1, account="other", token=f"tok_{user}", version=V2)
        mine = [(await queued(server, 1, user=f"z{user}"))[0] for user in range(2 * WINDOW)]
        await queued(server, 2 * WINDOW, version=V2, user="y")
        worker = Worker(server)
        await worker.attach()
        assert sorted(await drained(server, worker, len(mine))) == sorted(mine)
        await worker.silence()
        late = await queued(server, 1, user="late")
        assert await drained(server, worker, 1) == late
        other = Worker(server, "agent-2")
        other.version = V2
        await other.attach()
        assert len(set(await drained(server, other, 8 * WINDOW))) == 8 * WINDOW

    async def test_several_flows_share_memory(self, server: Coordination) -> None:
        many = await queued(server, 5 * WINDOW)
        (one,) = await queued(server, 1, account="other", token="tok_2")
        worker = Worker(server)
        await worker.attach()
        assert one in await drained(server, worker, 2), "the one starts next"
        assert set(await drained(server, worker, len(many) - 1)) <= set(many)

    async def test_one_that_was_refused_goes_back_to_the_head(self, server: Coordination) -> None:
        ids = await queued(server, 3 * WINDOW)
        worker = Worker(server)
        await worker.attach()
        worker.refuse(await worker.next(wire.Dispatch))
        worker.offer()
        assert await drained(server, worker, len(ids)) == ids


class TestLimits:
    @pytest.fixture
    def limits(self) -> ServerLimits:
        return ServerLimits(queue_window=WINDOW, queue_length=3 * WINDOW, queue_bytes=1000, index_backlog=20)

    async def test_they_count_what_is_on_disk(self, server: Coordination) -> None:
        await queued(server, 3 * WINDOW)
        for _ in range(2):
            refused = await server.try_create()
            assert isinstance(refused, calls.Refused)
            assert refused.code == "queue_full"
            await server.restart()

    async def test_so_do_the_bytes(self, server: Coordination) -> None:
        for _ in range(2 * WINDOW):
            await server.create(input=b'"%s"' % (b"x" * 50))
            await server.settled()
        for _ in range(2):
            refused = await server.try_create(input=b'"%s"' % (b"x" * 200))
            assert isinstance(refused, calls.Refused)
            assert refused.code == "queue_bytes_full"
            await server.restart()

    async def test_the_index_may_not_be_too_far_behind(self, server: Coordination) -> None:
        await server.coordinators.projector.stop()
        for _ in range(20):
            await server.create()
        refused = await server.try_create()
        assert isinstance(refused, calls.Refused)
        assert refused.code == "index_behind"
        await server.coordinators.projector.start()


class TestAskedFor:
    @pytest.fixture
    async def ids(self, server: Coordination) -> list[str]:
        return await queued(server, 3 * WINDOW)

    async def test_it_is_found(self, server: Coordination, ids: list[str]) -> None:
        document = await server.find(ids[-1])
        assert document is not None
        assert (document.id, document.status) == (ids[-1], Status.STARTING)
        assert document.input == b'{"n":%d}' % (len(ids) - 1)
        assert await server.find(ids[-1], account="other") is None
        assert await server.find(server.ids.make(server.number)) is None
        await server.find(ids[0])
        assert len(in_memory(server)) <= WINDOW + 1, "who was only looked at leaves again"

    async def test_it_is_canceled_and_never_runs(self, server: Coordination, ids: list[str]) -> None:
        document = await server.cancel(ids[-2])
        assert document.status is Status.CANCELED
        assert (await server.ended(ids[-2])).error_code == "canceled"
        await server.settled()
        worker = Worker(server)
        await worker.attach()
        rest = [id for id in ids if id != ids[-2]]
        assert await drained(server, worker, len(rest)) == rest
        await server.settled()
        assert len(model(server)._book.queue) == 0
        assert await server.find(ids[-2]) is None, "the index has it"

    async def test_canceled_while_it_is_read_for_the_queue(
        self, server: Coordination, ids: list[str]
    ) -> None:
        """The rows that come back say that it waits: they are out of date."""
        worker = Worker(server)
        server.storages.hold_reads()
        await worker.attach(slots=WINDOW)
        for _ in range(WINDOW):
            await worker.take()
        await until(lambda: server.storages.reading, "more is being read")
        canceling = asyncio.ensure_future(server.cancel(ids[WINDOW]))
        await until(lambda: server.storages.reading == 2, "its row is being read")
        server.storages.let_go()
        assert (await canceling).status is Status.CANCELED
        await server.settled()
        assert await server.find(ids[WINDOW]) is None
        worker.offer(2 * WINDOW)
        seen = [(await worker.take()).prediction for _ in range(2 * WINDOW - 1)]
        assert seen == ids[WINDOW + 1 :]
        await worker.silence()

    async def test_a_listener_hears_of_it(self, server: Coordination, ids: list[str]) -> None:
        waiting = asyncio.ensure_future(server.events(ids[-1], timeout_s=1000.0, only_terminal=True))
        await until(lambda: server.storages.reads, "its row is read")
        worker = Worker(server)
        await worker.attach()
        await drained(server, worker, len(ids))
        assert (await waiting).document.status is Status.SUCCEEDED

    async def test_a_listener_whose_time_is_over(self, server: Coordination, ids: list[str]) -> None:
        waiting = asyncio.ensure_future(server.events(ids[-1], timeout_s=5.0))
        await until(lambda: server.storages.reads and not server.storages.reading, "its row is read")
        while not waiting.done():  # its time begins with the turn that gets the row
            await server.advance(2.5)
        events = await waiting
        assert (events.document.id, events.events) == (ids[-1], ())

    async def test_the_same_create_again_is_the_same_prediction(
        self, server: Coordination, ids: list[str]
    ) -> None:
        again = await server.try_create(ids[-1], input=b'{"other":1}', again=True)
        assert isinstance(again, calls.Found)
        assert again.document.input == b'{"n":%d}' % (len(ids) - 1)
        assert len(model(server)._book.queue) == len(ids)
        new = server.ids.make(server.number)
        assert await server.create(new, again=True) == new
        assert len(model(server)._book.queue) == len(ids) + 1

    async def test_a_create_reads_nothing(self, server: Coordination, ids: list[str]) -> None:
        before = len(server.storages.reads)
        await server.create()
        assert len(server.storages.reads) == before

    async def test_when_all_is_in_memory_nothing_is_read(self, server: Coordination, ids: list[str]) -> None:
        worker = Worker(server)
        await worker.attach()
        await drained(server, worker, len(ids) - 2)
        await server.settled()
        before = len(server.storages.reads)
        assert await server.find(ids[0]) is None
        assert await server.find(ids[-1]) is not None
        assert len(server.storages.reads) == before

    async def test_a_read_that_fails_is_unknown_and_loses_nothing(
        self, server: Coordination, ids: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        server.storages.fail_read(ReadFailed("no file handles"))
        with caplog.at_level("CRITICAL"), pytest.raises(Unavailable):
            await server.find(ids[-1])
        assert server.sockets.lost_objects == [server.number]
        assert (await server.get(ids[-1])).id == ids[-1]
        worker = Worker(server)
        await worker.attach()
        assert await drained(server, worker, len(ids)) == ids

    async def test_a_commit_that_fails_at_depth_loses_nothing_accepted(
        self, server: Coordination, ids: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        server.storages.fail(CommitFailed("disk full"))
        refused = server.ids.make(server.number)
        with caplog.at_level("CRITICAL"), pytest.raises(Unavailable):
            await server.create(refused)
        assert await server.find(refused) is None
        worker = Worker(server)
        await worker.attach()
        assert await drained(server, worker, len(ids)) == ids
        await worker.silence()


class TestGivenUp:
    """An attempt was lost, and its prediction waits on disk again."""

    @pytest.fixture
    async def lost(self, server: Coordination) -> tuple[Worker, wire.Dispatch]:
        worker = Worker(server, "away")
        await worker.attach()
        id = await server.create()
        dispatch = await worker.take()
        assert dispatch.prediction == id
        worker.lose()
        await server.advance(server.limits.lease_s + 1)
        await server.get(id)  # it may sleep by now
        # As if the window had no room for it.
        book = model(server)._book
        entry = book.entries[id]
        book.queue.discard(id)
        book.queue.restore(flow_of(entry.document), 1, entry.input_bytes, entry.place)
        entry.on_disk = True
        book.leave(entry)
        book._let_leave()
        assert id not in in_memory(server)
        return worker, dispatch

    async def test_its_result_still_wins(
        self, server: Coordination, lost: tuple[Worker, wire.Dispatch]
    ) -> None:
        worker, dispatch = lost
        await worker.attach(slots=0, held=(worker.held(dispatch, "finished"),))
        worker.finish(dispatch)
        document = await server.ended(dispatch.prediction)
        assert document.status is Status.SUCCEEDED
        assert worker.heard(wire.Ack)

    async def test_its_agent_comes_back_with_it(
        self, server: Coordination, lost: tuple[Worker, wire.Dispatch]
    ) -> None:
        worker, dispatch = lost
        verdicts = await worker.attach(slots=0, held=(worker.held(dispatch),))
        assert verdicts == {dispatch.prediction: "keep"}
        worker.finish(dispatch)
        assert (await server.ended(dispatch.prediction)).status is Status.SUCCEEDED
        await server.settled()
        assert len(model(server)._book.queue) == 0

    async def test_a_wrong_secret_changes_nothing(
        self, server: Coordination, lost: tuple[Worker, wire.Dispatch]
    ) -> None:
        worker, dispatch = lost
        await worker.attach(slots=0)
        worker.say(finished(dispatch, secret="guessed"))
        await until(lambda: worker.heard(wire.Ack), "it is acknowledged")
        assert (await server.get(dispatch.prediction)).status is Status.PROCESSING


class TestDeadlines:
    async def test_who_waits_too_long_on_disk_is_canceled_on_time(self, server: Coordination) -> None:
        ids = await queued(server, 2 * WINDOW)
        short = await server.create(queue_s=60.0)
        assert short not in in_memory(server)
        await server.advance(59)
        assert (await server.get(short)).status is Status.STARTING
        await server.advance(1)
        document = await server.ended(short)
        assert document.error_code == "deadline_before_start"
        assert document.completed_at == server.clock.now()
        assert (await server.get(ids[-1])).status is Status.STARTING

    async def test_more_than_the_index_takes_at_once(
        self, server: Coordination, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("coordinator.backlog.PAGE", 5)
        ids = await queued(server, 4 * WINDOW)
        kept = await server.create(queue_s=9000.0)
        await server.advance(server.limits.queue_s)
        for id in ids:
            assert (await server.ended(id)).error_code == "deadline_before_start"
        await server.settled()
        assert {*in_memory(server)} <= {kept}
        assert len(model(server)._book.queue) == 1
        await server.advance(9000 - server.limits.queue_s)
        assert (await server.ended(kept)).error_code == "deadline_before_start"

    async def test_what_ran_meanwhile_is_left_alone(self, server: Coordination) -> None:
        ids = await queued(server, 2 * WINDOW, queue_s=60.0)
        worker = Worker(server)
        server.storages.hold_reads()
        await server.clock.advance(60)
        await until(lambda: any(r.statement == OVERDUE for r in server.storages.reads), "the late are read")
        await worker.attach()
        dispatch = await worker.take()
        assert dispatch.prediction == ids[0]
        server.storages.let_go()
        for id in ids[1:]:
            assert (await server.ended(id)).error_code == "deadline_before_start"
        worker.finish(dispatch)
        assert (await server.ended(ids[0])).status is Status.SUCCEEDED

    async def test_it_passes_while_the_server_is_down(self, server: Coordination) -> None:
        ids = await queued(server, 2 * WINDOW)
        await server.stop()
        await server.clock.advance(server.limits.queue_s + 1)
        await server.start()
        await server.advance(0)
        for id in ids:
            assert (await server.ended(id)).error_code == "deadline_before_start"


class TestLoad:
    async def test_only_the_head_is_read(self, server: Coordination) -> None:
        ids = await queued(server, 6 * WINDOW)
        await server.restart()
        await server.settled()
        assert len(in_memory(server)) <= WINDOW
        assert len(model(server)._book.queue) == len(ids)
        worker = Worker(server)
        await worker.attach()
        assert await drained(server, worker, len(ids)) == ids

    async def test_restarts_in_between(self, server: Coordination) -> None:
        ids = await queued(server, 4 * WINDOW)
        ran: list[str] = []
        while len(ran) < len(ids):
            worker = Worker(server)
            await worker.attach(slots=0)
            worker.offer()
            count = min(5, len(ids) - len(ran))
            ran += await drained(server, worker, count - 1)
            dispatch = await worker.take()
            ran.append(dispatch.prediction)
            worker.finish(dispatch)
            await worker.next(wire.Ack)
            worker.lose()
            await server.restart()
        assert ran == ids

    async def test_the_index_is_told_only_what_it_may_lack(
        self, server: Coordination, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = await queued(server, 3 * WINDOW)
        await server.create()
        await server.settled()
        await server.create()  # its row tells that the index has those before
        await server.settled()
        told: list[str] = []
        upsert = type(server.store.index).upsert

        async def watched(index: object, documents: list[Document]) -> None:
            told.extend(document.id for document in documents)
            await upsert(index, documents)  # type: ignore[arg-type]

        monkeypatch.setattr(type(server.store.index), "upsert", watched)
        await server.restart()
        await until(lambda: told, "the index is told of what it may lack")
        await server.settled()
        assert not {*told} & {*known}
        assert len(told) == 1

    async def test_creations_that_the_index_lacks_are_told_again(
        self, server: Coordination, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("coordinator.backlog.PAGE", 5)
        before = await queued(server, 2 * WINDOW)
        await server.coordinators.projector.stop()  # as when it is killed before the index has them
        lost = [await server.create() for _ in range(3 * WINDOW)]
        await server.restart(indexed=False)
        await until(
            lambda: not model(server)._book.creations.page and not len(model(server)._book.creations),
            "all are told",
        )
        listed = [d.id for d in await server.store.index.list("acme", limit=1000)]
        assert sorted(listed) == sorted(before + lost)
        assert any(read.statement == CREATED for read in server.storages.reads)

    async def test_places_are_not_given_again_below_the_watermark(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        for _ in range(3):
            await server.create()
            dispatch = await worker.take()
            worker.finish(dispatch)
            await worker.next(wire.Ack)
            worker.offer()
            await server.settled()
        worker.lose()
        await server.restart()
        await server.coordinators.projector.stop()
        new = await server.create()
        await server.restart(indexed=False)
        await server.settled()
        assert await server.store.index.get(new, "acme") is not None


class TestManyFlows:
    async def test_more_end_users_than_a_load_knows_one_by_one(
        self, server: Coordination, tmp_path: Path
    ) -> None:
        (pattern,) = await queued(server, 1, user="u0")
        document = await server.get(pattern)
        await server.stop()
        users = FLOWS_LOADED + 300
        database = sqlite3.connect(tmp_path / "objects" / f"{server.number:09d}.sqlite3")
        rows = []
        for n in range(1, users):
            one = replace(document, id=server.ids.make(server.number), user=f"u{n}")
            blob = encode(replace(one, input=b""))
            rows.append((n + 1, one.id, *queued_as(one), len(one.input), blob, one.input))
        database.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        database.commit()
        database.close()
        await server.start()
        await server.get(pattern)
        queue = model(server)._book.queue
        await until(lambda: 0 < queue.in_memory <= WINDOW, "heads are in memory")
        assert len(queue) == users
        assert queue.input_bytes == users * len(document.input)
        worker = Worker(server)
        await worker.attach()
        ran = await drained(server, worker, 40)
        assert len({*ran}) == 40
        assert len(queue) in (users - 40, users - 41)


class TestAnyOrder:
    """Whatever comes in between, each accepted prediction ends exactly once."""

    @pytest.mark.parametrize("seed", range(12))
    async def test_at_random(self, server: Coordination, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("coordinator.backlog.PAGE", 4)
        chance = random.Random(seed)
        accepted: list[str] = []
        ran: list[str] = []
        canceled: set[str] = set()
        worker = Worker(server)
        await worker.attach(slots=0)
        open_: list[wire.Dispatch] = []
        tokens = [f"tok_{n}" for n in range(chance.choice((1, 3, 3 * WINDOW)))]

        asking: list[asyncio.Future[object]] = []

        async def cancel(id: str) -> None:
            reply = await server.stub.cancel(calls.Cancel(id=id, account="acme"))
            if isinstance(reply, calls.Found) and reply.document.status is not Status.SUCCEEDED:
                canceled.add(id)

        async def hear() -> None:
            while (message := worker.unread()) is not None:
                if isinstance(message, wire.Dispatch):
                    open_.append(message)
                    worker.accept(message)

        for _ in range(150):
            what = chance.random()
            if what < 0.45:
                accepted.append(await server.create(token=chance.choice(tokens)))
            elif what < 0.65:
                worker.offer()
            elif what < 0.75 and open_:
                dispatch = open_.pop(chance.randrange(len(open_)))
                worker.finish(dispatch)
                ran.append(dispatch.prediction)
            elif what < 0.79 and open_:
                worker.refuse(open_.pop())
            elif what < 0.85 and accepted:
                asking.append(asyncio.ensure_future(cancel(chance.choice(accepted))))
            elif what < 0.92 and accepted:
                asking.append(asyncio.ensure_future(server.find(chance.choice(accepted))))
            elif what < 0.95:
                server.storages.hold_reads()
            elif what < 0.99:
                server.storages.let_go()
                await server.settled()
            else:
                server.storages.let_go()
                await asyncio.gather(*asking)
                worker.lose()
                held = tuple(worker.held(dispatch) for dispatch in open_)
                await server.restart(indexed=chance.random() < 0.5)
                worker = Worker(server)
                await worker.attach(slots=0, held=held)
            if chance.random() < 0.3:
                server.storages.let_go()
            await breathe()
            await hear()
        server.storages.let_go()
        await asyncio.gather(*asking)
        for _ in range(len(accepted)):
            if {*ran} | canceled == {*accepted} and not open_:
                break
            worker.offer(WINDOW)
            await server.settled()
            await hear()
            for dispatch in open_:
                worker.finish(dispatch)
                ran.append(dispatch.prediction)
            open_.clear()
            await server.settled()
        for id in accepted:
            assert await server.find(id) is None
            document = await server.store.index.get(id, "acme")
            assert document is not None
            assert document.status is (Status.CANCELED if id in canceled else Status.SUCCEEDED)
        assert len({*ran}) == len(ran), "none ran twice"
        assert len(model(server)._book.queue) == 0
        assert in_memory(server) == set()
