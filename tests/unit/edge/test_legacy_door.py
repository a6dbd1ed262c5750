"""The door of the workers of 2022 where its coordinator goes and comes: real sockets, real storage."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from coordinator import calls
from coordinator.actor.errors import CommitFailed
from coordinator.errors import Unavailable
from coordinator.prediction import Status
from coordinator.protocol.limits import ServerLimits, WireLimits
from tests.support.gatehouse import PATIENCE_S, Gatehouse, gatehouse
from tests.support.waiting import until_async

MODEL = "acme/m"


class Worker:
    """A worker of 2022 on a socket of today's library."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def job(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            return dict(json.loads(await self._socket.recv()))

    async def say(self, job: dict[str, Any], status: str, output: Any = None, **more: Any) -> None:
        frame = {"id": job["id"], "status": status, "output": output, "logs": [], **more}
        await self._socket.send(json.dumps(frame))

    async def nothing(self) -> None:
        """A whole round trip, with no job before its answer."""
        await (await self._socket.ping())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await self._socket.recv()


class House:
    def __init__(self, gates: Gatehouse, token: str) -> None:
        self.gates = gates
        self._token = token

    @asynccontextmanager
    async def worker(self, session: str = "s1", model: str = MODEL) -> AsyncIterator[Worker]:
        base = self.gates.url.split("/v1/")[0]
        url = f"{base}/v1/models/{model}/websocket/{self._token}?session_id={session}"
        async with connect(url, ping_interval=None, proxy=None, close_timeout=1) as socket:
            yield Worker(socket)

    async def state(self, id: str) -> Any:
        number = await self.gates.store.objects.number("default", MODEL)
        reply = await self.gates.coordinators.models.stub(number).get(calls.Get(id=id, account="acme"))
        return reply.document if isinstance(reply, calls.Found) else None

    async def break_commit(self) -> None:
        """The next commit fails: the instance goes, and another one comes."""
        self.gates.storages.fail(CommitFailed("no"))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    limits = ServerLimits(token_recheck_s=0.05, drain_s=0.2)
    async with gatehouse(tmp_path, limits, WireLimits()) as gates:
        yield House(gates, await gates.token())


async def test_a_result_is_told_again_to_the_next_instance(house: House) -> None:
    async with house.worker() as worker:
        id = await house.gates.create()
        job = await worker.job()
        await worker.say(job, "processing")
        await until_async(lambda: processing(house, id), "it runs")
        await house.break_commit()
        await worker.say(job, "succeeded", "kept")
        document = await house.gates.ended(id)
        assert (document.status, document.output) == (Status.SUCCEEDED, b'"kept"')
        again = await house.gates.create()
        assert (await worker.job())["id"] == again


async def test_a_busy_worker_survives_the_loss_of_its_coordinator(house: House) -> None:
    """The socket was there all the time: nothing is lost, repeated or distrusted, and progress is whole."""
    async with house.worker() as worker:
        id = await house.gates.create()
        job = await worker.job()
        await worker.say(job, "processing", ["a"])
        await until_async(lambda: processing(house, id), "it runs")
        await house.break_commit()
        with pytest.raises(Unavailable):
            await house.gates.create()
        await worker.nothing()
        await worker.say(job, "processing", ["a", "b"])
        await until_async(lambda: shows(house, id, b'["a","b"]'), "both items are known again")
        await worker.say(job, "succeeded", ["a", "b", "c"])
        document = await house.gates.ended(id)
        assert document.output == b'["a","b","c"]'
        assert len(document.attempts) == 1
        await house.gates.create()
        await worker.job()


async def test_an_idle_worker_gets_work_from_the_next_instance(house: House) -> None:
    async with house.worker() as worker:
        await house.break_commit()
        with pytest.raises(Unavailable):
            await house.gates.create()
        id = await house.gates.create()
        job = await worker.job()
        assert job["id"] == id


async def test_the_same_session_again_replaces_an_idle_connection(house: House) -> None:
    async with house.worker() as first, house.worker() as second:
        with pytest.raises(Exception, match="4409"):
            await first.job()
        await house.gates.create()
        await second.say(await second.job(), "succeeded")


async def test_the_same_session_again_while_it_works_is_a_lost_connection(house: House) -> None:
    async with house.worker() as first, house.worker("s2") as other:
        id = await house.gates.create()
        jobs = [asyncio.create_task(worker.job()) for worker in (first, other)]
        done, waiting = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        busy = "s1" if jobs[0] in done else "s2"
        with pytest.raises(InvalidStatus) as refused:
            async with house.worker(busy):
                pass
        assert refused.value.response.status_code == 403
        (again,) = [await task for task in waiting]
        assert again["id"] == id


async def test_a_session_is_its_tokens_own(house: House) -> None:
    """Who knows another worker's session_id can harm nobody with it."""
    stranger = House(house.gates, await house.gates.token("stranger"))
    async with house.worker("same"):
        async with stranger.worker("same") as other:
            await other.nothing()
        async with house.worker("else"):
            assert len(await workers(house)) == 2


async def test_upper_case_in_the_path_is_the_same_model(house: House) -> None:
    async with house.worker(model="Acme/M") as worker:
        id = await house.gates.create()
        assert (await worker.job())["id"] == id


async def processing(house: House, id: str) -> bool:
    document = await house.state(id)
    return document is not None and document.status is Status.PROCESSING


async def shows(house: House, id: str, output: bytes) -> bool:
    document = await house.state(id)
    return document is not None and document.output == output


async def workers(house: House) -> list[calls.Worker]:
    number = await house.gates.store.objects.number("default", MODEL)
    found = await house.gates.coordinators.models.stub(number).workers()
    return [worker for worker in found if worker.attached]
