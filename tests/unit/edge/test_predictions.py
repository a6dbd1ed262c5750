"""Creating, reading, listing and canceling predictions over HTTP."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from coordinator.protocol.limits import ServerLimits
from coordinator.protocol.messages import BLOB_REFERENCE
from tests.support.edge import BASE, MODEL, VERSION, TestServer, register, running


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    return dict(body)


async def test_a_created_prediction_has_replicates_shape(server: TestServer) -> None:
    answer = await server.http.post("/v1/predictions", json={"version": VERSION, "input": {"text": "hi"}})
    assert answer.status_code == 201
    made = answer.json()
    url = f"{BASE}/v1/predictions/{made['id']}"
    assert answer.headers["location"] == url
    assert re.fullmatch("[0-9a-z]{26}", made["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", made["created_at"])
    assert made["urls"].pop("stream").startswith(f"{BASE}/v1/streams/")
    assert made == {
        "id": made["id"],
        "model": MODEL,
        "version": VERSION,
        "input": {"text": "hi"},
        "output": None,
        "error": None,
        "logs": "",
        "status": "starting",
        "created_at": made["created_at"],
        "started_at": None,
        "completed_at": None,
        "metrics": {},
        "source": "api",
        "data_removed": False,
        "urls": {"get": url, "cancel": f"{url}/cancel", "web": f"{BASE}/p/{made['id']}"},
    }


@pytest.mark.parametrize(
    "body", [{"version": VERSION}, {"version": f"{MODEL}:{VERSION}"}, {"version": MODEL}, {"model": MODEL}]
)
async def test_versions_have_three_spellings_and_models_one(server: TestServer, body: dict[str, str]) -> None:
    answer = await server.http.post("/v1/predictions", json={**body, "input": {"text": "x"}, "stream": True})
    assert answer.status_code == 201
    assert answer.json()["version"] == VERSION


@pytest.mark.parametrize("version", ["b" * 64, "acme/nothing", f"{MODEL}:latest", "x", f"other/m:{VERSION}"])
async def test_a_version_that_no_pool_has_is_422(server: TestServer, version: str) -> None:
    answer = await server.http.post("/v1/predictions", json={"version": version, "input": {}})
    body = problem(answer, 422)
    assert body["title"] == "Invalid version or not permitted"
    assert answer.headers["x-should-retry"] == "false"


async def test_an_unknown_model_in_the_path_is_404(server: TestServer) -> None:
    body = problem(await server.http.post("/v1/models/acme/nothing/predictions", json={"input": {}}), 404)
    assert body == {
        "detail": "The requested resource could not be found.",
        "status": 404,
        "code": "not_found",
        "request_id": body["request_id"],
    }


async def test_wrong_input_is_422_with_every_field(server: TestServer) -> None:
    answer = await server.http.post(
        f"/v1/models/{MODEL}/predictions", json={"input": {"n": 9, "style": "shy"}}
    )
    body = problem(answer, 422)
    assert body["title"] == "Input validation failed"
    assert body["invalid_fields"] == [
        {"type": "required", "field": "input", "description": "text is required"},
        {"type": "number_lte", "field": "input.n", "description": "Must be less than or equal to 4"},
        {
            "type": "enum",
            "field": "input.style",
            "description": 'input.style must be one of the following: "plain", "loud"',
        },
    ]
    assert body["detail"].splitlines()[0] == "- input: text is required"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"input": {"text": "x"}, "wait": 1}', "wait"),
        (b'{"version": 7, "input": {}}', "version"),
        (b'{"input": []}', "input"),
        (b'{"input": {"text": "\xff"}}', "input"),
        (b'{"input": {"text": "x", "n": 1e999}}', "input"),
        (b"[]", ""),
        (b'{"input": {"text": "x"}, "webhook": "ftp://example.test/"}', "webhook"),
    ],
)
async def test_what_is_wrong_with_a_body_is_named(server: TestServer, body: bytes, field: str) -> None:
    answer = await server.http.post(f"/v1/models/{MODEL}/predictions", content=body)
    assert [one["field"] for one in problem(answer, 422)["invalid_fields"]] == [field]


@pytest.mark.parametrize("body", [b"{", b'{"input": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", b"\xff"])
async def test_what_is_no_json_is_400(server: TestServer, body: bytes) -> None:
    problem(await server.http.post("/v1/predictions", content=body), 400)


async def test_an_input_without_fields_may_be_left_out(server: TestServer) -> None:
    answer = await server.http.post(
        f"/v1/models/{MODEL}/predictions", content=b"", headers={"content-type": "application/json"}
    )
    assert "text is required" in problem(answer, 422)["detail"]


async def test_a_waiting_create_gives_the_result(server: TestServer) -> None:
    creating = asyncio.ensure_future(
        server.http.post(
            f"/v1/models/{MODEL}/predictions", json={"input": {"text": "x"}}, headers={"prefer": "wait=5"}
        )
    )
    server.agent.finish(await server.agent.start(), ["a", "b"], logs="said\n")
    answer = await creating
    assert answer.headers["preference-applied"] == "wait=5"
    done = answer.json()
    assert (done["status"], done["output"], done["logs"]) == ("succeeded", ["a", "b"], "said\n")
    assert done["metrics"]["predict_time"] == 0.5
    assert done["metrics"]["total_time"] > 0
    assert (await server.http.get(f"/v1/predictions/{done['id']}")).json() == done


async def test_a_wait_that_is_over_says_starting(server: TestServer) -> None:
    creating = asyncio.ensure_future(server.create(Prefer="wait", **{"x-stainless-read-timeout": "0.6"}))
    dispatch = await server.agent.start()
    server.agent.progress(dispatch, (1, "output", "early"))
    made = await creating
    assert (made["status"], made["output"], made["started_at"]) == ("starting", None, None)
    shown = (await server.http.get(f"/v1/predictions/{made['id']}")).json()
    assert (shown["status"], shown["output"]) == ("processing", ["early"])


async def test_a_wait_ends_when_the_token_is_revoked(server: TestServer) -> None:
    secret = await server.secret("brief")
    creating = asyncio.ensure_future(
        server.http.post(
            f"/v1/models/{MODEL}/predictions",
            json={"input": {"text": "x"}},
            headers={"prefer": "wait", "authorization": f"token {secret}"},
        )
    )
    await server.agent.start()
    token = await server.services.store.tokens.revoke("brief")
    server.services.authenticator.forget(token.id)
    problem(await creating, 401)


async def test_secrets_are_not_shown_again(server: TestServer) -> None:
    answer = await server.http.post(
        f"/v1/models/{MODEL}/predictions", json={"input": {"text": "x", "key": "hunter2"}}
    )
    assert answer.json()["input"] == {"text": "x", "key": "**********"}
    assert "hunter2" not in (await server.http.get("/v1/predictions")).text
    dispatch = await server.agent.start()
    assert b"hunter2" in bytes(dispatch.input)


async def test_stored_files_of_an_output_become_signed_urls(server: TestServer) -> None:
    made = await server.create()
    dispatch = await server.agent.start()
    file = await server.upload(dispatch, "cat ä.png", b"png", "image/png")
    text = f'say "{BLOB_REFERENCE}{file.key}"'
    output = [f"{BLOB_REFERENCE}{file.key}", text, f"{BLOB_REFERENCE}made/up"]
    server.agent.finish(dispatch, output, files=(file,))
    done = await server.ended(made["id"])
    url = done["output"][0]
    assert url.startswith(f"{BASE}/files/outputs/")
    assert done["output"][1:] == [text, f"{BLOB_REFERENCE}made/up"]
    read = await server.http.get(url)
    assert (read.status_code, read.content, read.headers["content-type"]) == (200, b"png", "image/png")


async def test_a_failed_prediction_says_why(server: TestServer) -> None:
    failed = await server.run(None, status="failed", error="it broke", error_code="model_error")
    assert (failed["status"], failed["error"], failed["error_code"]) == ("failed", "it broke", "model_error")


async def test_cancel_is_idempotent(server: TestServer) -> None:
    await server.create("first")
    await server.agent.start()
    queued = await server.create("second")
    for _ in range(2):
        answer = await server.http.post(
            f"/v1/predictions/{queued['id']}/cancel",
            content=b"",
            headers={"content-type": "application/json"},
        )
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    await server.http.post(f"/v1/predictions/{queued['id']}/cancel/")


async def test_ids_that_are_not_ours_are_404(server: TestServer) -> None:
    made = await server.create()
    other = made["id"][:-1] + ("0" if made["id"][-1] != "0" else "1")
    for id in (other, "nothing", server.services.ids.make(1), server.services.ids.make(99)):
        problem(await server.http.get(f"/v1/predictions/{id}"), 404)
        problem(await server.http.post(f"/v1/predictions/{id}/cancel"), 404)


async def test_another_accounts_prediction_is_404(server: TestServer) -> None:
    stranger = {"authorization": f"Bearer {await server.secret('stranger', account='other')}"}
    ended = await server.run(["x"])
    server.agent.offer()
    begun = await server.create()
    await server.agent.start()
    for id in (begun["id"], ended["id"]):
        problem(await server.http.get(f"/v1/predictions/{id}", headers=stranger), 404)
        problem(await server.http.post(f"/v1/predictions/{id}/cancel", headers=stranger), 404)
    assert (await server.http.get("/v1/predictions", headers=stranger)).json()["results"] == []
    answer = await server.http.post("/v1/predictions", json={"version": VERSION}, headers=stranger)
    problem(answer, 422)


async def test_pools_are_tried_in_the_tokens_order(server: TestServer) -> None:
    await register(server.services.store, version="c" * 64, pool="second")
    headers = {"authorization": f"Bearer {await server.secret('both', pools=('third', 'second', 'default'))}"}
    answer = await server.http.post(
        "/v1/predictions", json={"version": MODEL, "input": {"text": "x"}}, headers=headers
    )
    assert answer.json()["version"] == VERSION, "of the pool that has a free slot"
    pinned = await server.http.post(
        "/v1/predictions", json={"version": VERSION, "input": {"text": "x"}}, headers=headers
    )
    number = server.services.ids.number(pinned.json()["id"])
    assert number == await server.services.store.objects.find("default", MODEL)


async def test_a_full_queue_is_503_with_retry_after(tmp_path: Any) -> None:
    async with running(tmp_path, ServerLimits(queue_length=1)) as server:
        await server.create()
        await server.agent.start()
        await server.create()
        answer = await server.http.post(f"/v1/models/{MODEL}/predictions", json={"input": {"text": "x"}})
        body = problem(answer, 503)
        assert body["code"] == "queue_full"
        assert body["retry_after"] == int(answer.headers["retry-after"]) > 0
        assert "x-should-retry" not in answer.headers


async def test_more_models_in_use_than_there_is_room_for_are_503(tmp_path: Any) -> None:
    async with running(tmp_path, ServerLimits(live_models=1)) as server:
        await register(server.services.store, "acme/other")
        answer = await server.http.post("/v1/models/acme/other/predictions", json={"input": {"text": "x"}})
        body = problem(answer, 503)
        assert (body["code"], body["retry_after"]) == ("models_full", 1)
        assert "live_models" in body["detail"]
        assert (await server.create())["id"]


class TestList:
    async def test_pages_are_newest_first_and_whole(self, tmp_path: Any) -> None:
        async with running(tmp_path, ServerLimits(page_size=2)) as server:
            ids = [(await server.create(f"{n}"))["id"] for n in range(3)]
            dispatch = await server.agent.start()
            server.agent.finish(dispatch, ["x"])
            await server.ended(ids[0])
            server.agent.offer()
            ids += [(await server.create(f"{n}"))["id"] for n in range(2)]
            await server.agent.start()
            found: list[str] = []
            url: str | None = "/v1/predictions"
            while url:
                page = (await server.http.get(url)).json()
                assert len(page["results"]) <= 2
                assert all("logs" not in one for one in page["results"])
                found += [one["id"] for one in page["results"]]
                url = page["next"]
                assert url is None or url.startswith(f"{BASE}/v1/predictions?cursor=")
            assert found == ids[::-1]

    async def test_shows_what_runs_as_running(self, server: TestServer) -> None:
        await server.create()
        await server.agent.start()
        page = (await server.http.get("/v1/predictions")).json()
        assert [one["status"] for one in page["results"]] == ["processing"]

    async def test_times_bound_it(self, server: TestServer) -> None:
        first, second = await server.create(), await server.create()
        after = {"created_after": second["created_at"]}
        before = {"created_before": second["created_at"]}
        listed = (await server.http.get("/v1/predictions", params=after)).json()["results"]
        assert [one["id"] for one in listed] == [second["id"]]
        listed = (await server.http.get("/v1/predictions", params=before)).json()["results"]
        assert [one["id"] for one in listed] == [first["id"]]

    @pytest.mark.parametrize("query", ["cursor=x", "created_after=yesterday", "cursor=cD0x"])
    async def test_bad_queries_are_422(self, server: TestServer, query: str) -> None:
        problem(await server.http.get(f"/v1/predictions?{query}"), 422)


async def test_ended_predictions_are_read_from_the_index(server: TestServer) -> None:
    done = await server.run(["x"])
    await server.indexed(done["id"])
    assert (await server.http.get(f"/v1/predictions/{done['id']}")).json() == done
