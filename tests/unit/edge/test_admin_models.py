"""Workers, models and queues, as administrators have them over HTTP, on a server in this process."""

from typing import Any

from tests.support.edge import MODEL, VERSION, TestServer, register

ADMIN = f"/v1/admin/models/{MODEL}"


async def results(server: TestServer, path: str, **query: str) -> list[dict[str, Any]]:
    answer = await server.http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


async def test_a_paused_model_takes_predictions_and_begins_none(server: TestServer) -> None:
    paused = await server.http.post(f"{ADMIN}/pause", json={})
    assert paused.status_code == 200, paused.text
    assert [(queue["pool"], queue["paused"]) for queue in paused.json()["results"]] == [("default", True)]
    made = await server.create()
    why = (await server.http.get(f"/v1/predictions/{made['id']}/why")).json()
    assert why["reason"] == "paused"
    assert "an administrator has paused the model" in why["why"]
    (queue,) = await results(server, "/v1/admin/queues", model=MODEL)
    assert (queue["paused"], queue["waiting"], queue["running"], queue["free"]) == (True, 1, 0, 1)
    assert queue["oldest_s"] >= 0
    assert (await server.http.get(ADMIN)).json()["paused"] == ["default"]
    resumed = (await server.http.post(f"{ADMIN}/resume", json={"pool": "default"})).json()
    assert resumed["results"][0]["paused"] is False
    assert (await server.agent.start()).prediction == made["id"]
    assert (await server.http.get(ADMIN)).json()["paused"] == []
    for path in (f"{ADMIN}/pause", "/v1/admin/models/acme/none/pause"):
        answer = await server.http.post(path, json={"pool": "nowhere"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_model_is_paused_where_nobody_has_used_it_yet(server: TestServer) -> None:
    await register(server.services.store, "acme/new", "c" * 64, "fast")
    answer = await server.http.post("/v1/admin/models/acme/new/pause", json={})
    assert [(queue["pool"], queue["paused"]) for queue in answer.json()["results"]] == [("fast", True)]
    assert [each["model"] for each in await results(server, "/v1/admin/queues")] == [MODEL, "acme/new"]


async def test_a_models_settings_are_changed_and_taken_back(server: TestServer) -> None:
    changes = {
        "visibility": "public",
        "run_s": 60,
        "retries": 0,
        "priority": "batch",
        "overflow": "wait_over:20s",
        "replicate_model": "acme/other",
        "gpu": "a100",
    }
    changed = (await server.http.patch(ADMIN, json=changes)).json()
    assert (changed["visibility"], changed["settings"]["run_s"]) == ("public", 60.0)
    assert changed["settings"]["overflow"] == "wait_over:20s"
    back = (await server.http.patch(ADMIN, json={"run_s": None, "overflow": None, "gpu": None})).json()
    assert set(back["settings"]) == {"retries", "priority", "replicate_model"}
    other = await server.secret("other", account="other")
    seen = await server.http.get(f"/v1/models/{MODEL}", headers={"authorization": f"Bearer {other}"})
    assert seen.status_code == 200
    for wrong in (
        {},
        {"run_s": 0},
        {"retries": 1.5},
        {"priority": "high"},
        {"visibility": "secret"},
        {"overflow": "perhaps"},
        {"replicate_model": "no name"},
        {"openai": {"fly": "x"}},
        {"examples": ["nothing"]},
        {"fly": 1},
    ):
        answer = await server.http.patch(ADMIN, json=wrong)
        assert answer.status_code == 422, (wrong, answer.text)
    assert (await server.http.patch("/v1/admin/models/acme/none", json={"run_s": 5})).status_code == 404
    assert [model["model"] for model in await results(server, "/v1/admin/models")] == [MODEL]


async def test_workers_are_drained_and_put_into_quarantine(server: TestServer) -> None:
    (worker,) = await results(server, "/v1/admin/workers")
    assert (worker["worker"], worker["state"], worker["free"]) == ("box", "ok", 1)
    for mark, state in (
        ("drain", "draining"),
        ("resume", "ok"),
        ("quarantine", "quarantined"),
        ("release", "ok"),
    ):
        answer = await server.http.post(f"/v1/admin/workers/box/{mark}", json={"model": MODEL})
        assert [each["state"] for each in answer.json()["results"]] == [state]
    assert (await server.http.post("/v1/admin/workers/nobody/drain", json={})).status_code == 404
    acts = await results(server, "/v1/admin/audit", act="worker")
    assert [(act["act"], act["target"]) for act in reversed(acts)] == [
        *((f"worker.{mark}", "box") for mark in ("drain", "resume", "quarantine", "release")),
        ("worker.drain", "nobody"),
    ]
    assert (await server.http.get("/v1/admin/workers", params={"all": "perhaps"})).status_code == 422


async def test_what_needs_an_administrator_elsewhere_is_in_the_log_too(server: TestServer) -> None:
    await server.http.patch(f"/v1/models/{MODEL}", json={"description": "greets"})
    await server.http.patch(f"/v1/models/{MODEL}", json={"visibility": "public", "description": "x"})
    assert (await server.http.delete(f"/v1/models/{MODEL}")).status_code == 422
    assert (await server.http.delete(f"/v1/models/{MODEL}/versions/{VERSION}")).status_code == 422
    acts = await results(server, "/v1/admin/audit")
    assert [(act["act"], act["target"], act["outcome"][:4]) for act in acts] == [
        ("version.delete", f"{MODEL}:{VERSION}", "refu"),
        ("model.delete", MODEL, "refu"),
        ("model.set", MODEL, "done"),
    ]
    assert acts[-1]["detail"] == {"visibility": "public"}
