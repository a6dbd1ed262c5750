"""Webhooks of a coordinator: in order, until they are delivered, whatever is restarted."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coordinator import calls
from coordinator.actor.errors import CommitFailed
from coordinator.outbox import HAND
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from tests.support.coordination import Coordination, Worker, logs, output
from tests.support.mail import Mail, Sent
from tests.support.virtual_clock import VirtualClock, breathe
from tests.support.waiting import until, until_async

ALL = ("start", "output", "logs", "completed")
END = ("completed",)
DEAD, ALIVE = "http://dead.test/hook", "http://alive.test/hook"


@pytest.fixture
def limits() -> ServerLimits:
    return ServerLimits(webhook_retry_s=6000.0, webhook_log_s=60.0)


@pytest.fixture
async def server(
    tmp_path: Path, clock: VirtualClock, limits: ServerLimits, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Coordination]:
    monkeypatch.setattr("coordinator.projector.GATHER_S", 0.0)
    server = Coordination(tmp_path, clock, limits)
    server.mail = Mail(clock)
    await server.start()
    yield server
    await server.stop()
    assert server.fatal == []


@pytest.fixture
def mail(server: Coordination) -> Mail:
    assert isinstance(server.mail, Mail)
    return server.mail


@pytest.fixture
async def worker(server: Coordination) -> Worker:
    worker = Worker(server)
    await worker.attach(slots=300)
    return worker


async def take(worker: Worker) -> wire.Dispatch:
    """Begin to run what comes next."""
    dispatch = await worker.next_of(wire.Dispatch)
    worker.accept(dispatch)
    return dispatch


async def run(server: Coordination, worker: Worker, url: str = ALIVE, **fields: Any) -> str:
    """A prediction with a webhook, from its creation to its end."""
    fields = {"webhook": url, "webhook_events": END} | fields
    id = await server.create(**fields)
    worker.finish(await take(worker))
    await server.ended(id)
    return id


async def one(mail: Mail, id: str, count: int = 1) -> Sent:
    """The last of so many requests of this prediction."""
    await until(lambda: len(mail.of(id)) >= count, f"request {count} of {id}")
    assert len(mail.of(id)) == count
    return mail.of(id)[-1]


async def state(server: Coordination, id: str) -> str:
    reply = await server.stub.deliveries(calls.AskDeliveries(id=id, account="acme"))
    return reply.state if isinstance(reply, calls.Deliveries) else "unknown"


async def reaches(server: Coordination, id: str, wanted: str) -> None:
    async def look() -> bool:
        return await state(server, id) == wanted

    await until_async(look, f"the webhook of {id} is {wanted}")


class TestTheEnd:
    async def test_it_is_sent_once_the_index_has_the_end(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        known: list[bool] = []
        id = await server.create(webhook=ALIVE, webhook_events=END)

        def answer(host: str) -> int:
            known.append(all(document.id != id for document in server.coordinators.projector.pending("acme")))
            return 200

        mail.answer = answer
        worker.finish(await take(worker))
        sent = await one(mail, id)
        assert (sent.url, sent.message, sent.status) == (ALIVE, f"msg_{id}", "succeeded")
        assert known == [True]
        await reaches(server, id, "delivered")

    async def test_one_that_wants_no_end_gets_none(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        id = await run(server, worker, webhook_events=("logs",))
        await server.settled()
        assert mail.of(id) == []
        assert await state(server, id) == "unknown"

    async def test_canceled_in_the_queue(self, server: Coordination, mail: Mail) -> None:
        id = await server.create(webhook=ALIVE, webhook_events=ALL)
        await server.cancel(id)
        assert (await one(mail, id)).status == "canceled"

    async def test_tried_again_with_the_same_id_and_bytes(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        mail.answer = lambda host: 500
        id = await run(server, worker)
        await one(mail, id)
        await reaches(server, id, "pending")
        for count in range(2, 6):
            await server.advance(2.0 ** (count - 1) * 1.2)
            await one(mail, id, count)
            await server.settled()
        mail.answer = lambda host: 200
        await server.advance(2.0**5 * 1.2)
        await one(mail, id, 6)
        assert len({(sent.message, sent.body) for sent in mail.of(id)}) == 1
        assert mail.renders == 1
        await reaches(server, id, "delivered")
        reply = await server.stub.deliveries(calls.AskDeliveries(id=id, account="acme"))
        assert isinstance(reply, calls.Deliveries)
        assert [attempt.status for attempt in reply.tries] == [500] * 5 + [200]

    async def test_given_up_after_its_time(self, server: Coordination, worker: Worker, mail: Mail) -> None:
        mail.answer = lambda host: 503
        id = await run(server, worker)
        await one(mail, id)
        for _ in range(40):
            await server.advance(200.0)
            if await state(server, id) == "failed":
                break
        assert await state(server, id) == "failed"
        first, last = mail.of(id)[0], mail.of(id)[-1]
        assert 1000 < (last.at - first.at) / 1e6 < server.limits.webhook_retry_s
        tries = len(mail.of(id))
        await server.advance(1200.0)
        assert len(mail.of(id)) == tries

    async def test_it_survives_restarts(self, server: Coordination, worker: Worker, mail: Mail) -> None:
        mail.answer = lambda host: 500
        id = await run(server, worker)
        first = await one(mail, id)
        await reaches(server, id, "pending")
        await server.restart()
        mail.answer = lambda host: 200
        await server.advance(10.0)
        second = await one(mail, id, 2)
        assert (first.message, first.body) == (second.message, second.body)

    async def test_an_end_that_no_index_heard_of_is_sent_after_a_restart(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        id = await server.create(webhook=ALIVE, webhook_events=END)
        dispatch = await take(worker)
        await server.settled()
        await server.coordinators.projector.stop()
        worker.finish(dispatch)
        await worker.next_of(wire.Ack)
        assert mail.of(id) == []
        assert await state(server, id) == "waiting"
        await server.stop()
        await server.start()
        assert (await one(mail, id)).status == "succeeded"

    async def test_a_request_that_was_under_way_is_made_again_when_the_instance_breaks(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        mail.answer = lambda host: None
        id = await run(server, worker)
        first = await one(mail, id)
        server.storages.fail(CommitFailed("the disk is full"))
        with pytest.raises(Exception, match="restarted"):
            await server.create()
        mail.answer = lambda host: 200
        await server.advance(5.0)
        second = await one(mail, id, 2)
        assert (first.message, first.body) == (second.message, second.body)

    async def test_an_idle_object_leaves_memory_and_is_woken_for_the_next_try(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        mail.answer = lambda host: 500
        id = await run(server, worker)
        worker.lose()
        await one(mail, id)
        for _ in range(12):
            await server.advance(server.limits.idle_s + 2)
            if not server.models.live(server.number):
                break
        assert not server.models.live(server.number)
        tries = len(mail.of(id))
        mail.answer = lambda host: 200
        for _ in range(40):
            await server.advance(60.0)
            if len(mail.of(id)) > tries:
                break
        await reaches(server, id, "delivered")


class TestProgress:
    async def test_the_order_of_one_prediction(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        mail.answer = lambda host: None
        id = await server.create(webhook=ALIVE, webhook_events=ALL)
        dispatch = await take(worker)
        start = await one(mail, id)
        assert start.status == "processing"
        worker.progress(dispatch, logs(1, "a\n"))
        await breathe()
        worker.finish(dispatch, logs="a\n")
        await server.ended(id)
        await server.settled()
        assert mail.of(id) == [start], "one request at a time, and the end waits for it"
        start.answer.set_result(200)
        end = await one(mail, id, 2)
        assert end.status == "succeeded", "the end supersedes queued progress"
        end.answer.set_result(200)
        await reaches(server, id, "delivered")

    async def test_output_and_logs_are_throttled_apart(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        id = await server.create(webhook=ALIVE, webhook_events=ALL)
        dispatch = await take(worker)
        await one(mail, id)
        worker.progress(dispatch, output(1, "x"), logs(2, "a\n"))
        await one(mail, id, 3)
        for seq in range(3, 23):
            worker.progress(dispatch, logs(seq, "b\n"))
            await breathe()
        await server.settled()
        await one(mail, id, 3)
        await server.advance(0.5)
        last = await one(mail, id, 4)
        assert last.body.count(rb"b\n") == 20
        await server.advance(5.0)
        await one(mail, id, 4)

    async def test_what_fails_is_not_tried_again(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        mail.answer = lambda host: 500
        id = await server.create(webhook=ALIVE, webhook_events=("start",))
        await take(worker)
        await one(mail, id)
        await server.advance(60.0)
        await one(mail, id)

    async def test_start_is_told_once_however_often_it_begins(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        id = await server.create(webhook=ALIVE, webhook_events=("start",))
        worker.crash(await take(worker))
        again = await take(worker)
        assert (again.prediction, again.attempt) == (id, 2)
        await server.settled()
        await one(mail, id)


class TestReceivers:
    async def test_many_to_a_dead_one_delay_nobody_else(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        mail.answer = lambda host: None if host == "dead.test" else 200
        stuck = [await run(server, worker, DEAD) for _ in range(200)]
        await until(lambda: len(mail.sent) == HAND, "the dead one has its share")
        fine = [await run(server, worker) for _ in range(20)]
        for id in fine:
            assert (await one(mail, id)).status == "succeeded"
            await reaches(server, id, "delivered")
        assert len([sent for sent in mail.sent if sent.url == DEAD]) == HAND
        mail.answer = lambda host: 200
        for sent in mail.sent:
            if not sent.answer.done():
                sent.answer.set_result(200)
        for id in stuck:
            await one(mail, id)
            await reaches(server, id, "delivered")

    async def test_each_is_tried_at_its_time(self, server: Coordination, worker: Worker, mail: Mail) -> None:
        mail.answer = lambda host: 500
        ids = [await run(server, worker, DEAD) for _ in range(3 * HAND)]
        for id in ids:
            await one(mail, id)
            await reaches(server, id, "pending")
        mail.answer = lambda host: 200
        await server.advance(3.0)
        for id in ids:
            await one(mail, id, 2)
            await reaches(server, id, "delivered")


class TestRedelivery:
    async def test_a_delivered_one_is_sent_again_under_its_id(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        id = await run(server, worker)
        await one(mail, id)
        await reaches(server, id, "delivered")
        document = await server.get(id)
        reply = await server.stub.redeliver(calls.Redeliver(document=document))
        assert reply.state == "pending"
        second = await one(mail, id, 2)
        assert second.message == f"msg_{id}"
        await reaches(server, id, "delivered")

    async def test_one_that_waits_for_its_next_try_is_tried_now(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        mail.answer = lambda host: 500
        id = await run(server, worker)
        await one(mail, id)
        await server.advance(3.0)
        await one(mail, id, 2)
        await server.settled()
        mail.answer = lambda host: 200
        await server.stub.redeliver(calls.Redeliver(document=await server.get(id)))
        await one(mail, id, 3)
        assert len({sent.body for sent in mail.of(id)}) == 1

    async def test_what_is_known_is_for_its_account(
        self, server: Coordination, worker: Worker, mail: Mail
    ) -> None:
        id = await run(server, worker)
        await reaches(server, id, "delivered")
        reply = await server.stub.deliveries(calls.AskDeliveries(id=id, account="other"))
        assert isinstance(reply, calls.Unknown)


async def test_what_was_done_long_ago_goes(server: Coordination, worker: Worker, mail: Mail) -> None:
    old = await run(server, worker)
    await reaches(server, old, "delivered")
    await server.advance(server.limits.webhook_log_s + 1)
    for _ in range(12):
        await reaches(server, await run(server, worker), "delivered")
    await server.advance(2.0)
    assert await state(server, old) == "unknown"
