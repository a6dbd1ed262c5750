"""What a running prediction says, to those who wait and to those who listen."""

import asyncio
from typing import Any

import pytest

from coordinator import calls
from coordinator.prediction import Status
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from tests.support.coordination import Coordination, Worker, logs, output, raw
from tests.support.virtual_clock import breathe
from tests.support.waiting import until


async def running(server: Coordination, worker: Worker) -> tuple[str, wire.Dispatch]:
    await worker.attach()
    id = await server.create()
    return id, await worker.take()


def listen(server: Coordination, id: str, cursor: str = "", **fields: Any) -> "asyncio.Task[calls.Events]":
    return asyncio.ensure_future(server.events(id, cursor, **({"timeout_s": 25.0} | fields)))


def said(events: calls.Events) -> list[tuple[int, str, bytes]]:
    return [(event.seq, event.kind, bytes(event.data)) for event in events.events]


async def test_events_come_as_they_are_said(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    waiting = listen(server, id)
    await breathe()
    assert not waiting.done()
    worker.progress(dispatch, output(1, "a"), logs(2, "line\n"))
    events = await waiting
    assert said(events) == [(1, "output", b'"a"'), (2, "logs", b'"line\\n"')]
    assert (events.attempt, events.cursor) == (1, "1:2")
    assert (events.replaced, events.lost) == (False, False)
    worker.progress(dispatch, wire.Event(seq=3, kind="metrics", data=raw({"n": 1})))
    assert said(await server.events(id, events.cursor)) == [(3, "metrics", b'{"n":1}')]
    assert said(await server.events(id)) == [*said(events), (3, "metrics", b'{"n":1}')]


async def test_what_is_resent_comes_once(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    worker.progress(dispatch, output(1, "a"), output(2, "b"))
    worker.progress(dispatch, output(1, "a"), output(2, "b"), output(3, "c"))
    assert [seq for seq, _, _ in said(await server.events(id))] == [1, 2, 3]
    assert (await server.get(id)).output == b'["a","b","c"]'


async def test_without_a_wait_the_answer_comes_at_once(server: Coordination) -> None:
    id = await server.create()
    events = await server.events(id)
    assert (events.attempt, events.events, events.cursor) == (0, (), "")
    assert events.document.status is Status.STARTING


async def test_a_wait_in_vain(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    worker.progress(dispatch, output(1, "a"))
    waiting = listen(server, id, "1:1", timeout_s=10.0)
    await server.clock.advance(9.5)
    assert not waiting.done()
    await server.clock.advance(1)
    events = await waiting
    assert (events.events, events.cursor) == ((), "1:1")


async def test_the_end_comes_with_the_document(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    worker.progress(dispatch, output(1, "a"))
    waiting = listen(server, id, "1:1")
    ended = listen(server, id, only_terminal=True)
    await breathe()
    worker.finish(dispatch, ["a"])
    for task in (waiting, ended):
        events = await task
        assert events.document.status is Status.SUCCEEDED
        assert events.document.output == b'["a"]'


async def test_who_waits_for_the_end_hears_nothing_before(server: Coordination) -> None:
    worker = Worker(server)
    await worker.attach()
    id = await server.create()
    waiting = listen(server, id, only_terminal=True, timeout_s=50.0)
    dispatch = await worker.take()
    worker.progress(dispatch, output(1, "a"))
    await server.clock.advance(20)
    assert not waiting.done()
    await server.cancel(id)
    await breathe()
    assert not waiting.done()
    worker.finish(dispatch, None, status="canceled")
    assert (await waiting).document.status is Status.CANCELED


async def test_the_end_is_not_told_before_it_is_on_disk(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    waiting = listen(server, id)
    await server.settled()
    server.storages.hold()
    worker.finish(dispatch)
    await until(lambda: server.storages.running, "the commit has begun")
    await breathe()
    assert not waiting.done()
    server.storages.let_go()
    assert (await waiting).document.status is Status.SUCCEEDED


async def test_progress_does_not_touch_the_disk(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    await server.settled()
    commits = len(server.storages.batches)
    for seq in range(1, 50):
        worker.progress(dispatch, output(seq, "x"))
    worker.accept(dispatch)
    assert len((await server.events(id)).events) == 49
    assert len(server.storages.batches) == commits


async def test_an_attempt_that_was_replaced(server: Coordination) -> None:
    worker, other = Worker(server), Worker(server, "other")
    id, dispatch = await running(server, worker)
    worker.progress(dispatch, output(1, "a"))
    cursor = (await server.events(id)).cursor
    waiting = listen(server, id, cursor, timeout_s=1000.0)
    await other.attach()
    worker.lose()
    await server.advance(server.limits.lease_s + 1)
    new = await other.take()
    events = await waiting
    assert (events.replaced, events.attempt, events.events) == (True, 2, ())
    other.progress(new, output(1, "b"))
    assert said(await server.events(id)) == [(1, "output", b'"b"')]
    assert said(await server.events(id, events.cursor)) == [(1, "output", b'"b"')]
    assert (await server.get(id)).output == b'["b"]'


async def test_a_running_prediction_shows_what_it_said_so_far(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    worker.progress(dispatch, output(1, {"n": 1}), logs(2, "one\n"), output(3, None), logs(4, "two\n"))
    document = await server.get(id)
    assert document.output == b'[{"n":1},null]'
    assert document.logs == "one\ntwo\n"


async def test_logs_that_are_no_text_break_nothing(server: Coordination) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    worker.progress(dispatch, logs(1, {"not": "text"}), logs(2, "text"))
    assert (await server.get(id)).logs == "text"
    worker.finish(dispatch)
    assert (await server.ended(id)).logs == "text"
    assert server.sockets.lost_objects == []


async def test_progress_of_another_session_is_not_taken(server: Coordination) -> None:
    worker, thief = Worker(server), Worker(server, "thief")
    id, dispatch = await running(server, worker)
    await thief.attach(slots=0)
    thief.progress(dispatch, output(1, "forged"))
    assert (await server.get(id)).output is None


@pytest.mark.parametrize("cursor", ["", "x", "1", "1:x", ":", "-1:2", "1:2:3", "²:1"])
async def test_a_cursor_that_is_none_means_the_start(server: Coordination, cursor: str) -> None:
    worker = Worker(server)
    id, dispatch = await running(server, worker)
    worker.progress(dispatch, output(1, "a"))
    assert said(await server.events(id, cursor)) == [(1, "output", b'"a"')]


class TestMemory:
    @pytest.fixture
    def limits(self) -> ServerLimits:
        return ServerLimits(history_bytes=2000)

    async def test_what_was_forgotten_is_said(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.progress(dispatch, output(1, "first"))
        cursor = (await server.events(id)).cursor
        for seq in range(2, 40):
            worker.progress(dispatch, output(seq, "x" * 100))
        events = await server.events(id, cursor)
        assert events.lost
        assert events.events[-1].seq == 39
        assert len(events.events) < 12
        again = await server.events(id, f"1:{events.events[0].seq}")
        assert not again.lost
