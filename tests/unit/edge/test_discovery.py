"""Hardware, collections, and models found by words."""

import httpx
import pytest
import replicate

from tests.support.edge import BASE, MODEL, VERSION, TestServer, register

GPU = "NVIDIA A100-SXM4-80GB"


@pytest.fixture
async def models(server: TestServer) -> TestServer:
    """Beside the first model: one that speaks of cats, and another account's, private and public."""
    store = server.services.store
    for model, account in (("acme/cats", "default"), ("other/hidden", "other"), ("other/shown", "other")):
        await register(store, model, "c" * 64, account=account)
    await store.models.set_visibility("other", "other/shown", "public")
    await store.model_edits.update("default", "acme/cats", {"description": "Draws 100% Whiskers"})
    await store.model_edits.update("other", "other/hidden", {"description": "whiskers, too"})
    await store.model_edits.update("other", "other/shown", {"readme": "No WHISKERS here"})
    return server


def names(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {f"{one['owner']}/{one['name']}" for one in answer.json()["results"]}


class TestHardware:
    async def test_it_is_what_workers_of_the_tokens_pools_had(self, server: TestServer) -> None:
        assert (await server.http.get("/v1/hardware")).json() == [{"name": "CPU", "sku": "cpu"}]
        seen = server.services.store.models.seen
        await seen("default", MODEL, [(GPU, 80), (GPU, 81)], now=1)
        await seen("default", "acme/cats", [(GPU, 80), ("Tesla T4", 16)], now=1)
        await seen("elsewhere", MODEL, [("NVIDIA H100", 80)], now=1)
        assert (await server.http.get("/v1/hardware")).json() == [
            {"name": "CPU", "sku": "cpu"},
            {"name": GPU, "sku": "nvidia-a100-sxm4-80gb"},
            {"name": "Tesla T4", "sku": "tesla-t4"},
        ]

    async def test_it_needs_the_scope_read(self, server: TestServer) -> None:
        headers = {"authorization": f"Bearer {await server.secret('one', scopes=('submit',))}"}
        for path in ("hardware", "collections", "collections/x", "search?query=x"):
            assert (await server.http.get(f"/v1/{path}", headers=headers)).status_code == 403, path


async def test_there_are_no_collections(server: TestServer) -> None:
    page = (await server.http.get("/v1/collections")).json()
    assert page == {"next": None, "previous": None, "results": []}
    assert (await server.http.get("/v1/collections/text")).status_code == 404


class TestQuery:
    @pytest.mark.parametrize(
        ("body", "kind"),
        [("WHISKERS", "text/plain"), ('"whiskers"', "text/plain"), ('"whiskers"', "application/json")],
    )
    @pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/v1/models", "/v1/models/"])
    async def test_every_clients_form_of_it(
        self, models: TestServer, body: str, kind: str, path: str
    ) -> None:
        answer = await models.http.request("QUERY", path, content=body, headers={"content-type": kind})
        assert names(answer) == {"acme/cats", "other/shown"}

    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ("", {MODEL, "acme/cats", "other/shown"}),
            ("acme", {MODEL, "acme/cats"}),
            ("draws acme", {"acme/cats"}),
            ("100%", {"acme/cats"}),
            ("c%s", set()),
            ("here draws", set()),
        ],
    )
    async def test_all_words_must_be_there_as_they_are(
        self, models: TestServer, words: str, found: set[str]
    ) -> None:
        assert names(await models.http.request("QUERY", "/v1/models", content=words)) == found
        assert names(await models.http.get("/v1/models", params={"query": words})) == found

    async def test_what_is_no_text_is_400(self, server: TestServer) -> None:
        answer = await server.http.request("QUERY", "/v1/models", content=b"\xff")
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")

    @pytest.mark.parametrize("words", ["x " * 33, "x" * 1001])
    async def test_too_much_to_look_for_is_422(self, server: TestServer, words: str) -> None:
        for answer in (
            await server.http.request("QUERY", "/v1/models", content=words),
            await server.http.get("/v1/models", params={"query": words}),
            await server.http.get("/v1/search", params={"query": words}),
        ):
            assert (answer.status_code, answer.json()["invalid_fields"][0]["field"]) == (422, "query")

    async def test_as_much_as_may_be_is_looked_for(self, models: TestServer) -> None:
        words = "c " * 31 + "a" * 900
        assert names(await models.http.get("/v1/models", params={"query": words})) == set()

    async def test_other_paths_do_not_take_it(self, server: TestServer) -> None:
        assert (await server.http.request("QUERY", "/v1/predictions")).status_code == 405

    async def test_pages_go_on_with_the_same_words(self, models: TestServer) -> None:
        for number in range(30):
            await register(models.services.store, f"many/m{number}", "d" * 64)
        first = await models.http.request("QUERY", "/v1/models", content="many m")
        second = await models.http.get(first.json()["next"])
        assert second.json()["next"] is None
        assert len(names(first)) == 25
        assert names(first) | names(second) == {f"many/m{number}" for number in range(30)}


