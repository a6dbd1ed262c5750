"""How long a client has its prediction wait: in all, however often it comes back to the queue."""

import pytest

from coordinator.prediction import Attempt, Document, ErrorCode, Status
from coordinator.waiting import in_vain, too_long, waits_until
from tests.support.coordination import Coordination, Worker

S = 1_000_000


async def test_one_that_nobody_takes_ends_with_its_own_code(server: Coordination) -> None:
    patient, impatient = await server.create(), await server.create(max_wait_s=20.0)
    await server.advance(19.0)
    assert (await server.get(impatient)).status is Status.STARTING
    await server.advance(1.1)
    document = await server.ended(impatient)
    assert (document.status, document.error_code) == (Status.CANCELED, ErrorCode.MAX_WAIT)
    assert document.error == "waited longer than its max_wait of 20 s; connected workers: 0"
    assert (await server.get(patient)).status is Status.STARTING


async def test_running_does_not_count(server: Coordination) -> None:
    worker = Worker(server)
    await worker.attach()
    id = await server.create(max_wait_s=20.0)
    dispatch = await worker.take()
    await server.advance(60.0)
    worker.finish(dispatch)
    assert (await server.ended(id)).status is Status.SUCCEEDED


async def test_what_comes_back_has_the_rest(server: Coordination) -> None:
    id = await server.create(max_wait_s=20.0)
    await server.advance(15.0)
    worker = Worker(server)
    await worker.attach()
    dispatch = await worker.take()
    await server.advance(100.0)
    worker.crash(dispatch)
    await server.settled()
    document = await server.get(id)
    assert document.queue_deadline_at == server.clock.now() + 5 * S
    await server.advance(5.1)
    assert (await server.ended(id)).error_code == ErrorCode.MAX_WAIT


async def test_the_servers_limit_holds_all_the_same(server: Coordination) -> None:
    id = await server.create(max_wait_s=9000.0)
    await server.advance(server.limits.queue_s + 0.1)
    document = await server.ended(id)
    assert document.error_code == ErrorCode.DEADLINE_BEFORE_START
    assert document.error is not None
    assert "max_wait" not in document.error


async def test_the_limit_of_it_all_comes_first_when_it_is_first(server: Coordination) -> None:
    id = await server.create(max_wait_s=20.0, total_s=10.0)
    await server.advance(10.1)
    assert (await server.ended(id)).error_code == ErrorCode.DEADLINE_BEFORE_START


def document(*attempts: tuple[int, int | None], **fields: object) -> Document:
    given = {"id": "p", "account": "a", "token": "t", "pool": "default", "model": "a/b", "input": b"{}"}
    ran = tuple(
        Attempt(
            number=n,
            agent="g",
            agent_name="g",
            incarnation="i",
            dispatched_at=at * S,
            ended_at=end and end * S,
        )
        for n, (at, end) in enumerate(attempts, 1)
    )
    return Document(created_at=0, attempts=ran, **(given | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attempts", "now", "until"),
    [((), 0, 20), (((5, 50),), 50, 65), (((5, 50), (60, 70)), 70, 75), (((5, 50), (90, 95)), 95, 95)],
)
def test_waiting_is_summed_up(attempts: tuple[tuple[int, int], ...], now: int, until: int) -> None:
    waiting = document(*attempts, max_wait=True, queue_s=20.0)
    assert waits_until(waiting, now * S, 3600.0) == until * S


def test_without_a_wish_each_wait_is_as_long() -> None:
    assert waits_until(document((5, 50)), 50 * S, 3600.0) == 3650 * S
    assert waits_until(document((5, 50), queue_s=7.0), 50 * S, 3600.0) == 57 * S
    assert in_vain(document(queue_s=7.0)) == ErrorCode.DEADLINE_BEFORE_START
    assert "limit of 7 s" in too_long(document(queue_s=7.0, queue_deadline_at=1), 0)
