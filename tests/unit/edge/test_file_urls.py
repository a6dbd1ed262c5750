"""Which answers hold the output files themselves."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator.protocol.limits import ServerLimits
from coordinator.protocol.messages import BLOB_REFERENCE
from edge.app import create_app
from edge.settings import FileUrls
from tests.support.edge import MODEL, TestServer, running

HTTP = "http://api.example.test"
PYTHON_1 = "replicate-python/1.0.7"
PYTHON_2 = (
    "Replicate/Python 2.0.0-beta.4",
    "AsyncReplicate/Python 2.0.0-beta.4",
    "_ModuleClient/Python 2.0.0",
)
NPM = "replicate-javascript/1.4.0"
CLIENTS = (PYTHON_1, *PYTHON_2, NPM)
OTHERS = ("curl/8.0", "python-httpx/0.28.1", "my-replicate-python/1", "")
SMALL, LARGE = b"picture", b"x" * 60
IMAGE = "data:image/png;base64," + base64.b64encode(SMALL).decode()


@pytest.fixture
def limits() -> ServerLimits:
    return ServerLimits(data_url_bytes=70)


@pytest.fixture
async def server(tmp_path: Path, limits: ServerLimits) -> AsyncIterator[TestServer]:
    async with running(tmp_path, limits) as server:
        yield server


class Asked:
    """The same server as another one would be: by another public URL, or another --file-urls."""

    def __init__(self, server: TestServer, url: str = HTTP, file_urls: FileUrls = "auto") -> None:
        app = create_app(replace(server.services, public_url=url, file_urls=file_urls), server.orders)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            headers={"authorization": f"Bearer {server.token}"},
            base_url=url,
        )

    async def output(self, id: str, agent: str = PYTHON_1) -> Any:
        answer = await self.http.get(f"/v1/predictions/{id}", headers={"user-agent": agent})
        return answer.json()["output"]


async def made(server: TestServer, *contents: bytes) -> str:
    """A prediction that has ended with these files."""
    id = (await server.create())["id"]
    dispatch = await server.agent.start()
    files = [
        await server.upload(dispatch, f"{number}.png", content, "image/png")
        for number, content in enumerate(contents)
    ]
    server.agent.finish(dispatch, [f"{BLOB_REFERENCE}{file.key}" for file in files], files=tuple(files))
    return str((await server.ended(id))["id"])


async def test_without_https_the_official_clients_get_the_files_themselves(server: TestServer) -> None:
    asked, id = Asked(server), await made(server, SMALL)
    for agent in CLIENTS:
        assert await asked.output(id, agent) == [IMAGE], agent
    for agent in OTHERS:
        assert (await asked.output(id, agent))[0].startswith(f"{HTTP}/files/"), agent


async def test_with_https_everybody_gets_urls(server: TestServer) -> None:
    id = await made(server, SMALL)
    for agent in (*CLIENTS, *OTHERS):
        (url,) = await Asked(server, "https://api.example.test").output(id, agent)
        assert url.startswith("https://api.example.test/files/"), agent


async def test_the_setting_holds_for_everybody(server: TestServer) -> None:
    id = await made(server, SMALL)
    for agent in (*CLIENTS, *OTHERS):
        assert await Asked(server, "https://api.example.test", "data").output(id, agent) == [IMAGE]
        assert (await Asked(server, HTTP, "url").output(id, agent))[0].startswith(f"{HTTP}/files/")


async def test_files_have_room_up_to_the_limit_and_others_beside_them_have_urls(server: TestServer) -> None:
    first, second, third = await Asked(server).output(await made(server, LARGE, LARGE, SMALL))
    assert first == "data:image/png;base64," + base64.b64encode(LARGE).decode()
    assert second.startswith(f"{HTTP}/files/")
    assert third == IMAGE


async def test_a_creation_and_a_cancel_hold_them_and_a_list_does_not(server: TestServer) -> None:
    asked = Asked(server)
    agent = {"user-agent": NPM}
    id = await made(server, SMALL)
    assert (await asked.http.post(f"/v1/predictions/{id}/cancel", headers=agent)).json()["output"] == [IMAGE]
    (listed,) = (await asked.http.get("/v1/predictions", headers=agent)).json()["results"]
    assert listed["output"][0].startswith(f"{HTTP}/files/")
    named = {**agent, "idempotency-key": "once"}
    path, body = f"/v1/models/{MODEL}/predictions", {"input": {"text": "x"}}
    server.agent.offer()
    created = (await asked.http.post(path, json=body, headers=named)).json()
    dispatch = await server.agent.start()
    file = await server.upload(dispatch, "a.png", SMALL, "image/png")
    server.agent.finish(dispatch, f"{BLOB_REFERENCE}{file.key}", files=(file,))
    await server.ended(created["id"])
    assert (await asked.http.post(path, json=body, headers=named)).json()["output"] == IMAGE


async def test_a_file_that_is_gone_has_a_url_that_says_so(server: TestServer) -> None:
    id = await made(server, SMALL)
    (url,) = await Asked(server).output(id, "curl/8.0")
    key = httpx.URL(url).path.removeprefix("/files/")
    await server.services.blobs.delete(key)
    assert await Asked(server).output(id) == [url]
