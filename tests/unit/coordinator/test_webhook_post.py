"""POST to what a user named: only to addresses that were checked, and not for ever."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest

from coordinator.protocol.addresses import AddressRules
from coordinator.webhooks.post import NoAnswer, Poster
from coordinator.webhooks.slots import Room, Slots
from tests.support.http_server import Answer, HttpServer, Request, http_server
from tests.support.virtual_clock import breathe


@pytest.fixture
async def receiver() -> AsyncIterator[HttpServer]:
    async with http_server(lambda request: Answer(204)) as receiver:
        yield receiver


def poster(*opened: str, names: dict[str, list[str]] | None = None, limit_s: float = 5.0) -> Poster:
    async def resolve(host: str, port: int) -> list[str]:
        return (names or {}).get(host, [host])

    return Poster(
        AddressRules(opened),
        ssl.create_default_context(),
        connections=4,
        limit_s=limit_s,
        resolve=resolve,
    )


async def test_a_name_is_connected_to_by_the_address_that_was_checked(receiver: HttpServer) -> None:
    sender = poster("127.0.0.0/8", names={"hook.test": ["127.0.0.1"]})
    assert await sender.post(f"http://hook.test:{receiver.port}/a?b=c", {"x-y": "z"}, b"{}") == 204
    (request,) = receiver.requests
    assert (request.path, request.body) == ("/a?b=c", b"{}")
    assert request.headers["host"] == f"hook.test:{receiver.port}"
    assert request.headers["x-y"] == "z"
    await sender.close()


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["169.254.169.254"], []]
)
async def test_a_name_that_leads_to_an_address_that_is_not_public(
    receiver: HttpServer, addresses: list[str]
) -> None:
    sender = poster(names={"hook.test": addresses})
    with pytest.raises(NoAnswer, match="an address that is not public"):
        await sender.post(f"http://hook.test:{receiver.port}/", {}, b"{}")
    assert receiver.requests == []
    await sender.close()


async def test_metadata_is_never_opened(receiver: HttpServer) -> None:
    sender = poster("0.0.0.0/0")
    with pytest.raises(NoAnswer, match="not public"):
        await sender.post("http://169.254.169.254/", {}, b"{}")
    await sender.close()


async def test_the_status_counts_and_not_the_rest_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.webhooks.post.READ_S", 0.1)
    async with http_server(lambda request: Answer(200, body=b"x" * 100, hang=True)) as receiver:
        sender = poster("127.0.0.0/8")
        assert await sender.post(receiver.url, {}, b"{}") == 200
        await sender.close()


async def test_a_receiver_that_says_nothing() -> None:
    async def never(request: Request) -> Answer:
        await asyncio.Event().wait()
        return Answer(200)

    async with http_server(never) as receiver:
        sender = poster("127.0.0.0/8", limit_s=0.2)
        with pytest.raises(NoAnswer, match=r"no answer within 0\.2 s"):
            await sender.post(receiver.url, {}, b"{}")
        await sender.close()


async def test_a_long_answer_is_not_read_to_its_end() -> None:
    async with http_server(lambda request: Answer(200, body=b"x" * 10_000_000)) as receiver:
        sender = poster("127.0.0.0/8")
        assert await sender.post(receiver.url, {}, b"{}") == 200
        await sender.close()


async def test_a_receiver_that_does_not_speak_tls() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    sender = poster("127.0.0.0/8")
    with pytest.raises(NoAnswer):
        await sender.post(f"https://127.0.0.1:{port}/", {}, b"{}")
    await sender.close()
    listening.close()
    await listening.wait_closed()


@pytest.mark.parametrize(("connect_s", "limit_s"), [(5.0, 0.2), (0.2, 5.0)])
async def test_a_receiver_that_never_finishes_tls_keeps_no_connection(
    connect_s: float, limit_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.webhooks.post.CONNECT_S", connect_s)
    closed = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # to its end
        closed.set()
        writer.close()

    listening = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    sender = poster("127.0.0.0/8", limit_s=limit_s)
    with pytest.raises(NoAnswer, match="no answer within"):
        await sender.post(f"https://127.0.0.1:{port}/", {}, b"{}")
    async with asyncio.timeout(5):
        await closed.wait()
    await sender.close()
    listening.close()
    await listening.wait_closed()


async def test_neither_a_receiver_nor_an_account_takes_all_room() -> None:
    room, inside, go = Room(receiver=2, account=3, total=4), [], asyncio.Event()

    async def use(account: str, receiver: str) -> None:
        async with room.hold(account, receiver):
            inside.append(account + receiver)
            await go.wait()

    wanted = [*[("x", "a")] * 4, *[("x", "b")] * 2, *[("y", "c")] * 2]
    tasks = [asyncio.ensure_future(use(*one)) for one in wanted]
    await breathe()
    assert inside == ["xa", "xa", "xb", "yc"]
    go.set()
    await asyncio.gather(*tasks)
    assert sorted(inside) == sorted(account + receiver for account, receiver in wanted)


async def test_a_name_that_nobody_uses_is_forgotten() -> None:
    slots = Slots(1)
    async with slots.hold("a"):
        waiting = asyncio.ensure_future(_use(slots, "a"))
        await breathe()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert len(slots) == 1
    assert len(slots) == 0


async def _use(slots: Slots, name: str) -> None:
    async with slots.hold(name):
        pass
