"""Inputs that are too long for a row: whoever asks for the prediction gets them, and the worker does."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.errors import BlobsUnavailable
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from tests.support.edge import MODEL, TestServer, running
from tests.support.http_server import Answer, http_server
from tests.support.waiting import until

LIMIT = ServerLimits().row_input_bytes
TEXT = "ü" * LIMIT
URL = f"/v1/models/{MODEL}/predictions"


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.glob("**/inputs/*/*") if "," not in path.name]


def rows(folder: Path) -> bytes:
    """All that the databases of this server have in their files."""
    found = b""
    for path in folder.glob("**/*.db"):
        with sqlite3.connect(path) as database:
            found += "\n".join(database.iterdump()).encode()
    return found


async def create(server: TestServer, text: str = TEXT, **more: Any) -> dict[str, Any]:
    answer = await server.http.post(URL, json={"input": {"text": text}, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_everybody_gets_it_and_no_row_has_it(server: TestServer, tmp_path: Path) -> None:
    made = await create(server)
    assert made["input"] == {"text": TEXT}
    assert len(kept(tmp_path)) == 1
    dispatch = await server.agent.start()
    assert json.loads(bytes(dispatch.input)) == {"text": TEXT}
    assert (await server.http.get(f"/v1/predictions/{made['id']}")).json()["input"] == {"text": TEXT}
    server.agent.finish(dispatch, "done")
    assert (await server.ended(made["id"]))["input"] == {"text": TEXT}
    await server.indexed(made["id"])
    shown = await server.http.get(f"/v1/predictions/{made['id']}")
    assert shown.json()["input"] == {"text": TEXT}
    (listed,) = (await server.http.get("/v1/predictions")).json()["results"]
    assert listed["input"] == {"text": TEXT}
    dumped = rows(tmp_path)
    assert made["id"].encode() in dumped
    assert TEXT[:1000].encode() not in dumped
    assert TEXT[:1000].encode().hex().upper().encode() not in dumped


async def test_a_short_one_stays_in_its_row(server: TestServer, tmp_path: Path) -> None:
    made = await create(server, "x" * (LIMIT - len('{"text":""}')))
    assert len(made["input"]["text"]) == LIMIT - 11
    assert kept(tmp_path) == []


async def test_a_client_that_waits_gets_it(server: TestServer) -> None:
    asked = asyncio.create_task(
        server.http.post(URL, json={"input": {"text": TEXT}}, headers={"prefer": "wait=5"})
    )
    server.agent.finish(await server.agent.start(), "done")
    answer = await asked
    assert (answer.json()["output"], answer.json()["input"]) == ("done", {"text": TEXT})


async def test_a_webhook_has_it(server: TestServer) -> None:
    async with http_server(lambda request: Answer(200)) as receiver:
        await create(server, webhook=receiver.url)
        server.agent.finish(await server.agent.start(), "done")
        await until(lambda: receiver.requests, "the webhook")
        assert json.loads(receiver.requests[0].body)["input"] == {"text": TEXT}


async def test_a_batch(server: TestServer, tmp_path: Path) -> None:
    inputs = [{"text": TEXT}, {"text": "short"}, {"text": TEXT + "!"}]
    body = {"template": {"model": MODEL}, "inputs": inputs}
    answer = await server.http.post("/v1/predictions/batch", json=body)
    assert answer.status_code == 200, answer.text
    shown = [each["prediction"]["input"] for each in answer.json()["results"]]
    assert shown == inputs
    assert len(kept(tmp_path)) == 2


async def test_what_is_refused_or_repeated_keeps_nothing(tmp_path: Path) -> None:
    limits = ServerLimits(queue_bytes=4 * LIMIT)
    async with running(tmp_path, limits) as server:
        headers = {"idempotency-key": "k1"}
        body = {"input": {"text": TEXT}}
        server.agent.finish(await _first(server, body, headers), "done")
        again = await server.http.post(URL, json=body, headers=headers)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json()["input"] == {"text": TEXT}
        assert len(kept(tmp_path)) == 1
        refused = await server.http.post(URL, json={"input": {"text": "ü" * 3 * LIMIT}})
        assert refused.json()["code"] == "queue_bytes_full", refused.text
        assert len(kept(tmp_path)) == 1


async def _first(server: TestServer, body: Any, headers: dict[str, str]) -> wire.Dispatch:
    assert (await server.http.post(URL, json=body, headers=headers)).status_code == 201
    return await server.agent.start()


async def test_it_goes_when_the_time_of_its_prediction_is_over(server: TestServer, tmp_path: Path) -> None:
    made = await create(server, retention=0)
    server.agent.finish(await server.agent.start(), "done")
    await server.ended(made["id"])
    await server.indexed(made["id"])
    await server.services.retention.sweep()
    shown = (await server.http.get(f"/v1/predictions/{made['id']}")).json()
    assert (shown["input"], shown["data_removed"]) == ({}, True)
    assert kept(tmp_path) == []


async def test_one_that_is_gone(server: TestServer, tmp_path: Path) -> None:
    first = await create(server)
    await server.agent.start()  # the one slot is taken
    second = await create(server)
    for path in kept(tmp_path):
        path.unlink()
    server.agent.offer()
    dispatch = await server.agent.start()
    assert dispatch.prediction == second["id"]
    assert bytes(dispatch.input) == b"null"
    assert (await server.http.get(f"/v1/predictions/{first['id']}")).json()["input"] == {}


async def test_a_storage_that_is_away_delays_the_dispatch_and_its_cancel_stays_behind(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = server.services.blobs
    assert isinstance(blobs, DiskBlobs)
    read, away = blobs.read, True

    def reading(key: str, start: int = 0, end: int | None = None) -> Any:
        if away:
            raise BlobsUnavailable("storage is away")
        return read(key, start, end)

    monkeypatch.setattr(blobs, "read", reading)
    made = await create(server)
    assert (await server.http.get(f"/v1/predictions/{made['id']}")).status_code == 503
    await server.http.post(f"/v1/predictions/{made['id']}/cancel")
    assert server.agent.inbox.empty()
    away = False
    assert json.loads(bytes((await server.agent.next(wire.Dispatch)).input)) == {"text": TEXT}
    assert (await server.agent.next(wire.Cancel)).prediction == made["id"]
