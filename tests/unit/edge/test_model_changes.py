"""Models that clients make, describe and take away, and versions that they take away."""

from typing import Any

import httpx
import pytest
import replicate

from edge.app import create_app
from tests.support.edge import BASE, MODEL, VERSION, TestServer, register

NEW = {"owner": "acme", "name": "new", "visibility": "private", "hardware": "cpu"}
OTHER = "b" * 64


async def bearer(server: TestServer, name: str, **options: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {await server.secret(name, **options)}"}


def field(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
    return str(answer.json()["invalid_fields"][0]["field"])


class TestMaking:
    async def test_a_model_is_there_before_its_first_version(self, server: TestServer) -> None:
        assert (await server.http.get("/v1/models/acme/new")).status_code == 404
        more = {"description": "Says it", "github_url": "https://example.test/x", "license_url": None}
        answer = await server.http.post("/v1/models", json={**NEW, **more})
        assert answer.status_code == 201
        made = answer.json()
        assert (made["latest_version"], made["run_count"], made["license_url"]) == (None, 0, None)
        assert (made["description"], made["github_url"]) == ("Says it", "https://example.test/x")
        assert (await server.http.get("/v1/models/acme/new")).json() == made
        assert (await server.http.get("/v1/models/acme/new/versions")).json()["results"] == []
        assert (await server.http.get("/v1/models/acme/new/examples")).json()["results"] == []
        refused = await server.http.post("/v1/models/acme/new/predictions", json={"input": {}})
        assert refused.status_code == 404
        await register(server.services.store, "acme/new", OTHER)
        assert [one["id"] for one in await versions(server, "acme/new")] == [OTHER]

    async def test_the_name_is_its_accounts(self, server: TestServer) -> None:
        await server.http.post("/v1/models", json=NEW)
        other = await bearer(server, "o", account="other", scopes=("admin",))
        assert field(await server.http.post("/v1/models", json=NEW, headers=other)) == "name"
        for call in (
            server.http.patch("/v1/models/acme/new", json={"readme": "x"}, headers=other),
            server.http.delete("/v1/models/acme/new", headers=other),
            server.http.delete(f"/v1/models/{MODEL}/versions/{VERSION}", headers=other),
        ):
            assert (await call).status_code == 404
        await server.services.store.models.set_visibility("default", MODEL, "public")
        answer = await server.http.delete(f"/v1/models/{MODEL}/versions/{VERSION}", headers=other)
        assert answer.status_code == 404

    @pytest.mark.parametrize(
        ("change", "wrong"),
        [
            ({"name": "UP"}, "name"),
            ({"owner": "a/b"}, "name"),
            ({"name": 5}, "name"),
            ({"visibility": "secret"}, "visibility"),
            ({"hardware": "gpu-t4"}, "hardware"),
            ({"paper_url": "javascript:alert(1)"}, "paper_url"),
            ({"description": "x" * 1001}, "description"),
            ({"price": 1}, "price"),
            ({"name": "greeter"}, "name"),
        ],
    )
    async def test_what_is_wrong_is_named(
        self, server: TestServer, change: dict[str, Any], wrong: str
    ) -> None:
        assert field(await server.http.post("/v1/models", json={**NEW, **change})) == wrong

    async def test_every_missing_field_is_named(self, server: TestServer) -> None:
        answer = await server.http.post(
            "/v1/models", content=b"", headers={"content-type": "application/json"}
        )
        assert answer.json()["detail"] == (
            "- owner is required\n- name is required\n- visibility is required\n- hardware is required\n"
        )
        for body, status in ((b"{", 400), (b"[]", 422)):
            assert (await server.http.post("/v1/models", content=body)).status_code == status

    async def test_its_hardware_is_what_its_predictions_need(self, server: TestServer) -> None:
        await server.services.store.models.seen("default", MODEL, [("Tesla T4", 16)], now=1)
        await server.http.post("/v1/models", json={**NEW, "hardware": "tesla-t4"})
        assert (await server.services.store.models.any("acme/new")).config.gpu == "Tesla T4"

    async def test_only_a_token_that_may_register_the_name(self, server: TestServer) -> None:
        ordinary = await bearer(server, "app")
        worker = await bearer(server, "w", scopes=("worker",), models=("mine/*",))
        for headers, code in ((ordinary, "missing_scope"), (worker, "not_allowed")):
            for call in (
                server.http.post("/v1/models", json=NEW, headers=headers),
                server.http.patch(f"/v1/models/{MODEL}", json={}, headers=headers),
            ):
                answer = await call
                assert (answer.status_code, answer.json()["code"]) == (403, code)
        answer = await server.http.post("/v1/models", json={**NEW, "owner": "mine"}, headers=worker)
        assert answer.status_code == 201
        described = {"description": "Mine"}
        answer = await server.http.patch("/v1/models/mine/new", json=described, headers=worker)
        assert answer.json()["description"] == "Mine"

    async def test_only_an_administrator_shows_it_to_all_or_takes_away(self, server: TestServer) -> None:
        headers = await bearer(server, "w", scopes=("worker", "submit", "read"))
        for call in (
            server.http.post("/v1/models", json={**NEW, "visibility": "public"}, headers=headers),
            server.http.patch(f"/v1/models/{MODEL}", json={"visibility": "public"}, headers=headers),
            server.http.delete(f"/v1/models/{MODEL}", headers=headers),
            server.http.delete(f"/v1/models/{MODEL}/versions/{VERSION}", headers=headers),
        ):
            answer = await call
            assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
            assert "'admin'" in answer.json()["detail"]
        assert (await server.http.get("/v1/models/acme/new")).status_code == 404
        assert (await server.http.get(f"/v1/models/{MODEL}")).json()["visibility"] == "private"


class TestDescribing:
    async def test_what_is_left_out_stays_and_null_takes_away(self, server: TestServer) -> None:
        path = f"/v1/models/{MODEL}"
        assert (await server.http.get(f"{path}/readme")).status_code == 404
        first = {"description": "One", "readme": "# Hé", "paper_url": "https://example.test/p"}
        assert (await server.http.patch(path, json=first)).json()["description"] == "One"
        second = {"description": "Two", "weights_url": "https://example.test/w", "paper_url": None}
        shown = (await server.http.patch(path, json=second)).json()
        assert (shown["description"], shown["paper_url"]) == ("Two", None)
        assert shown["weights_url"] == "https://example.test/w"
        readme = await server.http.get(f"{path}/readme")
        assert (readme.text, readme.headers["content-type"]) == ("# Hé", "text/plain; charset=utf-8")
        assert (await server.http.patch(path, json={})).json() == shown
        assert (await server.http.get(path)).json() == shown

    async def test_visibility(self, server: TestServer) -> None:
        other = await bearer(server, "o", account="other")
        path = f"/v1/models/{MODEL}"
        for visibility, status in (("public", 200), ("private", 404)):
            shown = await server.http.patch(path, json={"visibility": visibility})
            assert shown.json()["visibility"] == visibility
            assert (await server.http.get(path, headers=other)).status_code == status

    @pytest.mark.parametrize(
        "change", [{"readme": 5}, {"visibility": None}, {"github_url": "x"}, {"name": "x"}]
    )
    async def test_what_is_wrong_is_named(self, server: TestServer, change: dict[str, Any]) -> None:
        assert field(await server.http.patch(f"/v1/models/{MODEL}", json=change)) == next(iter(change))

    async def test_there_is_no_such_model(self, server: TestServer) -> None:
        assert (await server.http.patch("/v1/models/acme/no", json={})).status_code == 404


class TestTakingAway:
    async def test_a_version_that_a_worker_serves_is_kept(self, server: TestServer) -> None:
        answer = await server.http.delete(f"/v1/models/{MODEL}/versions/{VERSION}")
        assert (answer.status_code, answer.json()["code"]) == (422, "in_use")
        assert len(await versions(server, MODEL)) == 1

    async def test_a_version_goes_and_comes_back_with_a_worker(self, server: TestServer) -> None:
        await register(server.services.store, version=OTHER)
        path = f"/v1/models/{MODEL}/versions/{OTHER}"
        assert (await server.http.get(path)).status_code == 200
        gone = await server.http.delete(path)
        assert (gone.status_code, gone.content) == (202, b"")
        for again in (server.http.get(path), server.http.delete(path)):
            assert (await again).status_code == 404
        assert [one["id"] for one in await versions(server, MODEL)] == [VERSION]
        refused = await server.http.post("/v1/predictions", json={"version": OTHER, "input": {"text": "x"}})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_version")
        await register(server.services.store, version=OTHER)
        assert len(await versions(server, MODEL)) == 2

    async def test_secrets_of_its_predictions_stay_secret(self, server: TestServer) -> None:
        await register(server.services.store, version=OTHER)
        body = {"version": OTHER, "input": {"text": "open", "key": "hush"}}
        made = (await server.http.post("/v1/predictions", json=body)).json()
        await server.http.delete(f"/v1/models/{MODEL}/versions/{OTHER}")
        # By an application that has never seen the version.
        transport = httpx.ASGITransport(create_app(server.services, server.orders))
        async with httpx.AsyncClient(transport=transport, headers=server.http.headers) as later:
            shown = (await later.get(made["urls"]["get"])).json()["input"]
        assert shown == {"text": "open", "key": "**********"}

    async def test_a_model_goes_once_nothing_needs_it(self, server: TestServer) -> None:
        path = "/v1/models/acme/new"
        await server.http.post("/v1/models", json={**NEW, "visibility": "public"})
        await register(server.services.store, "acme/new", OTHER)
        public = await server.http.delete(path)
        assert (public.status_code, public.json()["detail"]) == (
            422,
            "acme/new is public: make it private first.",
        )
        await server.http.patch(path, json={"visibility": "private"})
        assert "versions" in (await server.http.delete(path)).json()["detail"]
        await server.http.delete(f"{path}/versions/{OTHER}")
        assert (await server.http.delete(path)).status_code == 204
        for again in (server.http.get(path), server.http.delete(path)):
            assert (await again).status_code == 404
        assert (await server.http.post("/v1/models", json=NEW)).status_code == 201

    async def test_a_name_is_not_given_back_while_predictions_wait(self, server: TestServer) -> None:
        await register(server.services.store, "acme/slow", OTHER)
        path = "/v1/models/acme/slow"
        made = await server.http.post(f"{path}/predictions", json={"input": {"text": "x"}})
        assert made.status_code == 201
        await server.http.delete(f"{path}/versions/{OTHER}")
        answer = await server.http.delete(path)
        assert (answer.status_code, answer.json()["code"]) == (422, "in_use")
        assert "wait" in answer.json()["detail"]


async def versions(server: TestServer, model: str) -> list[dict[str, Any]]:
    return list((await server.http.get(f"/v1/models/{model}/versions")).json()["results"])


async def test_the_official_client(server: TestServer) -> None:
    client = replicate.Client(
        api_token=server.token, base_url=BASE, transport=httpx.ASGITransport(server.app), timeout=5
    )
    made = await client.models.async_create("acme", "new", hardware="cpu", visibility="private")
    assert (made.owner, made.name, made.latest_version) == ("acme", "new", None)
    assert await made.versions.async_list() is not None
    await register(server.services.store, version=OTHER)
    # It takes only 204 for done, and Replicate answers 202.
    model = await client.models.async_get(MODEL)
    assert await model.versions.async_delete(OTHER) is False
    assert [one.id for one in (await model.versions.async_list()).results] == [VERSION]
    assert await client.models.async_delete("acme", "new") is True