class TestLists:
    async def test_models_are_sorted(self, server: TestServer) -> None:
        store = server.services.store
        await register(store, "acme/later", "d" * 64)
        for query, status in ((None, 200), ("sort_by=x", 422), ("sort_direction=up", 422)):
            assert (await server.http.get(f"/v1/models?{query}")).status_code == status
        up = await server.http.get("/v1/models?sort_by=model_created_at&sort_direction=asc")
        down = await server.http.get("/v1/models?sort_by=model_created_at&sort_direction=desc")
        ids = [[one["name"] for one in page.json()["results"]] for page in (up, down)]
        assert ids == [["greeter", "later"], ["later", "greeter"]]

    async def test_pages_stay_sorted(self, server: TestServer) -> None:
        for number in range(30):
            await register(server.services.store, f"many/m{number:02}", "d" * 64)
        first = await server.http.get("/v1/models?sort_by=model_created_at&sort_direction=asc&query=many")
        second = await server.http.get(first.json()["next"])
        found = [one["name"] for page in (first, second) for one in page.json()["results"]]
        assert found == [f"m{number:02}" for number in range(30)]

    async def test_versions_come_in_pages(self, server: TestServer) -> None:
        versions = [f"{number:064x}" for number in range(60)]
        for version in versions:
            await register(server.services.store, "acme/many", version)
        url, found, sizes = "/v1/models/acme/many/versions", [], []
        while url:
            page = (await server.http.get(url)).json()
            found += [one["id"] for one in page["results"]]
            sizes.append(len(page["results"]))
            url = page["next"]
        assert (found, sizes) == (versions[::-1], [25, 25, 10])
        assert (await server.http.get("/v1/models/acme/many/versions?cursor=x")).status_code == 422


class TestSearch:
    async def test_it_finds_models(self, models: TestServer) -> None:
        answer = (
            await models.http.get("/v1/search", params={"query": "draws whiskers", "limit": "5"})
        ).json()
        (found,) = answer.pop("models")
        assert answer == {"query": "draws whiskers", "collections": [], "pages": []}
        assert (found["model"]["name"], found["metadata"]["score"]) == ("cats", 1.0)
        assert found["metadata"]["generated_description"] == "Draws 100% Whiskers"

    async def test_the_limit_holds_and_has_bounds(self, models: TestServer) -> None:
        one = await models.http.get("/v1/search?query=a&limit=1")
        assert len(one.json()["models"]) == 1
        for limit in ("0", "51", "-1", "x", "²"):
            answer = await models.http.get("/v1/search", params={"query": "a", "limit": limit})
            assert (answer.status_code, answer.json()["invalid_fields"][0]["field"]) == (422, "limit")

    async def test_without_a_query_it_is_400(self, server: TestServer) -> None:
        for path in ("/v1/search", "/v1/search?query=%20"):
            assert (await server.http.get(path)).status_code == 400


async def test_the_official_client(models: TestServer) -> None:
    client = replicate.Client(
        api_token=models.token, base_url=BASE, transport=httpx.ASGITransport(models.app), timeout=5
    )
    assert [one.sku for one in await client.hardware.async_list()] == ["cpu"]
    assert (await client.collections.async_list()).results == []
    found = await client.models.async_search("whiskers")
    assert {one.name for one in found.results} == {"cats", "shown"}
    assert found.results[0].latest_version is not None
    versions = await (await client.models.async_get(MODEL)).versions.async_list()
    assert [one.id for one in versions.results] == [VERSION]
