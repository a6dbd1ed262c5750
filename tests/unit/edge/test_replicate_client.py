"""The official Python client, unmodified, against the application."""

import asyncio
import io
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
import replicate
from replicate.exceptions import ModelError, ReplicateError

from coordinator.protocol.messages import BLOB_REFERENCE
from tests.support.edge import BASE, MODEL, VERSION, TestServer


@pytest.fixture
def client(server: TestServer) -> replicate.Client:
    return client_of(server, server.token)


def client_of(server: TestServer, token: str) -> replicate.Client:
    return replicate.Client(
        api_token=token, base_url=BASE, transport=httpx.ASGITransport(server.app), timeout=5
    )


async def served(server: TestServer, asked: Awaitable[Any], output: Any, **more: Any) -> Any:
    """What the client got, while the agent answered."""
    asking = asyncio.ensure_future(asked)
    dispatch = await server.agent.start()
    server.agent.finish(dispatch, output, **more)
    server.agent.offer()
    return await asking


async def test_run_by_model_and_by_version(server: TestServer, client: replicate.Client) -> None:
    by_name = await served(server, client.async_run(MODEL, input={"text": "x"}), ["Hel", "lo"])
    assert by_name == ["Hel", "lo"]
    by_version = await served(
        server, client.async_run(f"{MODEL}:{VERSION}", input={"text": "x"}), ["Hel", "lo"]
    )
    assert [item async for item in by_version] == ["Hel", "lo"]


async def test_a_stored_file_becomes_a_file_output(server: TestServer, client: replicate.Client) -> None:
    asking = asyncio.ensure_future(client.async_run(MODEL, input={"text": "x"}))
    dispatch = await server.agent.start()
    file = await server.upload(dispatch, "a.png", b"picture", "image/png")
    server.agent.finish(dispatch, [f"{BLOB_REFERENCE}{file.key}"], files=(file,))
    (output,) = await asking
    assert output.url.startswith(f"{BASE}/files/outputs/")
    assert await output.aread() == b"picture"


async def test_a_file_input_is_uploaded_and_reaches_the_agent(
    server: TestServer, client: replicate.Client
) -> None:
    image = io.BytesIO(b"picture")
    asking = asyncio.ensure_future(client.async_run(MODEL, input={"text": "x", "image": image}))
    dispatch = await server.agent.start()
    (path,) = dispatch.files.values()
    assert (await server.http.get(path)).content == b"picture"
    server.agent.finish(dispatch, ["ok"])
    assert await asking == ["ok"]


async def test_streaming(server: TestServer, client: replicate.Client) -> None:
    async def words() -> list[str]:
        return [str(event) async for event in await client.async_stream(MODEL, input={"text": "x"})]

    reading = asyncio.ensure_future(words())
    dispatch = await server.agent.start()
    server.agent.progress(dispatch, (1, "output", "Hel"), (2, "logs", "said"), (3, "output", "lo\nyou"))
    server.agent.finish(dispatch, ["Hel", "lo\nyou"])
    assert "".join(await reading) == "Hello\nyou"


async def test_failures_are_exceptions(server: TestServer, client: replicate.Client) -> None:
    asked = client.async_run(MODEL, input={"text": "x"})
    with pytest.raises(ModelError, match="it broke"):
        await served(server, asked, None, status="failed", error="it broke")
    with pytest.raises(ReplicateError, match="text is required"):
        await client.async_run(MODEL, input={})
    with pytest.raises(ReplicateError, match="could not be found"):
        await client.predictions.async_get("nothing")


async def test_it_passes_over_the_place_of_one_that_waits(
    server: TestServer, client: replicate.Client
) -> None:
    await client.predictions.async_create(version=VERSION, input={"text": "runs"})
    waits = await client.predictions.async_create(version=VERSION, input={"text": "waits"})
    shown = (await server.http.get(f"/v1/predictions/{waits.id}")).json()
    assert shown["queue"]["position"] == 1
    read = await client.predictions.async_get(waits.id)
    assert (read.id, read.status) == (waits.id, "starting")


async def test_everything_else_that_it_can_ask(server: TestServer, client: replicate.Client) -> None:
    made = await client.predictions.async_create(version=VERSION, input={"text": "x"})
    assert (await client.predictions.async_get(made.id)).status in ("starting", "processing")
    assert (await client.predictions.async_cancel(made.id)).id == made.id
    assert [one.id for one in (await client.predictions.async_list()).results] == [made.id]
    model = await client.models.async_get(MODEL)
    assert model.latest_version is not None
    assert [one.name for one in (await client.models.async_list()).results] == ["greeter"]
    assert (await model.versions.async_get(VERSION)).openapi_schema
    assert (await client.accounts.async_current()).username == "default"
    file = await client.files.async_create(io.BytesIO(b"x"), filename="a.txt", metadata={"k": "v"})
    assert (await client.files.async_get(file.id)).metadata == {"k": "v"}
    assert [one.id for one in await client.files.async_list()] == [file.id]
    assert await client.files.async_delete(file.id) is True
