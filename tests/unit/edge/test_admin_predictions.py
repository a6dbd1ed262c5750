"""Canceling by a filter, dead letters and their repetition, as administrators have them over HTTP."""

import asyncio
from typing import Any

import pytest

from edge import cancels
from tests.support.edge import MODEL, TestServer

CANCEL = "/v1/admin/predictions/cancel"


async def canceled(server: TestServer, **body: Any) -> list[str]:
    """The ids of all that are canceled, over as many requests as it takes."""
    found: list[str] = []
    while True:
        answer = await server.http.post(CANCEL, json=body)
        assert answer.status_code == 200, answer.text
        done = answer.json()
        found += [each["id"] for each in done["predictions"]]
        assert done["canceled"] == (0 if body.get("dry_run") else len(done["predictions"]))
        if done["next"] is None:
            return found
        body["cursor"] = done["next"]


async def status_of(server: TestServer, id: str, secret: str) -> str:
    headers = {"authorization": f"Bearer {secret}"}
    return str((await server.http.get(f"/v1/predictions/{id}", headers=headers)).json()["status"])


async def create(server: TestServer, secret: str, **more: Any) -> str:
    answer = await server.http.post(
        f"/v1/models/{MODEL}/predictions",
        json={"input": {"text": "hi"}, **more},
        headers={"authorization": f"Bearer {secret}"},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_each_filter_says_which_are_meant(server: TestServer) -> None:
    await server.http.patch(f"/v1/admin/models/{MODEL}", json={"visibility": "public"})
    mine, theirs = await server.secret("mine"), await server.secret("theirs", account="acme")
    running = await create(server, mine)
    await server.agent.start()
    waiting = await create(server, mine, end_user="ann")
    other = await create(server, theirs)
    assert await canceled(server, status="processing", dry_run=True) == [running]
    assert await canceled(server, account="acme", dry_run=True) == [other]
    assert await canceled(server, end_user="ann", dry_run=True) == [waiting]
    assert await canceled(server, model="acme/none", dry_run=True) == []
    assert await canceled(server, account="acme", end_user="ann", dry_run=True) == []
    early = "2020-01-01T00:00:00Z"
    assert await canceled(server, created_before=early, dry_run=True) == []
    assert await canceled(server, model=MODEL, status="starting") == [waiting, other]
    assert await status_of(server, other, theirs) == "canceled"
    assert await status_of(server, running, mine) == "processing"
    assert await canceled(server, all=True) == [running]
    assert await canceled(server, all=True) == []
    acts = (await server.http.get("/v1/admin/audit", params={"act": "prediction"})).json()["results"]
    assert [act["detail"].get("status") for act in acts] == [None, None, "starting"]


async def test_what_was_asked_of_all_must_be_said(server: TestServer) -> None:
    for body in ({}, {"dry_run": True}, {"status": "succeeded"}, {"all": 1}, {"cursor": "x", "all": True}):
        assert (await server.http.post(CANCEL, json=body)).status_code == 422, body
    wrong = await server.http.post(CANCEL, json={"created_before": "yesterday"})
    assert wrong.json()["invalid_fields"][0]["field"] == "created_before"


async def test_many_are_canceled_in_parts(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancels, "LOOKED_AT", 3)
    monkeypatch.setattr(cancels, "MOST", 6)
    made = [(await server.create(str(number)))["id"] for number in range(10)]
    assert await canceled(server, account="default") == made


async def test_dead_letters_are_listed_and_tried_again(server: TestServer) -> None:
    made = await server.create()
    lost = {"error": "gone", "error_code": "output_lost"}
    server.agent.finish(await server.agent.start(), status="failed", **lost)
    await server.indexed(made["id"])
    listed = (await server.http.get("/v1/admin/predictions/dead")).json()["results"]
    assert [(each["id"], each["error_code"]) for each in listed] == [(made["id"], "output_lost")]
    answers = await asyncio.gather(
        *(server.http.post("/v1/admin/predictions/redrive", json={"ids": [made["id"]]}) for _ in range(2))
    )
    (first,), (second,) = (answer.json()["results"] for answer in answers)
    assert (first["id"], first["redriven_from"]) == (second["id"], made["id"])
    missing = await server.http.post("/v1/admin/predictions/redrive", json={"ids": ["nothing"]})
    assert missing.status_code == 404
    assert (await server.http.post("/v1/admin/predictions/redrive", json={"ids": []})).status_code == 422
