"""How predictions end: reports by secret, files that must be in storage, duplicates, and stale attempts."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from coordinator.actor.errors import CommitFailed
from coordinator.blobs.base import Stat
from coordinator.blobs.errors import BlobsUnavailable
from coordinator.prediction import Document, Status
from coordinator.protocol import messages as wire
from tests.support.coordination import Coordination, Worker, finished, output, raw
from tests.support.virtual_clock import breathe
from tests.support.waiting import until


async def running(server: Coordination, worker: Worker) -> tuple[str, wire.Dispatch]:
    """A prediction that this worker runs."""
    if not worker.heard(wire.Attached):
        await worker.attach(slots=4)
    id = await server.create()
    return id, await worker.take()


class TestFinished:
    async def test_succeeded(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        await server.clock.advance(2)
        worker.finish(
            dispatch,
            ["a", {"b": 1}],
            logs="said this\n",
            metrics={"predict_time": raw(1.5)},
            started_at=server.clock.now() - 1_000_000,
        )
        document = await server.ended(id)
        assert document.status is Status.SUCCEEDED
        assert document.output == b'["a",{"b":1}]'
        assert document.logs == "said this\n"
        assert document.metrics == b'{"predict_time":1.5}'
        assert document.started_at == server.clock.now() - 1_000_000
        assert document.completed_at == server.clock.now()
        assert (document.error, document.error_code) == (None, None)
        (attempt,) = document.attempts
        assert (attempt.outcome, attempt.ended_at) == ("finished", server.clock.now())
        assert (attempt.secret, attempt.key) == ("", "")
        ack = await worker.next(wire.Ack)
        assert (ack.prediction, ack.attempt, ack.channel) == (id, 1, 3)

    async def test_no_output_is_null(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.finish(dispatch, None)
        assert (await server.ended(id)).output is None

    async def test_failed(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.finish(dispatch, None, status="failed", error="out of memory")
        document = await server.ended(id)
        assert (document.status, document.error) == (Status.FAILED, "out of memory")
        assert document.error_code == "model_error"
        await worker.next(wire.Ack)

    async def test_failed_with_a_code_of_the_agent(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.finish(dispatch, None, status="failed", error="no such file", error_code="input_error")
        assert (await server.ended(id)).error_code == "input_error"

    async def test_logs_that_were_streamed_are_kept(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.progress(dispatch, wire.Event(seq=1, kind="logs", data=raw("streamed\n")))
        worker.finish(dispatch)
        assert (await server.ended(id)).logs == "streamed\n"

    async def test_it_is_acknowledged_once_it_is_on_disk(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        await server.settled()
        server.storages.hold()
        worker.finish(dispatch)
        await until(lambda: server.storages.running, "the commit has begun")
        await breathe()
        assert worker.heard(wire.Ack) == []
        assert server.coordinators.projector.recent(id) is None
        server.storages.let_go()
        await worker.next(wire.Ack)
        assert await server.ended(id)

    async def test_a_failed_commit_acknowledges_nothing(
        self, server: Coordination, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        await server.settled()
        server.storages.fail(CommitFailed("disk full"))
        with caplog.at_level(logging.CRITICAL):
            worker.finish(dispatch)
            await until(lambda: server.sockets.lost_objects, "the instance is gone")
        assert worker.heard(wire.Ack) == []
        assert await worker.attach(held=(worker.held(dispatch, "finished"),)) == {id: "keep"}
        worker.finish(dispatch)
        await worker.next(wire.Ack)
        assert (await server.ended(id)).status is Status.SUCCEEDED
        assert worker.heard(wire.Dispatch) == []

    async def test_a_slot_that_is_free_again_takes_the_next(self, server: Coordination) -> None:
        worker = Worker(server)
        await worker.attach()
        ids = [await server.create() for _ in range(3)]
        for id in ids:
            dispatch = await worker.take()
            assert dispatch.prediction == id
            worker.finish(dispatch)
            await worker.next(wire.Ack)
            worker.offer()


class TestProof:
    async def test_the_secret_makes_it_good_on_any_session(self, server: Coordination) -> None:
        worker, other = Worker(server), Worker(server, "agent-2")
        id, dispatch = await running(server, worker)
        await other.attach(slots=0)
        other.finish(dispatch)
        await other.next(wire.Ack)
        assert (await server.ended(id)).status is Status.SUCCEEDED

    @pytest.mark.parametrize("secret", ["", "wrong", "schlüssel ✓"])
    async def test_a_wrong_secret_is_dropped_but_acknowledged(
        self, server: Coordination, secret: str
    ) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        worker.finish(dispatch, "forged", secret=secret)
        await worker.next(wire.Ack)
        assert (await server.get(id)).status is Status.PROCESSING
        worker.finish(dispatch, "true")
        assert (await server.ended(id)).output == b'"true"'

    async def test_what_is_not_known_is_acknowledged(self, server: Coordination) -> None:
        worker = Worker(server)
        _, dispatch = await running(server, worker)
        worker.finish(dispatch, prediction=server.ids.make(server.number))
        await worker.next(wire.Ack)
        worker.finish(dispatch, attempt=2)
        await worker.next(wire.Ack)
        await worker.silence()

    async def test_duplicates_are_acknowledged_once_each(self, server: Coordination) -> None:
        worker = Worker(server)
        id, dispatch = await running(server, worker)
        for value in ("first", "second", "third"):
            worker.finish(dispatch, value)
        for _ in range(3):
            await worker.next(wire.Ack)
        assert (await server.ended(id)).output == b'"first"'
        await server.settled()
        worker.finish(dispatch, "after it left for the index")
        await worker.next(wire.Ack)
        await worker.silence()
        assert server.coordinators.projector.recent(id) == await server.store.index.get(id, "acme")


class TestFiles:
    async def store_file(
        self, server: Coordination, dispatch: wire.Dispatch, name: str = "a.png", data: bytes = b"picture"
    ) -> wire.StoredFile:
        """What an agent does: ask for a place, PUT there."""
        key = await self.key_for(server, dispatch, name, data)

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        await server.blobs.put(key, chunks(), content_type="image/png", limit_bytes=10_000)
        return wire.StoredFile(
            key=key,
            name=name,
            content_type="image/png",
            length=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    async def key_for(self, server: Coordination, dispatch: wire.Dispatch, name: str, data: bytes) -> str:
        self.worker.say(self.upload(dispatch, name=name, length=len(data)))
        place = await self.worker.next(wire.UploadTo)
        assert place.request == 5
        assert place.url.startswith(f"/uploads/{place.key}?")
        return place.key

    def upload(self, dispatch: wire.Dispatch, **fields: Any) -> wire.Upload:
        given: dict[str, Any] = {"name": "a.png", "length": 7, "secret": dispatch.secret} | fields
        return wire.Upload(
            channel=3,
            request=5,
            prediction=dispatch.prediction,
            attempt=dispatch.attempt,
            content_type="image/png",
            sha256="0" * 64,
            **given,
        )

    @pytest.fixture
    async def job(self, server: Coordination) -> tuple[str, wire.Dispatch]:
        self.worker = Worker(server)
        return await running(server, self.worker)

    async def concluded(self, server: Coordination, id: str) -> Document:
        document = await server.ended(id)
        await self.worker.next(wire.Ack)
        await self.worker.silence()
        return document

    async def test_files_that_are_in_storage(self, server: Coordination, job: Any) -> None:
        id, dispatch = job
        file = await self.store_file(server, dispatch)
        self.worker.finish(dispatch, wire.BLOB_REFERENCE + file.key, files=(file,))
        document = await self.concluded(server, id)
        assert document.status is Status.SUCCEEDED
        assert document.files == (file,)
        assert document.output == b'"cogflare://blob/%s"' % file.key.encode()

    async def test_a_missing_file_is_no_success(self, server: Coordination, job: Any) -> None:
        id, dispatch = job
        file = await self.store_file(server, dispatch)
        await server.blobs.delete(file.key)
        self.worker.finish(dispatch, wire.BLOB_REFERENCE + file.key, files=(file,))
        document = await self.concluded(server, id)
        assert (document.status, document.error_code) == (Status.FAILED, "output_lost")
        assert "a.png" in (document.error or "")
        assert (document.output, document.files) == (None, ())

    @pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"length": 8}])
    async def test_another_content_is_no_success(
        self, server: Coordination, job: Any, wrong: dict[str, Any]
    ) -> None:
        id, dispatch = job
        file = await self.store_file(server, dispatch)
        self.worker.finish(dispatch, wire.BLOB_REFERENCE + file.key, files=(replace(file, **wrong),))
        document = await self.concluded(server, id)
        assert (document.status, document.error_code) == (Status.FAILED, "output_lost")

    async def test_what_others_stored_cannot_be_handed_out(self, server: Coordination, job: Any) -> None:
        id, dispatch = job
        foreign = await self.store_file(server, dispatch)
        other, second = await running(server, self.worker)
        for key in (foreign.key, foreign.key.replace(id, other), "uploads/1/a.png", "outputs/é"):
            self.worker.progress(second, output(1, "x", files=(replace(foreign, key=key),)))
        assert (await server.get(other)).files == ()
        self.worker.finish(second, wire.BLOB_REFERENCE + foreign.key, files=(foreign,))
        document = await self.concluded(server, other)
        assert (document.status, document.error_code) == (Status.FAILED, "output_lost")
        assert (document.output, document.files) == (None, ())

    async def test_a_key_that_is_none(self, server: Coordination, job: Any) -> None:
        id, dispatch = job
        file = await self.store_file(server, dispatch)
        wrong = replace(file, key=f"{file.key.rpartition('/')[0]}/../ä")
        self.worker.finish(dispatch, "x", files=(wrong,))
        document = await self.concluded(server, id)
        assert document.error_code == "output_lost"
        assert server.sockets.lost_objects == []

    async def test_a_canceled_result_hands_out_nothing_unchecked(
        self, server: Coordination, job: Any
    ) -> None:
        id, dispatch = job
        foreign = wire.StoredFile(
            key="outputs/other/key/0/a.png", name="a.png", content_type="image/png", length=1, sha256="0"
        )
        await server.cancel(id)
        await self.worker.next(wire.Cancel)
        self.worker.finish(dispatch, wire.BLOB_REFERENCE + foreign.key, files=(foreign,))
        document = await self.concluded(server, id)
        assert document.status is Status.CANCELED
        assert (document.output, document.files) == (None, ())

    async def test_a_cancel_while_the_files_are_checked_wins(
        self, server: Coordination, job: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        id, dispatch = job
        file = await self.store_file(server, dispatch)
        checked = asyncio.Event()
        stat = server.blobs.stat

        async def slow(key: str) -> Stat | None:
            await checked.wait()
            return await stat(key)

        monkeypatch.setattr(server.blobs, "stat", slow)
        self.worker.finish(dispatch, "x", files=(file,))
        await breathe()
        assert (await server.cancel(id)).cancel_requested
        checked.set()
        await self.worker.next(wire.Cancel)
        assert (await self.concluded(server, id)).status is Status.CANCELED

    async def test_a_report_repeated_during_the_check_is_acknowledged_where_it_was_made(
        self, server: Coordination, job: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        id, dispatch = job
        file = await self.store_file(server, dispatch)
        checked = asyncio.Event()
        stat = server.blobs.stat

        async def slow(key: str) -> Stat | None:
            await checked.wait()
            return await stat(key)

        monkeypatch.setattr(server.blobs, "stat", slow)
        self.worker.finish(dispatch, "x", files=(file,))
        self.worker.lose()
        verdicts = await self.worker.attach(held=(self.worker.held(dispatch, "finished"),))
        assert verdicts == {id: "keep"}
        self.worker.finish(dispatch, "x", files=(file,))
        await breathe()
        checked.set()
        assert (await self.concluded(server, id)).status is Status.SUCCEEDED

    async def test_storage_that_is_away_is_asked_until_it_answers(
        self,
        server: Coordination,
        job: Any,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        id, dispatch = job
        file = await self.store_file(server, dispatch)
        stat = server.blobs.stat
        asked = 0

        async def away(key: str) -> Stat | None:
            nonlocal asked
            asked += 1
            if asked <= 20:
                raise BlobsUnavailable("storage is away")
            return await stat(key)

        monkeypatch.setattr(server.blobs, "stat", away)
        with caplog.at_level(logging.CRITICAL):
            self.worker.finish(dispatch, "x", files=(file,))
            await server.clock.advance(30)
            assert (await self.concluded(server, id)).status is Status.SUCCEEDED

    async def test_places_are_for_open_attempts(self, server: Coordination, job: Any) -> None:
        _, dispatch = job
        self.worker.say(self.upload(dispatch, secret="wrong"))
        assert (await self.worker.next(wire.UploadRefused)).request == 5
        self.worker.say(self.upload(dispatch, length=server.limits.output_file_bytes + 1))
        assert "output_file_bytes" in (await self.worker.next(wire.UploadRefused)).detail
        self.worker.finish(dispatch)
        await self.worker.next(wire.Ack)
        self.worker.say(self.upload(dispatch))
        await self.worker.next(wire.UploadRefused)

    async def test_a_stale_attempt_stores_under_a_key_of_its_own(
        self, server: Coordination, job: Any
    ) -> None:
        _, dispatch = job
        first = await self.key_for(server, dispatch, "a.png", b"picture")
        self.worker.refuse(dispatch)
        second = await self.key_for(server, await self.worker.take(), "a.png", b"picture")
        assert first != second
        assert await self.key_for(server, dispatch, "a.png", b"picture") == first


class TestStaleAttempts:
    async def two(self, server: Coordination) -> tuple[str, wire.Dispatch, wire.Dispatch]:
        """A prediction whose first agent was given up and whose second one runs it; the first is back."""
        self.first, self.second = Worker(server, "first"), Worker(server, "second")
        id, old = await running(server, self.first)
        self.first.lose()
        await self.second.attach()
        await server.advance(server.limits.lease_s + 1)
        new = await self.second.take()
        assert (new.prediction, new.attempt) == (id, 2)
        assert await self.first.attach(slots=0, held=(self.first.held(old),)) == {id: "keep"}
        return id, old, new

    async def test_its_success_wins_and_the_other_is_canceled(self, server: Coordination) -> None:
        id, old, new = await self.two(server)
        self.first.finish(old, "from the first")
        await self.first.next(wire.Ack)
        document = await server.ended(id)
        assert document.output == b'"from the first"'
        cancel = await self.second.next(wire.Cancel)
        assert (cancel.prediction, cancel.attempt) == (id, 2)
        self.second.finish(new, None, status="canceled")
        await self.second.next(wire.Ack)
        await server.settled()
        assert await server.store.index.get(id, "acme") == document

    async def test_it_is_canceled_when_the_other_succeeds(self, server: Coordination) -> None:
        id, old, new = await self.two(server)
        self.second.finish(new, "from the second")
        await self.second.next(wire.Ack)
        assert (await server.ended(id)).output == b'"from the second"'
        cancel = await self.first.next(wire.Cancel)
        assert (cancel.prediction, cancel.attempt) == (id, old.attempt)

    async def test_its_failure_is_dropped(self, server: Coordination) -> None:
        id, old, new = await self.two(server)
        for status in ("failed", "canceled"):
            self.first.finish(old, None, status=status, error="too late")
            await self.first.next(wire.Ack)
        assert (await server.get(id)).status is Status.PROCESSING
        await self.second.silence()
        self.second.finish(new, "from the second")
        assert (await server.ended(id)).output == b'"from the second"'

    async def test_its_progress_is_dropped(self, server: Coordination) -> None:
        id, old, new = await self.two(server)
        self.second.progress(new, output(1, "new"))
        self.first.progress(old, output(1, "old"), output(2, "old"))
        assert (await server.get(id)).output == b'["new"]'

    async def test_its_success_counts_for_nothing_after_a_cancel(self, server: Coordination) -> None:
        id, old, new = await self.two(server)
        await server.cancel(id)
        self.first.finish(old, "from the first")
        await self.first.next(wire.Ack)
        assert (await server.get(id)).status is Status.PROCESSING
        await self.second.next(wire.Cancel)
        self.second.finish(new, None, status="canceled")
        assert (await server.ended(id)).status is Status.CANCELED

    async def test_its_success_ends_a_prediction_that_waits_again(self, server: Coordination) -> None:
        worker = Worker(server)
        id, old = await running(server, worker)
        worker.lose()
        await server.advance(server.limits.lease_s + 1)
        other = Worker(server, "other")
        await other.attach(slots=0)
        other.say(finished(old, "carried over"))
        await other.next(wire.Ack)
        assert (await server.ended(id)).output == b'"carried over"'
        other.offer()
        await other.silence()
