"""A creation that several ask for under one id begins once, however long ago it has ended and left."""

import pytest

from coordinator import calls, repeats
from coordinator.repeats import Repeats
from tests.support.coordination import MODEL, Coordination, Worker


async def life(server: Coordination, id: str) -> str:
    """The life that does not know this prediction."""
    reply = await server.stub.get(calls.Get(id=id, account="acme"))
    assert isinstance(reply, calls.Unknown)
    return reply.life


async def again(server: Coordination, id: str, life: str) -> calls.AnyReply:
    call = calls.Create(
        id=id,
        account="acme",
        token="tok_1",
        pool="default",
        model=MODEL,
        input=b"{}",
        again=True,
        life=life,
    )
    return await server.stub.create_again(call)


async def run(server: Coordination, id: str) -> None:
    """Until it has ended and is only in the index."""
    worker = Worker(server)
    await worker.attach()
    worker.finish(await worker.take())
    await server.ended(id)
    await server.settled()
    assert await server.find(id) is None


class TestOneLife:
    async def test_who_is_first_creates_it_and_others_find_it(self, server: Coordination) -> None:
        id = server.ids.make(server.number)
        seen = await life(server, id)
        for _ in range(2):
            assert isinstance(await again(server, id, seen), calls.Found)

    async def test_one_that_has_left_meanwhile_does_not_begin_anew(self, server: Coordination) -> None:
        id = server.ids.make(server.number)
        seen = await life(server, id)
        assert isinstance(await again(server, id, seen), calls.Found)
        await run(server, id)
        assert await again(server, id, seen) == calls.Unknown(life=seen)

    async def test_another_life_must_be_asked_first(self, server: Coordination) -> None:
        id = server.ids.make(server.number)
        seen = await life(server, id)
        await server.restart()
        reply = await again(server, id, seen)
        assert isinstance(reply, calls.Unknown)
        assert reply.life != seen
        assert isinstance(await again(server, id, reply.life), calls.Found)


class TestMemory:
    def test_with_too_many_everybody_looks_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(repeats, "REMEMBERED", 3)
        names = iter("abc")
        memory = Repeats(lambda: next(names))
        for prediction in ("p1", "p2", "p3"):
            assert memory.may_begin(prediction, "a")
            memory.began(prediction)
            assert not memory.may_begin(prediction, "a")
        memory.began("p4")
        assert memory.life == "b"
        assert not memory.may_begin("p5", "a")
        assert memory.may_begin("p5", "b")
        assert not memory.may_begin("p4", "b")
