"""Agents that go and come back: leases, reconciliation on attach, and restarts of the server."""

import logging

import pytest

from coordinator.actor.errors import CommitFailed
from coordinator.prediction import Status
from coordinator.protocol import messages as wire
from tests.support.coordination import V2, Coordination, Worker, output
from tests.support.waiting import until


async def running(server: Coordination, worker: Worker) -> tuple[str, wire.Dispatch]:
    """A prediction that this worker runs, with no slot left."""
    await worker.attach()
    id = await server.create()
    return id, await worker.take()


class TestReconnect:
    async def test_within_the_lease_it_is_kept_and_not_run_twice(self, server: Coordination) -> None:
        worker, other = Worker(server), Worker(server, "other")
        id, dispatch = await running(server, worker)
        worker.lose()
        await other.attach()
        await server.advance(server.limits.lease_s - 1)
        assert await worker.attach(slots=0, held=(worker.held(dispatch),)) == {id: "keep"}
        await server.advance(server.limits.lease_s * 3)
        await other.silence()
        await worker.silence()
        worker.finish(dispatch)
        document = await server.ended(id)
        assert (document.status, len(document.attempts)) == (Status.SUCCEEDED, 1)

    async def test_events_are_asked_for_from_where_they_stopped(self, server: Coordination) -> None:
        worker = Worker(server)
        _, dispatch = await running(server, worker)
        worker.progress(dispatch, output(1, "a"), output(2, "b"))
        worker.lose()
        await worker.attach(slots=0, held=(worker.held(dispatch),))
        (verdict,) = worker.heard(wire.Attached)[-1].verdicts
        assert verdict.from_seq == 3

    async def test_a_new_session_takes_the_place_of_the_old_one(self, server: Coordination) -> None:
        """The agent has connected again before its old socket was found dead."""
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        old = Worker(server)
        old.address = worker.address
        assert await worker.attach(slots=1, held=(worker.held(dispatch),)) == {id: "keep"}
        old.offer(5)  # is of no account: the session is gone
        second = await server.create()
        assert (await worker.take()).prediction == second
        old.lose()  # comes late, and is nobody's
        await server.advance(server.limits.lease_s * 2)
        assert (await server.get(id)).status is Status.PROCESSING
        assert len((await server.get(id)).attempts) == 1

    async def test_a_session_that_is_not_known_is_told_to_attach_again(self, server: Coordination) -> None:
        worker = Worker(server)
        await server.create()
        worker.offer()
        assert (await worker.next(wire.Reattach)).channel == 3

    async def test_another_process_with_the_same_identity_ends_what_it_has_and_runs_nothing_twice(
        self, server: Coordination
    ) -> None:
        old, new = Worker(server), Worker(server, incarnation="i2")
        id, dispatch = await running(server, old)
        await new.attach(slots=1)
        old.offer()
        other = await server.create()
        assert (await new.take()).prediction == other
        await old.silence()  # it has a free slot and gets nothing
        old.finish(dispatch)
        await old.next(wire.Ack)
        assert (await old.next(wire.Closing)).retry_s > 0
        assert len((await server.ended(id)).attempts) == 1

    async def test_another_process_with_the_same_identity_takes_over_from_one_without_work(
        self, server: Coordination
    ) -> None:
        old, new = Worker(server), Worker(server, incarnation="i2")
        await old.attach()
        await new.attach()
        assert (await old.next(wire.Closing)).retry_s > 0
        id = await server.create()
        assert (await new.take()).prediction == id

    async def test_what_an_older_process_gives_back_goes_to_the_newer_one(self, server: Coordination) -> None:
        old, new = Worker(server), Worker(server, incarnation="i2")
        id, dispatch = await running(server, old)
        await new.attach()
        old.refuse(dispatch, "draining")
        await old.next(wire.Closing)
        again = await new.take()
        assert (again.prediction, again.attempt) == (id, 2)

    async def test_an_older_process_whose_work_was_fenced_is_sent_away(self, server: Coordination) -> None:
        old, new = Worker(server), Worker(server, incarnation="i2")
        id, _ = await running(server, old)
        await new.attach(slots=0)
        await server.cancel(id)
        await old.next(wire.Cancel)
        await server.advance(server.limits.cancel_grace_s + 30.0)
        assert (await server.ended(id)).status is Status.CANCELED
        assert (await old.next_of(wire.Closing)).retry_s > 0

    async def test_an_older_process_that_gets_nothing_is_not_waited_for(self, server: Coordination) -> None:
        failed, busy = Worker(server, "agent-1"), Worker(server, "agent-2")
        id, dispatch = await running(server, failed)
        await busy.attach()
        await server.create()
        await busy.take()
        newer = Worker(server, "agent-2", incarnation="i2")
        await newer.attach(slots=0)
        newer.lose()
        failed.crash(dispatch)
        await failed.next(wire.Ack)
        failed.offer()
        assert (await failed.take()).prediction == id

    async def test_finished_while_it_was_away(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.lose()
        assert await worker.attach(held=(worker.held(dispatch, "finished"),)) == {id: "keep"}
        worker.finish(dispatch)
        await worker.next(wire.Ack)
        assert (await server.ended(id)).status is Status.SUCCEEDED

    async def test_what_is_held_of_ended_and_unknown_ones(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        running_, spooled = worker.held(dispatch), worker.held(dispatch, "finished")
        worker.finish(dispatch)
        await server.ended(id)
        await server.settled()
        for held, verdict in ((running_, "cancel"), (spooled, "drop")):
            worker.lose()
            assert await worker.attach(held=(held,)) == {id: verdict}

    @pytest.mark.parametrize("secret", ["wrong", "", "ß"])
    async def test_what_is_held_with_a_wrong_secret(self, server: Coordination, secret: str) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        thief = Worker(server, "thief")
        held = wire.Held(prediction=id, attempt=1, secret=secret, state="running")
        assert await thief.attach(held=(held,)) == {id: "cancel"}
        worker.finish(dispatch)
        assert (await server.ended(id)).status is Status.SUCCEEDED


class TestNotListed:
    async def test_the_same_process_gets_it_again_under_the_same_number(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        id = await server.create()
        lost = await worker.next(wire.Dispatch)  # sent, but the socket broke before it arrived
        worker.lose()
        assert await worker.attach() == {}
        again = await worker.take()
        assert (again.prediction, again.attempt, again.secret) == (id, 1, lost.secret)
        await worker.silence()
        worker.finish(again)
        assert len((await server.ended(id)).attempts) == 1

    async def test_a_new_process_has_lost_it_at_once(self, server: Coordination) -> None:
        worker = Worker(server)
        id, _ = await running(server, worker)
        worker.lose()
        worker.incarnation = "i2"
        assert await worker.attach() == {}
        again = await worker.take()
        assert (again.prediction, again.attempt) == (id, 2)
        outcomes = [attempt.outcome for attempt in (await server.get(id)).attempts]
        assert outcomes == ["lost", None]

    async def test_a_new_process_may_still_have_the_result(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.lose()
        worker.incarnation = "i2"
        assert await worker.attach(held=(worker.held(dispatch, "finished"),)) == {id: "keep"}
        await worker.silence()
        worker.finish(dispatch)
        assert (await server.ended(id)).status is Status.SUCCEEDED

    async def test_what_it_was_seen_to_run_and_runs_no_more_is_lost(self, server: Coordination) -> None:
        worker = Worker(server)
        _, dispatch = await running(server, worker)
        worker.progress(dispatch, output(1, "a"))
        worker.lose()
        await worker.attach()
        assert (await worker.take()).attempt == 2


class TestLease:
    async def test_another_worker_first(self, server: Coordination) -> None:
        worker, other = Worker(server), Worker(server, "other")
        id, _ = await running(server, worker)
        worker.lose()
        await other.attach()
        await server.advance(server.limits.lease_s - 1)
        await other.silence()
        await server.advance(2)
        dispatch = await other.take()
        assert (dispatch.prediction, dispatch.attempt) == (id, 2)

    async def test_the_one_that_lost_it_only_if_nobody_else_is_there(self, server: Coordination) -> None:
        bad, good = Worker(server, "bad"), Worker(server, "good")
        id, _ = await running(server, bad)
        await good.attach(slots=1)
        bad.lose()
        bad.incarnation = "i2"
        await bad.attach(slots=5)
        dispatch = await good.take()
        assert dispatch.prediction == id
        await bad.silence()
        good.lose()
        good.incarnation = "i2"
        await good.attach(slots=0)
        assert (await bad.take()).prediction == id

    async def test_it_goes_before_those_who_came_later(self, server: Coordination) -> None:
        worker, other = Worker(server), Worker(server, "other")
        id, _ = await running(server, worker)
        for _ in range(3):
            await server.create()
        worker.lose()
        await server.advance(server.limits.lease_s + 1)
        await other.attach()
        assert (await other.take()).prediction == id

    async def test_a_client_that_saw_processing_never_sees_starting(self, server: Coordination) -> None:
        worker = Worker(server)
        id, _ = await running(server, worker)
        worker.lose()
        await server.advance(server.limits.lease_s + 1)
        assert (await server.get(id)).status is Status.PROCESSING
        await server.restart()
        assert (await server.get(id)).status is Status.PROCESSING

    async def test_max_attempts_and_it_has_failed(self, server: Coordination) -> None:
        id = await server.create()
        for number in range(1, server.limits.max_attempts + 1):
            worker = Worker(server, f"agent-{number}")
            await worker.attach()
            assert (await worker.take()).attempt == number
            assert not (await server.get(id)).status.terminal
            worker.lose()
            await server.advance(server.limits.lease_s + 1)
        document = await server.ended(id)
        assert (document.status, document.error_code) == (Status.FAILED, "worker_lost")
        assert [attempt.outcome for attempt in document.attempts] == ["lost"] * 3
        for number in range(1, 4):
            assert f"box of agent-{number}" in (document.error or "")

    async def test_refused_attempts_do_not_count(self, server: Coordination) -> None:
        id = await server.create()
        for number in range(1, server.limits.max_attempts):
            worker = Worker(server, f"agent-{number}")
            await worker.attach(slots=1)
            worker.refuse(await worker.next(wire.Dispatch))
            worker.offer()
            await worker.take()
            worker.lose()
            await server.advance(server.limits.lease_s + 1)
        assert (await server.get(id)).status is Status.PROCESSING
        last = Worker(server, "last")
        await last.attach()
        last.finish(await last.take())
        assert (await server.ended(id)).status is Status.SUCCEEDED

    async def test_back_after_it_was_given_up_and_still_queued(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.lose()
        await server.advance(server.limits.lease_s + 1)
        assert await worker.attach(slots=1, held=(worker.held(dispatch),)) == {id: "keep"}
        await worker.silence()
        (attempt,) = (await server.get(id)).attempts
        assert (attempt.outcome, attempt.ended_at) == (None, None)
        worker.progress(dispatch, output(1, "still here"))
        assert (await server.get(id)).output == b'["still here"]'
        worker.finish(dispatch)
        assert (await server.ended(id)).status is Status.SUCCEEDED

    async def test_a_stall_of_the_server_costs_no_lease(
        self, server: Coordination, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker, other = Worker(server), Worker(server, "other")
        id, dispatch = await running(server, worker)
        await other.attach()
        worker.lose()
        await server.advance(10)
        with caplog.at_level(logging.CRITICAL):
            await server.clock.stall(server.limits.lease_s * 2)
        await server.advance(server.limits.lease_s - 20)
        await other.silence()
        assert await worker.attach(slots=0, held=(worker.held(dispatch),)) == {id: "keep"}

    async def test_an_agent_that_detaches_keeps_the_lease_of_what_it_runs(self, server: Coordination) -> None:
        worker, other = Worker(server), Worker(server, "other")
        await running(server, worker)
        await other.attach()
        worker.say(wire.Detach(channel=3))
        second = await server.create()
        assert (await other.take()).prediction == second
        other.offer()
        await server.advance(server.limits.lease_s - 2)
        await other.silence()
        await server.advance(3)
        assert (await other.take()).attempt == 2


class TestRestartOfTheServer:
    async def test_what_runs_goes_on(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.progress(dispatch, output(1, "a"), output(2, "b"))
        await server.restart()
        assert (await server.get(id)).status is Status.PROCESSING
        assert await worker.attach(slots=0, held=(worker.held(dispatch),)) == {id: "keep"}
        (verdict,) = worker.heard(wire.Attached)[-1].verdicts
        assert verdict.from_seq == 1, "what was in memory is asked for again"
        worker.progress(dispatch, output(1, "a"), output(2, "b"), output(3, "c"))
        assert (await server.get(id)).output == b'["a","b","c"]'
        worker.finish(dispatch, ["a", "b", "c"])
        document = await server.ended(id)
        assert (document.status, len(document.attempts)) == (Status.SUCCEEDED, 1)
        assert document.input == b'{"n":1}'

    async def test_what_finished_meanwhile_is_taken(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        await server.restart()
        assert await worker.attach(held=(worker.held(dispatch, "finished"),)) == {id: "keep"}
        worker.finish(dispatch)
        await worker.next(wire.Ack)
        assert (await server.ended(id)).status is Status.SUCCEEDED

    async def test_the_order_of_the_queue_is_kept(self, server: Coordination) -> None:
        ids = [await server.create(version=V2 if n == 1 else "") for n in range(4)]
        await server.restart()
        ids.append(await server.create())
        worker = Worker(server)
        worker.version = V2
        await worker.attach(slots=9)
        assert [(await worker.take()).prediction for _ in range(5)] == ids

    async def test_an_agent_that_does_not_come_back_has_a_fresh_lease(self, server: Coordination) -> None:
        worker, other = Worker(server), Worker(server, "other")
        id, _ = await running(server, worker)
        worker.lose()
        await server.advance(server.limits.lease_s - 10)
        await server.restart()
        await other.attach()
        await server.advance(server.limits.lease_s - 1)
        await other.silence()
        await server.advance(2)
        assert (await other.take()).prediction == id

    async def test_an_attempt_that_was_given_up_is_known_as_such(self, server: Coordination) -> None:
        worker, other = Worker(server), Worker(server, "other")
        id, dispatch = await running(server, worker)
        worker.lose()
        await server.advance(server.limits.lease_s + 1)
        await server.restart()
        await other.attach(slots=0)
        assert await worker.attach(slots=0, held=(worker.held(dispatch),)) == {id: "keep"}
        other.offer()
        await other.silence()

    async def test_the_instance_breaks_and_nothing_runs_twice(
        self, server: Coordination, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker, other = Worker(server), Worker(server, "other")
        id, dispatch = await running(server, worker)
        await other.attach(slots=0)
        await server.settled()
        server.storages.fail(CommitFailed("disk full"))
        with caplog.at_level(logging.CRITICAL):
            worker.refuse(dispatch)
            await until(lambda: server.sockets.lost_objects, "the instance is gone")
        # The refusal was never durable: the agent, asked again, says that it does not hold it.
        assert await worker.attach() == {}
        again = await worker.take()
        assert (again.prediction, again.attempt) == (id, 1)
        await other.attach(slots=1)
        await other.silence()

    async def test_many_restarts_lose_nothing(self, server: Coordination) -> None:
        ids = [await server.create() for _ in range(6)]
        done = []
        worker = Worker(server)
        held: tuple[wire.Held, ...] = ()
        dispatch: wire.Dispatch | None = None
        for _ in range(6):
            await worker.attach(slots=0 if held else 1, held=held)
            if dispatch is None:
                dispatch = await worker.take()
            worker.finish(dispatch)
            await worker.next(wire.Ack)
            done.append(dispatch.prediction)
            worker.offer()
            dispatch, held = None, ()
            if len(done) < 6:
                dispatch = await worker.take()
                held = (worker.held(dispatch),)
            await server.restart()
        assert done == ids
        for id in ids:
            document = await server.store.index.get(id, "acme")
            assert document is not None
            assert (document.status, len(document.attempts)) == (Status.SUCCEEDED, 1)
