"""Which creations are taken for repeats of one whose answer was lost, and which never are."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.protocol.limits import ServerLimits
from edge.replies import HTTPRequest
from edge.unanswered import TOKENS, Asking, Unanswered
from tests.support.edge import MODEL, TestServer, running

PATH = f"/v1/models/{MODEL}/predictions"
FIRST, AGAIN = {"x-stainless-retry-count": "0"}, {"x-stainless-retry-count": "1"}


class Memory:
    """What is remembered, in a time that the test says."""

    def __init__(self, keep_s: float = 120.0, most: int = 3) -> None:
        self.now = 0.0
        self.gone: set[str] = set()
        self.memory = Unanswered(keep_s, most, lambda: self.now)

    def asking(
        self,
        client: str,
        digest: bytes = b"d",
        *,
        token: str = "t",
        retry: int | None = None,
        waits: bool = True,
    ) -> Asking:
        headers = [] if retry is None else [(b"x-stainless-retry-count", b"%d" % retry)]
        return self.memory.asking(token, lambda: digest, headers, lambda: client in self.gone, waits=waits)

    def answered(self, client: str, id: str, **options: Any) -> None:
        """A creation from its beginning to its answer, or to the end of its connection."""
        with self.asking(client, **options) as asking:
            asking.creates(id)

    def predecessor(self, **options: Any) -> str | None:
        with self.asking("later", **options) as asking:
            return asking.predecessor()


class TestMemory:
    def test_what_was_answered_is_repeated_by_who_says_so(self) -> None:
        memory = Memory()
        memory.answered("a", "p1", retry=0)
        assert memory.predecessor() is None
        assert memory.predecessor(retry=0) is None
        assert memory.predecessor(retry=1, digest=b"other") is None
        assert memory.predecessor(retry=1, token="another") is None
        assert memory.predecessor(retry=1) == "p1"
        assert memory.predecessor(retry=1) is None, "only one may have it"

    def test_who_marks_nothing_and_was_answered_is_forgotten(self) -> None:
        memory = Memory()
        memory.answered("a", "p1")
        assert memory.predecessor(retry=1) is None

    @pytest.mark.parametrize("waits", [True, False])
    def test_a_dead_connection_needs_no_mark(self, waits: bool) -> None:
        memory = Memory()
        memory.gone.add("a")
        memory.answered("a", "p1", waits=waits)
        assert memory.predecessor(waits=waits) == "p1"
        assert memory.predecessor(waits=waits) is None

    def test_it_may_die_again_and_again(self) -> None:
        memory = Memory()
        memory.gone.add("a")
        memory.answered("a", "p1")
        for _ in range(4):
            with memory.asking("a") as asking:
                assert asking.predecessor() == "p1"
                asking.creates("p1")
        assert memory.predecessor() == "p1"

    def test_one_that_is_still_waited_for_counts_once_its_client_has_left(self) -> None:
        memory = Memory()
        with memory.asking("a") as first:
            first.creates("p1")
            assert memory.predecessor() is None
            memory.gone.add("a")
            assert memory.predecessor() == "p1"
        assert memory.predecessor() is None, "what has been taken does not come back"

    def test_of_several_the_dead_one(self) -> None:
        memory = Memory()
        with memory.asking("a") as first, memory.asking("b") as second, memory.asking("c") as third:
            first.creates("p1")
            second.creates("p2")
            third.creates("p3")
            memory.gone.add("b")
            assert memory.predecessor(retry=1) == "p2"

    def test_what_was_refused_is_no_predecessor(self) -> None:
        memory = Memory()
        memory.gone.add("a")
        with memory.asking("a", retry=0) as asking:
            asking.creates("p1")
            asking.forget()
        assert memory.predecessor(retry=1) is None

    def test_what_failed_in_between_may_have_been_created(self) -> None:
        memory = Memory()
        with pytest.raises(RuntimeError), memory.asking("a", retry=0) as asking:
            asking.creates("p1")
            raise RuntimeError
        assert memory.predecessor(retry=1) == "p1"

    def test_time_and_numbers_are_bounded(self) -> None:
        memory = Memory()
        for number in range(4):
            memory.now = number
            memory.answered("a", f"p{number}", digest=b"%d" % number, retry=0)
        assert memory.predecessor(digest=b"0", retry=1) is None, "the fourth made it give way"
        memory.now = 122.0
        assert memory.predecessor(digest=b"2", retry=1) is None
        assert memory.predecessor(digest=b"3", retry=1) == "p3"
        for number in range(TOKENS + 1):
            memory.answered("a", "p", token=f"t{number}", retry=0)
        assert memory.predecessor(token="t0", retry=1) is None
        assert memory.predecessor(token="t1", retry=1) == "p"
        assert len(memory.memory._tokens) == TOKENS - 1

    def test_it_can_be_turned_off(self) -> None:
        memory = Memory(keep_s=0)
        memory.gone.add("a")
        memory.answered("a", "p1", retry=0)
        assert memory.predecessor(retry=1) is None


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with running(tmp_path, ServerLimits(), slots=4) as server:
        yield server


async def post(server: TestServer, text: str = "x", **headers: str) -> Any:
    answer = await server.http.post(PATH, json={"input": {"text": text}}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer


class TestRequests:
    async def test_a_marked_repeat_is_the_same_prediction(self, server: TestServer) -> None:
        first = await post(server, **FIRST)
        other = await post(server, "y", **AGAIN)
        again = await post(server, **AGAIN)
        assert again.json()["id"] == first.json()["id"] != other.json()["id"]
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in other.headers

    async def test_one_that_ended_meanwhile_is_given_back(self, server: TestServer) -> None:
        first = (await post(server, **FIRST)).json()
        server.agent.finish(await server.agent.start(), ["done"])
        await server.indexed(first["id"])
        again = (await post(server, **AGAIN)).json()
        assert (again["id"], again["status"]) == (first["id"], "succeeded")

    async def test_the_same_without_a_mark_is_another(self, server: TestServer) -> None:
        made = [(await post(server, **headers)).json()["id"] for headers in (FIRST, {}, FIRST, {})]
        assert len(set(made)) == 4

    async def test_other_tokens_are_others(self, server: TestServer) -> None:
        first = (await post(server, **FIRST)).json()
        sister = {"authorization": f"Bearer {await server.secret('sister')}"}
        assert (await post(server, **AGAIN, **sister)).json()["id"] != first["id"]

    async def test_what_was_refused_is_created_then(self, server: TestServer) -> None:
        refused = await server.http.post(PATH, json={"input": {"n": 9}}, headers=FIRST)
        assert refused.status_code == 422
        assert (await server.http.post(PATH, json={"input": {"n": 9}}, headers=AGAIN)).status_code == 422

    async def test_a_connection_that_dies_while_its_client_waits(self, server: TestServer) -> None:
        waiting = Client(server, prefer="wait")
        dispatch = await server.agent.start()
        waiting.leave()
        again = asyncio.ensure_future(post(server, prefer="wait"))
        server.agent.finish(dispatch, ["done"])
        assert (await again).json()["id"] == dispatch.prediction
        await waiting.ended()

    async def test_one_that_is_canceled_by_hanging_up_begins_anew(self, server: TestServer) -> None:
        prefer = "wait, cancel-on-disconnect"
        waiting = Client(server, prefer=prefer, **AGAIN)
        dispatch = await server.agent.start()
        waiting.leave()
        await waiting.ended()
        again = asyncio.ensure_future(post(server, prefer=prefer, **AGAIN))
        second = await server.agent.start()
        assert second.prediction != dispatch.prediction
        server.agent.finish(second, ["done"])
        assert (await again).json()["output"] == ["done"]


class Client:
    """One that waits, and may hang up before its answer."""

    def __init__(self, server: TestServer, **headers: str) -> None:
        headers |= {"authorization": f"Bearer {server.token}"}
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self._away = asyncio.Event()
        self._sent = False
        self._serving = asyncio.ensure_future(server.app(scope, self._receive, self._send))

    def leave(self) -> None:
        self._away.set()

    async def ended(self) -> None:
        async with asyncio.timeout(5):
            await self._serving

    async def _receive(self) -> dict[str, Any]:
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": b'{"input": {"text": "x"}}', "more_body": False}
        await self._away.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        """Nobody reads it."""


async def test_looking_whether_a_client_has_left_leaves_nothing_behind() -> None:
    from edge.hangups import is_gone

    away = asyncio.Event()

    async def receive() -> dict[str, str]:
        await away.wait()
        return {"type": "http.disconnect"}

    request = HTTPRequest({"type": "http"}, receive=receive)  # type: ignore[arg-type]
    for _ in range(3):
        assert not is_gone(request)
    assert not away._waiters  # type: ignore[attr-defined]
    away.set()
    assert is_gone(request)
