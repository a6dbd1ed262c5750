"""Trainings: created, listed, canceled, told of by webhook; and the versions that come of them."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator import calls
from coordinator.protocol.limits import FOREVER_S, ServerLimits
from edge.training_output import trained_version, training_of
from tests.support import trainings
from tests.support.edge import BASE, VERSION, ScriptedAgent, TestServer, register, running
from tests.support.http_server import Answer, http_server
from tests.support.trainings import BODY, DESTINATION, MODEL, PATH, TRAINABLE, train, trained, value
from tests.support.waiting import until


@pytest.fixture
async def agent(server: TestServer) -> ScriptedAgent:
    return await trainings.trainer(server)


async def ids(server: TestServer, path: str) -> list[str]:
    return [one["id"] for one in (await server.http.get(path)).json()["results"]]


class TestCreation:
    async def test_it_has_replicates_shape(self, server: TestServer, agent: ScriptedAgent) -> None:
        answer = await server.http.post(PATH, json=BODY)
        made = answer.json()
        get = f"{BASE}/v1/trainings/{made['id']}"
        assert (answer.status_code, answer.headers["location"]) == (201, get)
        assert made["created_at"].endswith("Z")
        known = {name: made[name] for name in ("model", "version", "status", "input", "output", "logs")}
        assert known == {
            "model": MODEL,
            "version": VERSION,
            "status": "starting",
            "input": {"steps": 2},
            "output": None,
            "logs": "",
        }
        assert (made["error"], made["source"], made["destination"]) == (None, "api", DESTINATION)
        assert made["urls"] == {"get": get, "cancel": f"{get}/cancel", "web": f"{BASE}/p/{made['id']}"}
        assert "stream" not in made["urls"]
        both = [(await server.http.get(f"/v1/{noun}/{made['id']}")) for noun in ("trainings", "predictions")]
        assert [each.json()["urls"] for each in both] == [made["urls"]] * 2

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"input": {}}, "input"),
            ({"input": {"steps": 0}}, "input.steps"),
            ({"input": {"steps": 1, "data": "no url"}}, "input.data"),
            ({"input": [1]}, "input"),
            ({"destination": 7}, "destination"),
            ({"webhook": "ftp://x.test"}, "webhook"),
            ({"webhook": "https://x.test", "webhook_events_filter": ["done"]}, "webhook_events_filter"),
            ({"version": VERSION}, "version"),
        ],
    )
    async def test_what_is_wrong_is_named(
        self, server: TestServer, agent: ScriptedAgent, change: dict[str, Any], field: str
    ) -> None:
        answer = await server.http.post(PATH, json={**BODY, **change})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
        assert [one["field"] for one in answer.json()["invalid_fields"]] == [field]

    async def test_what_must_be_there_is_asked_for(self, server: TestServer, agent: ScriptedAgent) -> None:
        answer = await server.http.post(PATH, json={})
        assert answer.json()["detail"] == "- destination is required\n- input is required\n"
        assert (await server.http.post(PATH, content=b"{")).status_code == 400

    @pytest.mark.parametrize("destination", ["acme/nothing", "nothing", "acme/theirs"])
    async def test_the_destination_is_an_own_model(
        self, server: TestServer, agent: ScriptedAgent, destination: str
    ) -> None:
        await register(server.services.store, "acme/theirs", account="other")
        await server.services.store.models.set_visibility("other", "acme/theirs", "public")
        answer = await server.http.post(PATH, json={**BODY, "destination": destination})
        said = "The specified training destination does not exist"
        assert (answer.status_code, answer.json()["detail"]) == (404, said)

    async def test_a_version_that_nobody_has_is_not_found(
        self, server: TestServer, agent: ScriptedAgent
    ) -> None:
        assert (await server.http.post(PATH.replace(VERSION, "b" * 64), json=BODY)).status_code == 404

    async def test_what_nothing_trains_is_refused(self, server: TestServer, agent: ScriptedAgent) -> None:
        answer = await server.http.post(PATH.replace(MODEL, "acme/greeter"), json=BODY)
        assert (answer.status_code, answer.json()["code"]) == (422, "not_trainable")
        assert "names no train" in answer.json()["detail"]
        await register(server.services.store, "acme/boxed", schema=TRAINABLE)
        answer = await server.http.post(PATH.replace(MODEL, "acme/boxed"), json=BODY)
        assert (answer.status_code, answer.json()["code"]) == (422, "not_trainable")
        assert "No worker of your pools has ever trained acme/boxed" in answer.json()["detail"]

    async def test_it_needs_a_token_that_may_submit(self, server: TestServer, agent: ScriptedAgent) -> None:
        reader = await server.secret("r", scopes=("read",))
        headers = {"authorization": f"Bearer {reader}"}
        assert (await server.http.post(PATH, json=BODY, headers=headers)).status_code == 403
        old = await server.secret("old", scopes=("submit", "read"), api="cogflare")
        refused = await server.http.post(PATH, json=BODY, headers={"authorization": f"Bearer {old}"})
        assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")

    async def test_a_key_makes_it_once(self, server: TestServer, agent: ScriptedAgent) -> None:
        first, second = [
            await server.http.post(PATH, json=BODY, headers={"idempotency-key": "k"}) for _ in range(2)
        ]
        assert first.json()["id"] == second.json()["id"]
        assert second.headers["idempotent-replayed"] == "true"
        other = {**BODY, "destination": MODEL}
        third = await server.http.post(PATH, json=other, headers={"idempotency-key": "k"})
        assert (third.status_code, third.json()["code"]) == (422, "key_reused")


class TestLife:
    async def test_it_gives_weights_that_stay(self, server: TestServer, agent: ScriptedAgent) -> None:
        done = await trained(server, agent, b"weights")
        assert done["status"] == "succeeded"
        assert done["output"]["version"] == f"{DESTINATION}:{trained_version(done['id'])}"
        assert "expires_at" not in done
        weights = httpx.URL(done["output"]["weights"])
        assert int(weights.params["expires"]) > FOREVER_S
        bare = await server.http.get(str(weights), headers={"authorization": ""})
        assert bare.content == b"weights"
        assert done["metrics"]["predict_time"] == 0.5
        assert done["metrics"]["total_time"] > 0

    async def test_lists_do_not_mix(self, tmp_path: Path) -> None:
        async with running(tmp_path, ServerLimits(page_size=2)) as server:
            agent = await trainings.trainer(server)
            first = (await trained(server, agent))["id"]
            prediction = (await server.create())["id"]
            more = [(await train(server))["id"] for _ in range(3)]
            page = (await server.http.get("/v1/trainings")).json()
            assert [one["id"] for one in page["results"]] == [more[2], more[1]]
            assert page["next"].startswith(f"{BASE}/v1/trainings?cursor=")
            rest = (await server.http.get(page["next"])).json()
            assert [one["id"] for one in rest["results"]] == [more[0], first]
            assert rest["next"] is None
            assert "logs" not in rest["results"][1]
            assert await ids(server, "/v1/predictions") == [prediction]
            assert await ids(server, "/v1/trainings?status=succeeded") == [first]

    async def test_a_prediction_is_no_training(self, server: TestServer, agent: ScriptedAgent) -> None:
        made = (await server.create())["id"]
        for call in (
            server.http.get(f"/v1/trainings/{made}"),
            server.http.post(f"/v1/trainings/{made}/cancel"),
            server.http.delete(f"/v1/trainings/{made}"),
        ):
            assert (await call).status_code == 404
        assert (await server.http.get(f"/v1/predictions/{made}")).json()["status"] == "starting"

    async def test_it_is_its_accounts(self, server: TestServer, agent: ScriptedAgent) -> None:
        made = await train(server)
        headers = {"authorization": f"Bearer {await server.secret('o', account='other')}"}
        assert (await server.http.get(f"/v1/trainings/{made['id']}", headers=headers)).status_code == 404
        assert (await server.http.get("/v1/trainings", headers=headers)).json()["results"] == []

    @pytest.mark.parametrize("noun", ["trainings", "predictions"])
    async def test_it_can_be_canceled(self, server: TestServer, agent: ScriptedAgent, noun: str) -> None:
        await train(server)
        await agent.start()
        waiting = await train(server)
        for _ in range(2):
            answer = await server.http.post(f"/v1/{noun}/{waiting['id']}/cancel")
            assert (answer.status_code, answer.json()["status"]) == (200, "canceled")

    async def test_secrets_of_trainings_are_masked(self, server: TestServer, agent: ScriptedAgent) -> None:
        made = await train(server, input={"steps": 1, "key": "hush"})
        shown = await server.http.get(f"/v1/trainings/{made['id']}")
        assert made["input"]["key"] == shown.json()["input"]["key"] == "**********"
        assert value((await agent.start()).input) == {"steps": 1, "key": "hush"}

    async def test_a_webhook_is_told_what_get_says(self, server: TestServer, agent: ScriptedAgent) -> None:
        async with http_server(lambda request: Answer(200)) as receiver:
            done = await trained_with(server, agent, f"{receiver.url}/hook")
            await until(lambda: receiver.requests, "the webhook")
            (request,) = receiver.requests
            assert json.loads(request.body) == done

    async def test_it_may_take_longer_than_a_prediction(
        self, server: TestServer, agent: ScriptedAgent
    ) -> None:
        await train(server)
        assert (await agent.start()).run_s == server.services.limits.training_s

    async def test_it_counts_as_no_run_of_the_model(self, server: TestServer, agent: ScriptedAgent) -> None:
        await trained(server, agent)
        await server.services.coordinators.projector.stop()
        assert (await server.services.store.models.any(MODEL)).run_count == 0

    async def test_it_is_no_example_of_its_model(self, server: TestServer, agent: ScriptedAgent) -> None:
        done = await trained(server, agent)
        answer = await server.http.patch(f"/v1/models/{MODEL}", json={"examples": [done["id"]]})
        assert answer.status_code == 422
        assert f"{done['id']} is a training" in answer.json()["detail"]

    async def test_one_that_workers_failed_is_tried_again_by_hand(
        self, server: TestServer, agent: ScriptedAgent
    ) -> None:
        id = (await train(server))["id"]
        for _ in range(2):
            dispatch = await agent.start()
            agent.finish(dispatch, None, "failed", error="it died", error_code="runner_crashed")
            agent.offer()
        assert (await server.ended(id))["error_code"] == "poison"
        await server.services.coordinators.projector.stop()  # the index has it
        answer = await server.http.post("/v1/admin/predictions/redrive", json={"ids": [id]})
        again = answer.json()["results"][0]["id"]
        assert await ids(server, "/v1/trainings") == [again, id]
        dispatch = await agent.start()
        assert (dispatch.prediction, value(dispatch.input)) == (again, BODY["input"])
        limits = server.services.limits
        stub = server.services.models.stub(agent.number)
        found = await stub.get(calls.Get(id=again, account="default"))
        assert isinstance(found, calls.Found)
        document = found.document
        assert (document.destination, document.queue_s) == (DESTINATION, limits.training_queue_s)

    async def test_it_can_be_removed(self, server: TestServer, agent: ScriptedAgent) -> None:
        done = await trained(server, agent)
        version = done["output"]["version"]
        assert (await server.http.delete(f"/v1/trainings/{done['id']}")).status_code == 204
        gone = (await server.http.get(f"/v1/trainings/{done['id']}")).json()
        assert (gone["data_removed"], gone["output"]) == (True, None)
        assert (await server.http.get(done["output"]["weights"])).status_code == 410
        answer = await server.http.post("/v1/predictions", json={"version": version, "input": {}})
        assert answer.json()["code"] == "invalid_version"


class TestTrainedVersions:
    async def test_it_runs_what_was_trained_with_the_weights(
        self, server: TestServer, agent: ScriptedAgent
    ) -> None:
        predictor, done = await trainings.predictor(server), await trained(server, agent, b"learned")
        version, weights = done["output"]["version"], done["output"]["weights"]
        for named in (version, version.partition(":")[2]):
            answer = await server.http.post(
                "/v1/predictions", json={"version": named, "input": {"text": "x"}}
            )
            made = answer.json()
            assert (made["model"], made["version"]) == (MODEL, VERSION)
            dispatch = await predictor.start()
            assert value(dispatch.input) == {"text": "x", "replicate_weights": weights}
            assert (await server.http.get(dispatch.files[weights])).content == b"learned"
            predictor.finish(dispatch, "done")
            predictor.offer()

    async def test_weights_that_a_request_gives_win(self, server: TestServer, agent: ScriptedAgent) -> None:
        version = (await trained(server, agent))["output"]["version"]
        given = {"replicate_weights": "https://weights.test/w"}
        answer = await server.http.post("/v1/predictions", json={"version": version, "input": given})
        assert answer.json()["input"] == given

    async def test_it_is_shown_as_other_versions_are(self, server: TestServer, agent: ScriptedAgent) -> None:
        id = (await trained(server, agent))["output"]["version"].partition(":")[2]
        shown = (await server.http.get(f"/v1/models/{DESTINATION}/versions/{id}")).json()
        assert (shown["id"], shown["cog_version"]) == (id, "0.1.0")
        assert shown["openapi_schema"] == TRAINABLE
        assert (await server.http.get(f"/v1/models/{MODEL}/versions/{id}")).status_code == 404

    async def test_the_destination_has_it(self, server: TestServer, agent: ScriptedAgent) -> None:
        async def of_destination(path: str = "") -> dict[str, Any]:
            return dict((await server.http.get(f"/v1/models/{DESTINATION}{path}")).json())

        assert (await of_destination())["latest_version"] is None
        predictor = await trainings.predictor(server)
        body, ran = {"input": {"text": "x"}}, []
        versions = [
            (await trained(server, agent, weights))["output"]["version"].partition(":")[2]
            for weights in (b"old", b"new")
        ]
        assert (await of_destination())["latest_version"]["id"] == versions[1]
        assert [one["id"] for one in (await of_destination("/versions"))["results"]] == versions[::-1]
        by_name = await server.http.post(f"/v1/models/{DESTINATION}/predictions", json=body)
        by_body = await server.http.post("/v1/predictions", json={"version": DESTINATION, **body})
        assert (by_name.status_code, by_body.status_code) == (201, 201)
        deployment = {"name": "d", "model": DESTINATION, "version": versions[0], "hardware": "cpu"}
        instances = {"min_instances": 0, "max_instances": 1}
        (await server.http.post("/v1/deployments", json=deployment | instances)).raise_for_status()
        deployed = await server.http.post("/v1/deployments/default/d/predictions", json=body)
        assert deployed.json()["deployment"] == "d"
        for _ in range(3):
            dispatch = await predictor.start()
            weights = value(dispatch.input)["replicate_weights"]
            ran.append((await server.http.get(dispatch.files[weights])).content)
            predictor.finish(dispatch, "done")
            predictor.offer()
        assert ran == [b"new", b"new", b"old"]
        old, new = [f"/v1/models/{DESTINATION}/versions/{version}" for version in versions]
        refused = await server.http.delete(old)
        assert (refused.status_code, refused.json()["code"]) == (422, "in_use")
        assert [(await server.http.delete(new)).status_code for _ in range(2)] == [202, 404]
        assert [one["id"] for one in (await of_destination("/versions"))["results"]] == [versions[0]]
        assert (await of_destination())["latest_version"]["id"] == versions[0]

    async def test_it_is_its_accounts(self, server: TestServer, agent: ScriptedAgent) -> None:
        version = (await trained(server, agent))["output"]["version"]
        headers = {"authorization": f"Bearer {await server.secret('o', account='other')}"}
        body = {"version": version, "input": {}}
        answer = await server.http.post("/v1/predictions", json=body, headers=headers)
        assert answer.json()["code"] == "invalid_version"

    async def test_a_model_that_takes_no_weights_makes_none(self, server: TestServer) -> None:
        schema = copy.deepcopy(TRAINABLE)
        del schema["components"]["schemas"]["Input"]["properties"]["replicate_weights"]
        agent = await trainings.trainer(server, schema=schema)
        assert list((await trained(server, agent))["output"]) == ["weights"]

    async def test_one_that_is_not_over_makes_none(self, server: TestServer, agent: ScriptedAgent) -> None:
        version = trained_version((await train(server))["id"])
        answer = await server.http.post("/v1/predictions", json={"version": version, "input": {}})
        assert answer.json()["code"] == "invalid_version"

    def test_other_versions_are_of_no_training(self) -> None:
        training = "0000abcdefghjkmnpqrstvwxyz"
        assert training_of(trained_version(training)) == training
        assert len(trained_version(training)) == 64
        no_hex = "z" * 52
        check = hashlib.sha256(b"version of the training " + no_hex.encode()).hexdigest()[:12]
        for other in (VERSION, "f" * 64, trained_version(training)[::-1], no_hex + check, ""):
            assert training_of(other) is None


async def trained_with(server: TestServer, agent: ScriptedAgent, webhook: str) -> dict[str, Any]:
    """One whose end is told of."""
    made = await train(server, webhook=webhook, webhook_events_filter=["completed"])
    assert made["webhook"] == webhook
    agent.finish(await agent.start(), {"weights": "https://elsewhere.test/w"})
    await server.ended(made["id"])
    return dict((await server.http.get(f"/v1/trainings/{made['id']}")).json())


async def test_a_paused_model_begins_no_trainings_either(server: TestServer, agent: ScriptedAgent) -> None:
    paused = await server.http.post(f"/v1/admin/models/{MODEL}/pause", json={})
    queues = {queue["model"]: queue["paused"] for queue in paused.json()["results"]}
    assert queues == {MODEL: True, f"{MODEL}@train": True}
    made = await train(server)
    assert (await server.http.get(f"/v1/predictions/{made['id']}/why")).json()["reason"] == "paused"
    await server.http.post(f"/v1/admin/models/{MODEL}/resume", json={})
    assert (await agent.start()).prediction == made["id"]
