"""``GET /v1/predictions/{id}`` with ``Accept: text/event-stream``: all that a prediction has to say."""

import json
from pathlib import Path
from typing import Any

import pytest

from coordinator.protocol.limits import ServerLimits
from edge.prediction_stream import wants_events
from tests.support.edge import Reader, TestServer, running


def follow(server: TestServer, made: dict[str, Any], last_event_id: str = "", **headers: str) -> Reader:
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {server.token}"} | headers
    return server.listen(f"/v1/predictions/{made['id']}", last_event_id, **headers)


def names(reader: Reader) -> list[str]:
    return [one.event for one in reader.events]


async def test_from_the_queue_to_the_end(server: TestServer) -> None:
    await server.create()
    first = await server.agent.start()
    made = await server.create()
    reader = follow(server, made)
    status, queue = await reader.until(2)
    assert (status.event, json.loads(status.data)["status"]) == ("status", "starting")
    assert (queue.event, json.loads(queue.data)["position"]) == ("queue", 1)
    server.agent.finish(first, ["x"])
    server.agent.offer()
    dispatch = await server.agent.start()
    server.agent.progress(
        dispatch,
        (1, "logs", " 35%|███▌      | 7/20 [00:01<00:03]\n"),
        (2, "output", "Hel"),
        (3, "metrics", {"tokens": 1}),
        (4, "output", "lo"),
    )
    await reader.until(8)
    server.agent.finish(dispatch, ["Hel", "lo"], logs=" 35%|███▌      | 7/20 [00:01<00:03]\ndone\n")
    events = [(one.event, one.data) for one in await reader.end()][2:]
    running = json.loads(events[0][1])
    assert (events[0][0], running["status"], running["attempt"]) == ("status", "processing", 1)
    assert [(event, data) for event, data in events if event not in ("status", "queue")] == [
        ("logs", " 35%|███▌      | 7/20 [00:01<00:03]\n"),
        ("progress", '{"percentage":0.35,"current":7,"total":20}'),
        ("output", "Hel"),
        ("metrics", '{"tokens":1}'),
        ("output", "lo"),
        ("logs", "done\n"),
        ("done", "{}"),
    ]
    last = json.loads(events[-2][1])
    assert (last["status"], last["metrics"]["predict_time"]) == ("succeeded", 0.5)
    assert last["completed_at"] is not None


async def test_of_a_model_that_does_not_stream(server: TestServer) -> None:
    done = await server.run({"a": 1})
    assert [(one.event, one.data) for one in await follow(server, done).end()][::2] == [
        ("output", '{"a":1}'),
        ("done", "{}"),
    ]


async def test_a_reader_that_comes_back_gets_how_it_stands_and_the_rest(server: TestServer) -> None:
    made = await server.create()
    dispatch = await server.agent.start()
    server.agent.progress(dispatch, (1, "output", "a"), (2, "logs", "x"), (3, "output", "b"))
    first = follow(server, made)
    seen = await first.until(4)
    await first.leave()
    assert [one.event for one in seen] == ["status", "output", "logs", "output"]
    second = follow(server, made, seen[1].id)
    await second.until(3)
    assert [(one.event, one.data) for one in second.events[1:]] == [("logs", "x"), ("output", "b")]
    server.agent.finish(dispatch, ["a", "b"], logs="x")
    await second.end()
    assert names(second)[-2:] == ["status", "done"]
    again = follow(server, made, second.events[-1].id)
    await again.end()
    assert again.status == 204


async def test_its_end_is_told_whatever_it_was(server: TestServer) -> None:
    failed = await server.run(None, status="failed", error="it broke")
    events = await follow(server, failed).end()
    assert [one.event for one in events] == ["status", "error", "done"]
    assert json.loads(events[0].data)["error"] == "it broke"
    queued = await server.create()
    reader = follow(server, queued)
    await reader.until(1)
    await server.http.post(f"/v1/predictions/{queued['id']}/cancel")
    status, done = (await reader.end())[-2:]
    assert json.loads(status.data)["status"] == "canceled"
    assert done.data == '{"reason":"canceled"}'


async def test_its_place_in_the_queue_is_told_as_others_move(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(stream_queue_s=0.1)) as server:
        await server.create()
        dispatch = await server.agent.start()
        before, made = await server.create(), await server.create()
        reader = follow(server, made)
        await reader.until(2)
        await server.http.post(f"/v1/predictions/{before['id']}/cancel")
        await reader.until(3)
        places = [json.loads(one.data)["position"] for one in reader.events if one.event == "queue"]
        assert (places[0], places[-1]) == (2, 1)
        server.agent.finish(dispatch, ["x"])
        await reader.leave()


async def test_it_is_for_those_who_may_read_it(server: TestServer) -> None:
    made = await server.create()
    other = await server.secret("other", account="other")
    blind = await server.secret("blind", scopes=("submit",))
    for token, status in ((other, 404), (blind, 403), ("nobody", 401)):
        reader = follow(server, made, authorization=f"Bearer {token}")
        await reader.end()
        assert reader.status == status


async def test_it_ends_when_the_reader_s_token_is_revoked(server: TestServer) -> None:
    secret = await server.secret("brief")
    made = await server.create()
    reader = follow(server, made, authorization=f"Bearer {secret}")
    await reader.until(1)
    await server.services.store.tokens.revoke("brief")
    await reader.end()
    assert reader.text.endswith(": the token was revoked\n\n")


async def test_who_asks_for_json_gets_it(server: TestServer) -> None:
    made = await server.create()
    for accept in ("*/*", "application/json", "application/json, text/event-stream"):
        answer = await server.http.get(f"/v1/predictions/{made['id']}", headers={"accept": accept})
        assert answer.json()["id"] == made["id"]


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        ("text/event-stream", True),
        ("text/event-stream, */*", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("application/json;q=0.5, text/event-stream", True),
        ("application/json, text/event-stream", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=nothing", False),
        ("*/*", False),
        ("", False),
        (";;,,=", False),
    ],
)
def test_what_is_wanted(accept: str, events: bool) -> None:
    assert wants_events(accept) is events
