"""Deployments: made, changed, listed, deleted, and predictions by them."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import replicate

from coordinator.protocol.limits import ServerLimits
from tests.support.edge import BASE, MODEL, VERSION, TestServer, register, running

OTHER = "b" * 64
GPU = "NVIDIA A100-SXM4-80GB"
NEW = {
    "name": "front",
    "model": MODEL,
    "version": VERSION,
    "hardware": "cpu",
    "min_instances": 0,
    "max_instances": 1,
}
PATH = "/v1/deployments/default/front"


async def make(server: TestServer, **more: Any) -> dict[str, Any]:
    answer = await server.http.post("/v1/deployments", json={**NEW, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def field(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
    return str(answer.json()["invalid_fields"][0]["field"])


class TestRecords:
    async def test_it_has_replicates_shape(self, server: TestServer) -> None:
        made = await make(server)
        release = made["current_release"]
        assert release.pop("created_at").endswith("Z")
        assert made == {
            "owner": "default",
            "name": "front",
            "current_release": {
                "number": 1,
                "model": MODEL,
                "version": VERSION,
                "created_by": {"type": "organization", "username": "default", "name": "default"},
                "configuration": {"hardware": "cpu", "min_instances": 0, "max_instances": 1},
            },
        }
        assert (await server.http.get(PATH)).json()["current_release"]["number"] == 1

    async def test_each_change_is_a_release(self, server: TestServer) -> None:
        await make(server)
        await register(server.services.store, version=OTHER)
        await server.services.store.models.seen("default", MODEL, [(GPU, 80)], now=1)
        changes = {"version": OTHER, "hardware": "nvidia-a100-sxm4-80gb", "max_instances": 3}
        release = (await server.http.patch(PATH, json=changes)).json()["current_release"]
        assert (release["number"], release["version"]) == (2, OTHER)
        assert release["configuration"] == {
            "hardware": "nvidia-a100-sxm4-80gb",
            "min_instances": 0,
            "max_instances": 3,
        }
        for same in ({}, changes):
            assert (await server.http.patch(PATH, json=same)).json()["current_release"] == release
        assert (await server.http.get(PATH)).json()["current_release"] == release

    @pytest.mark.parametrize(
        ("change", "wrong"),
        [
            ({"name": "a/b"}, "name"),
            ({"name": "x" * 65}, "name"),
            ({"model": "acme/nothing"}, "model"),
            ({"model": "nothing"}, "model"),
            ({"version": OTHER}, "version"),
            ({"version": "latest"}, "version"),
            ({"hardware": "gpu-t4"}, "hardware"),
            ({"min_instances": 6, "max_instances": 9}, "min_instances"),
            ({"min_instances": 2}, "min_instances"),
            ({"max_instances": 21}, "max_instances"),
            ({"max_instances": "1"}, "max_instances"),
            ({"min_instances": True}, "min_instances"),
            ({"region": "moon"}, "region"),
        ],
    )
    async def test_what_is_wrong_is_named(
        self, server: TestServer, change: dict[str, Any], wrong: str
    ) -> None:
        assert field(await server.http.post("/v1/deployments", json={**NEW, **change})) == wrong
        if "name" not in change and "model" not in change:
            await make(server)
            assert field(await server.http.patch(PATH, json=change)) == wrong
            assert (await server.http.get(PATH)).json()["current_release"]["number"] == 1

    async def test_a_name_is_used_once(self, server: TestServer) -> None:
        await make(server)
        assert field(await server.http.post("/v1/deployments", json=NEW)) == "name"
        assert (await server.http.delete(PATH)).status_code == 204
        assert (await server.http.get(PATH)).status_code == 404
        assert (await server.http.delete(PATH)).status_code == 404
        await make(server)

    async def test_pages_are_newest_first(self, tmp_path: Path) -> None:
        async with running(tmp_path, ServerLimits(page_size=2)) as server:
            for name in "abc":
                await make(server, name=name)
            first = (await server.http.get("/v1/deployments")).json()
            second = (await server.http.get(first["next"])).json()
            assert [[one["name"] for one in page["results"]] for page in (first, second)] == [
                ["c", "b"],
                ["a"],
            ]
            assert second["next"] is None

    async def test_they_are_their_accounts(self, server: TestServer) -> None:
        await make(server)
        headers = {"authorization": f"Bearer {await server.secret('o', account='other')}"}
        http = server.http
        for call in (
            http.get(PATH, headers=headers),
            http.patch(PATH, json={}, headers=headers),
            http.delete(PATH, headers=headers),
            http.post(f"{PATH}/predictions", json={"input": {"text": "x"}}, headers=headers),
        ):
            assert (await call).status_code == 404
        assert (await http.get("/v1/deployments", headers=headers)).json()["results"] == []
        assert field(await http.post("/v1/deployments", json=NEW, headers=headers)) == "model"
        assert (await http.get(PATH)).status_code == 200

    async def test_scopes(self, server: TestServer) -> None:
        await make(server)
        reads = {"authorization": f"Bearer {await server.secret('r', scopes=('read',))}"}
        submits = {"authorization": f"Bearer {await server.secret('s', scopes=('submit',))}"}
        for headers, may_read in ((reads, True), (submits, False)):
            assert (await server.http.get(PATH, headers=headers)).is_success == may_read
            assert (await server.http.patch(PATH, json={}, headers=headers)).is_success != may_read

    async def test_a_version_that_one_names_is_kept(self, server: TestServer) -> None:
        await register(server.services.store, version=OTHER)
        await make(server, version=OTHER)
        version = f"/v1/models/{MODEL}/versions/{OTHER}"
        answer = await server.http.delete(version)
        assert (answer.status_code, answer.json()["code"]) == (422, "in_use")
        assert "default/front" in answer.json()["detail"]
        await server.http.delete(PATH)
        assert (await server.http.delete(version)).status_code == 202

    async def test_another_accounts_deployment_holds_no_version(self, server: TestServer) -> None:
        await register(server.services.store, "other/shown", OTHER, account="other")
        await server.services.store.models.set_visibility("other", "other/shown", "public")
        await make(server, model="other/shown", version=OTHER)
        secret = await server.secret("o", account="other", scopes=("admin",))
        gone = await server.http.delete(
            f"/v1/models/other/shown/versions/{OTHER}", headers={"authorization": f"Bearer {secret}"}
        )
        assert gone.status_code == 202
        answer = await server.http.post(f"{PATH}/predictions", json={"input": {"text": "x"}})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_version")


class TestPredictions:
    async def test_it_is_of_the_version_and_says_the_deployment(self, server: TestServer) -> None:
        await register(server.services.store, version=OTHER)  # newer, so a model's own default
        await make(server)
        answer = await server.http.post(f"{PATH}/predictions", json={"input": {"text": "x"}})
        assert answer.status_code == 201
        made = answer.json()
        assert (made["deployment"], made["version"], made["model"]) == ("front", VERSION, MODEL)
        assert answer.headers["location"] == made["urls"]["get"]
        server.agent.finish(await server.agent.start(), ["done"])
        ended = await server.ended(made["id"])
        assert (ended["output"], ended["deployment"]) == (["done"], "front")
        await server.indexed(made["id"])
        (listed,) = (await server.http.get("/v1/predictions")).json()["results"]
        assert listed["deployment"] == "front"
        assert "deployment" not in await server.create()

    async def test_a_change_counts_at_once(self, server: TestServer) -> None:
        await make(server)
        await server.http.post(f"{PATH}/predictions", json={"input": {"text": "x"}})
        await register(server.services.store, version=OTHER)
        await server.http.patch(PATH, json={"version": OTHER})
        answer = await server.http.post(f"{PATH}/predictions", json={"input": {"text": "x"}})
        assert answer.json()["version"] == OTHER

    async def test_it_waits_for_its_hardware(self, server: TestServer) -> None:
        await server.services.store.models.seen("default", MODEL, [(GPU, 80)], now=1)
        await make(server, hardware="nvidia-a100-sxm4-80gb")
        made = (await server.http.post(f"{PATH}/predictions", json={"input": {"text": "x"}})).json()
        why = (await server.http.get(f"/v1/predictions/{made['id']}/why")).json()
        assert why["reason"] == "no_such_hardware"

    async def test_what_the_path_says_is_not_said_again(self, server: TestServer) -> None:
        await make(server)
        for name in ("version", "model"):
            answer = await server.http.post(f"{PATH}/predictions", json={name: "x", "input": {"text": "x"}})
            assert field(answer) == name
        answer = await server.http.post(f"{PATH}/predictions", json={"input": {}})
        assert "text is required" in answer.json()["detail"]


async def test_the_official_client(server: TestServer) -> None:
    client = replicate.Client(
        api_token=server.token, base_url=BASE, transport=httpx.ASGITransport(server.app), timeout=5
    )
    made = await client.deployments.async_create(**{**NEW, "name": "default/front"})
    assert (made.owner, made.name) == ("default", "front")
    assert made.current_release is not None
    assert made.current_release.configuration.max_instances == 1
    changed = await client.deployments.async_update("default", "front", max_instances=2)
    assert changed.current_release is not None
    assert changed.current_release.number == 2
    assert [one.name for one in (await client.deployments.async_list()).results] == ["front"]
    deployment = await client.deployments.async_get("default/front")
    prediction = await deployment.predictions.async_create({"text": "x"})
    assert (prediction.version, prediction.status) == (VERSION, "starting")
    by_name = await client.deployments.predictions.async_create("default/front", {"text": "x"})
    assert by_name.model == MODEL
    assert await client.deployments.async_delete("default", "front") is True
