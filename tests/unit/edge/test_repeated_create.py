"""A create whose answer was lost inside of the server is repeated there, and still is one prediction."""

from typing import Any

import pytest

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.protocol import messages as wire
from tests.support.edge import TestServer


def lose_the_first(server: TestServer, monkeypatch: pytest.MonkeyPatch, lost: Any) -> list[calls.Create]:
    """The first create ends as ``lost`` does; gives all creates as they come."""
    namespace = server.services.coordinators.namespace
    call = namespace.call
    creates: list[calls.Create] = []

    async def watched(number: int, what: Any, deadline_s: float) -> Any:
        if isinstance(what, calls.Create):
            creates.append(what)
            if len(creates) == 1:
                await lost(lambda: call(number, what, deadline_s))
                raise Unavailable("the coordinator was restarted")
        return await call(number, what, deadline_s)

    monkeypatch.setattr(namespace, "call", watched)
    return creates


async def test_one_that_was_not_accepted_is_created(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(create: Any) -> None:
        pass

    creates = lose_the_first(server, monkeypatch, lost)
    made = await server.create()
    assert [create.again for create in creates] == [False, True]
    assert (await server.agent.start()).prediction == made["id"]


async def test_one_that_was_accepted_is_found(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(create: Any) -> None:
        await create()

    creates = lose_the_first(server, monkeypatch, lost)
    made = await server.create()
    assert [create.id for create in creates] == [made["id"]]
    assert (await server.agent.start()).prediction == made["id"]


@pytest.mark.parametrize("remembered", [True, False])
async def test_one_that_has_ended_meanwhile_does_not_begin_anew(
    server: TestServer, monkeypatch: pytest.MonkeyPatch, remembered: bool
) -> None:
    async def lost(create: Any) -> None:
        id = (await create()).document.id
        server.agent.finish(await server.agent.start(), "done")
        await server.indexed(id)
        if not remembered:
            server.services.projector._recent.clear()

    creates = lose_the_first(server, monkeypatch, lost)
    made = await server.create()
    assert (made["status"], made["output"]) == ("succeeded", "done")
    assert [create.id for create in creates] == [made["id"]]
    server.agent.offer()
    another = await server.create()
    dispatch: wire.Dispatch = await server.agent.start()
    assert dispatch.prediction == another["id"], "nothing was dispatched in between"
