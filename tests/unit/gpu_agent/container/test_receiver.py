"""What Cog servers reach of the agent: webhooks and files, on paths that nobody can guess."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gpu_agent.container.receiver import LATE, CannotListen, Receiver


@contextlib.asynccontextmanager
async def opened(url: str = "", body_bytes: int = 1000) -> AsyncIterator[tuple[Receiver, httpx.AsyncClient]]:
    receiver = Receiver(url, body_bytes=body_bytes)
    await receiver.open()
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            yield receiver, client
    finally:
        await receiver.close()


async def test_a_webhook_is_answered_when_it_was_taken() -> None:
    taken: list[bytes] = []
    go = asyncio.Event()

    async def hook(body: bytes) -> None:
        await go.wait()
        taken.append(body)

    async with opened() as (receiver, client):
        url = receiver.hook(hook)
        answer = asyncio.create_task(client.post(url, content=b"one"))
        await asyncio.wait({answer}, timeout=0.05)
        assert not answer.done()
        go.set()
        assert (await answer).status_code == 200

        async def pieces() -> AsyncIterator[bytes]:
            yield b"in "
            yield b"chunks"

        assert (await client.post(url, content=pieces())).status_code == 200
        assert taken == [b"one", b"in chunks"]
        assert (await client.get(url)).status_code == 405
        receiver.forget(url)
        assert (await client.post(url, content=b"late")).status_code == 200
        assert len(taken) == 2, "it is not delivered"
        for _ in range(LATE):
            receiver.forget(receiver.hook(hook))
        assert (await client.post(url, content=b"too late")).status_code == 404


async def test_a_body_over_the_limit_is_refused() -> None:
    async def hook(body: bytes) -> None:
        raise AssertionError

    async with opened(body_bytes=10) as (receiver, client):
        answer = await client.post(receiver.hook(hook), content=b"x" * 11)
        assert answer.status_code == 413
        assert "--cog-answer-bytes" in answer.text


async def test_a_hook_that_breaks_does_not_break_the_receiver(caplog: pytest.LogCaptureFixture) -> None:
    async def hook(body: bytes) -> None:
        raise RuntimeError("broken")

    async with opened() as (receiver, client):
        url = receiver.hook(hook)
        assert (await client.post(url)).status_code == 200
        assert (await client.post(url)).status_code == 200
    assert "unexpected error in a webhook" in caplog.text


async def test_files(tmp_path: Path) -> None:
    path = tmp_path / "ü b.txt"
    path.write_bytes(b"content" * 100_000)
    async with opened() as (receiver, client):
        url = receiver.file(path)
        answer = await client.get(url)
        assert (answer.content, answer.headers["content-type"]) == (b"content" * 100_000, "text/plain")
        assert (await client.post(url)).status_code == 404
        assert (await client.get(receiver.base + "/")).status_code == 404
        path.unlink()
        assert (await client.get(url)).status_code == 404


async def test_what_is_no_http_is_cut_off() -> None:
    async with opened() as (receiver, _):
        host, _, port = receiver.base.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_it_is_open_until_the_last_one_has_closed_it() -> None:
    async with opened() as (receiver, client):
        await receiver.open()
        await receiver.close()
        assert (await client.get(receiver.base)).status_code == 404


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["host.docker.internal", "192.0.2.1"])
async def test_a_callback_url_of_something_in_front_is_listened_for_everywhere(host: str) -> None:
    port = free_port()
    async with opened(f"http://{host}:{port}") as (receiver, client):
        assert receiver.base == f"http://{host}:{port}"
        assert (await client.get(f"http://127.0.0.1:{port}")).status_code == 404


async def test_the_port_of_the_callback_url_is_listened_on() -> None:
    port = free_port()
    async with opened(f"http://127.0.0.1:{port}/") as (receiver, client):
        assert receiver.base == f"http://127.0.0.1:{port}"
        assert (await client.get(receiver.base)).status_code == 404
        second = Receiver(f"http://localhost:{port}", body_bytes=10)
        with pytest.raises(
            CannotListen, match=f"port {port} of --cog-callback-url cannot be listened on: Address"
        ):
            await second.open()
