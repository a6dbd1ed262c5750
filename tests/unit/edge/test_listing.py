"""Lists of predictions that are limited to some."""

from pathlib import Path
from typing import Any

import pytest

from coordinator.protocol.limits import ServerLimits
from tests.support.edge import MODEL, TestServer, register, running
from tests.support.waiting import until


async def listed(server: TestServer, **query: str) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    url, params = "/v1/predictions", dict(query)
    while True:
        answer = await server.http.get(url, params=params or None)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [one["id"] for one in page["results"]]
        if page["next"] is None:
            return found
        url, params = page["next"], {}


async def ended(server: TestServer, status: str) -> str:
    """One that has ended so, and has left its coordinator."""
    made = await server.create()
    error = {} if status == "succeeded" else {"error": "it broke"}
    server.agent.finish(await server.agent.start(), ["x"], status=status, **error)
    server.agent.offer()
    await server.ended(made["id"])
    await server.indexed(made["id"])
    return str(made["id"])


@pytest.mark.parametrize("page_size", [1, 2, 100])
async def test_by_status(tmp_path: Path, page_size: int) -> None:
    async with running(tmp_path, ServerLimits(page_size=page_size)) as server:
        failed = [await ended(server, "failed"), await ended(server, "failed")]
        succeeded = [await ended(server, "succeeded") for _ in range(3)]
        failed.append(await ended(server, "failed"))
        runs = await server.create()
        await server.agent.start()
        waits = [(await server.create())["id"] for _ in range(2)]
        canceled = (await server.create())["id"]
        await server.http.post(f"/v1/predictions/{canceled}/cancel")
        assert await listed(server, status="failed") == failed[::-1]
        assert await listed(server, status="succeeded") == succeeded[::-1]
        assert await listed(server, status="processing") == [runs["id"]]
        assert await listed(server, status="starting") == waits[::-1]
        assert await listed(server, status="canceled") == [canceled]
        everything = [*failed[:2], *succeeded, failed[2], runs["id"], *waits, canceled]
        assert await listed(server) == everything[::-1]


async def test_by_model_and_together(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(page_size=1)) as server:
        await register(server.services.store, "acme/other", "b" * 64)
        ours = [await ended(server, "succeeded"), await ended(server, "failed")]
        body: dict[str, Any] = {"input": {"text": "x"}}
        other = (await server.http.post("/v1/models/acme/other/predictions", json=body)).json()["id"]
        assert await listed(server, model=MODEL) == ours[::-1]
        assert await listed(server, model="acme/other") == [other]
        assert await listed(server, model=MODEL, status="failed") == [ours[1]]
        assert await listed(server, model="acme/other", status="failed") == []
        assert await listed(server, model="acme/none") == []
        created = (await server.http.get(f"/v1/predictions/{ours[1]}")).json()["created_at"]
        assert await listed(server, model=MODEL, created_before=created) == [ours[0]]


async def test_by_source(server: TestServer) -> None:
    made = await server.create()
    assert await listed(server, source="api") == [made["id"]]
    assert await listed(server, source="web") == []


@pytest.mark.parametrize(
    ("name", "value"), [("status", "done"), ("status", "Failed"), ("source", "x"), ("created_after", "x")]
)
async def test_what_is_no_filter_is_422(server: TestServer, name: str, value: str) -> None:
    answer = await server.http.get("/v1/predictions", params={name: value})
    assert (answer.status_code, answer.json()["invalid_fields"][0]["field"]) == (422, name)


async def test_what_is_indexed_while_a_page_is_read_is_on_it(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = server.services.store.index
    before = index.list

    async def slow(*arguments: Any, **more: Any) -> Any:
        rows = await before(*arguments, **more)
        await until(lambda: not server.services.projector.pending("default"), "all is in the index")
        return rows

    monkeypatch.setattr(index, "list", slow)
    for _ in range(5):
        made = await server.create()
        listed = (await server.http.get("/v1/predictions")).json()["results"]
        assert made["id"] in [one["id"] for one in listed]
