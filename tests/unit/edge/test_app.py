"""What surrounds every request: tokens, scopes, errors, paths, limits, and the server's own pages."""

import logging
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar

from coordinator.protocol.limits import ServerLimits
from edge.openapi import operations
from tests.support.edge import BASE, MODEL, VERSION, TestServer, register, running

NO_TOKEN = {"authorization": ""}


async def test_no_token_and_a_bad_token_are_401(server: TestServer) -> None:
    none = await server.http.get("/v1/predictions", headers=NO_TOKEN)
    assert (none.status_code, none.headers["content-type"]) == (401, "application/problem+json")
    assert none.json() == {
        "title": "Unauthenticated",
        "detail": "You did not pass an authentication token",
        "status": 401,
        "code": "unauthenticated",
        "request_id": none.headers["x-request-id"],
    }
    bad = await server.http.get("/v1/predictions", headers={"authorization": "Bearer nope"})
    assert (bad.status_code, bad.json()["detail"]) == (401, "Invalid or expired API token.")


@pytest.mark.parametrize("scheme", ["Bearer {}", "bearer  {}", "Token {}", "TOKEN {} "])
async def test_tokens_come_in_several_spellings(server: TestServer, scheme: str) -> None:
    headers = {"authorization": scheme.format(server.token)}
    assert (await server.http.get("/v1/account", headers=headers)).status_code == 200


async def test_tokens_come_in_a_header_of_our_own(server: TestServer) -> None:
    headers = {**NO_TOKEN, "x-cogflare-token": server.token}
    account = (await server.http.get("/v1/account", headers=headers)).json()
    assert account == {"type": "organization", "username": "default", "name": "default"}


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("submit", {"create", "cancel", "upload"}), ("read", {"get", "list", "models"}), ("worker", set())],
)
async def test_scopes(server: TestServer, scope: str, allowed: set[str]) -> None:
    made = await server.create()
    headers = {"authorization": f"Bearer {await server.secret('one', scopes=(scope,))}"}
    http = server.http
    answers = {
        "create": await http.post(
            f"/v1/models/{MODEL}/predictions", json={"input": {"text": "x"}}, headers=headers
        ),
        "cancel": await http.post(f"/v1/predictions/{made['id']}/cancel", headers=headers),
        "upload": await http.post("/v1/files", files={"content": ("a", b"x")}, headers=headers),
        "get": await http.get(f"/v1/predictions/{made['id']}", headers=headers),
        "list": await http.get("/v1/predictions", headers=headers),
        "models": await http.get("/v1/models", headers=headers),
    }
    for name, answer in answers.items():
        assert answer.is_success == (name in allowed), name
        if name not in allowed:
            assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
            assert answer.json()["detail"].startswith("This token lacks the scope '")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/predictions",
        "/v1/v1/predictions",
        "/predictions",
        "/v1/predictions/",
        "/predictions/",
        "/v1/files",
        "/files",
    ],
)
async def test_both_shapes_of_base_url_and_slashes(server: TestServer, path: str) -> None:
    answer = await server.http.get(path)
    assert (answer.status_code, answer.json()["results"]) == (200, [])


async def test_unprefixed_files_and_stored_files_are_told_apart(server: TestServer) -> None:
    file = (await server.http.post("/files", files={"content": ("a", b"x")})).json()
    assert (await server.http.get(f"/files/{file['id']}")).json() == file


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/v1", "/predictionsx", "/v1/models/a"])
async def test_unknown_paths_are_404(server: TestServer, path: str) -> None:
    answer = await server.http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == "The requested resource could not be found."


async def test_other_methods_are_405(server: TestServer) -> None:
    answer = await server.http.patch("/v1/predictions")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "POST", "OPTIONS"}


async def test_a_large_body_is_413_announced_or_not(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(body_bytes=100)) as server:

        async def unannounced() -> Any:
            for _ in range(3):
                yield b" " * 50

        for content in (b" " * 101, unannounced()):
            answer = await server.http.post("/v1/predictions", content=content)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
            assert answer.headers["x-should-retry"] == "false"


async def test_each_answer_has_an_id_of_its_own(server: TestServer) -> None:
    ids = {(await server.http.get(path)).headers["x-request-id"] for path in ("/", "/healthz", "/nothing")}
    assert len(ids) == 3


async def test_an_unexpected_error_tells_nothing_and_is_logged(
    server: TestServer, caplog: pytest.LogCaptureFixture
) -> None:
    # Not translated by the store: its files are gone from under it in a way that it does not know.
    server.services.store.models._connections = None  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR, logger="edge.app"):
        answer = await server.http.get("/v1/models")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["x-request-id"] in answer.json()["detail"]
    assert "NoneType" not in answer.text
    assert answer.headers["x-request-id"] in caplog.text
    assert "NoneType" in caplog.text


async def test_a_store_that_is_away_is_503(server: TestServer) -> None:
    await server.services.store.close()
    answer = await server.http.get("/v1/models", headers={"authorization": "Bearer new"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) == answer.json()["retry_after"] > 0


async def test_health(server: TestServer) -> None:
    assert (await server.http.get("/healthz", headers=NO_TOKEN)).json() == {"status": "ok"}
    assert (await server.http.get("/readyz", headers=NO_TOKEN)).json() == {"status": "ready"}
    assert (await server.http.head("/healthz")).status_code == 200
    assert BASE in (await server.http.get("/", headers=NO_TOKEN)).text
    server.services.draining.set()
    assert (await server.http.get("/readyz")).status_code == 503
    assert (await server.http.get("/healthz")).status_code == 200


async def test_the_openapi_document_lists_what_the_router_has(server: TestServer) -> None:
    document = (await server.http.get("/openapi.json", headers=NO_TOKEN)).json()
    app: Litestar = server.app._app
    listed = {
        (path, method.upper()) for path, operations in document["paths"].items() for method in operations
    }
    assert listed == {(path, method) for path, method, _ in operations(app)}
    assert ("/v1/models/{owner}/{name}/predictions", "POST") in listed
    operation_ids = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(operation_ids) == len(set(operation_ids))
    assert document["paths"]["/v1/predictions"]["get"]["parameters"][0]["name"] == "cursor"
    for references in _references(document):
        assert references.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for item in value for found in _references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [found for item in value.values() for found in _references(item)]


async def test_where_urls_web_leads(server: TestServer) -> None:
    made = await server.create()
    assert made["urls"]["get"] in (await server.http.get(made["urls"]["web"], headers=NO_TOKEN)).text
    assert (await server.http.get("/p/nothing")).status_code == 404


async def test_websockets_elsewhere_are_refused(server: TestServer) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await server.app({"type": "websocket", "path": "/elsewhere", "headers": []}, receive, send)
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 404)
    await server.app({"type": "websocket", "path": "/v1/workers/websocket", "headers": []}, receive, send)
    assert sent[2]["status"] == 401


class TestModels:
    async def test_models_and_versions(self, server: TestServer) -> None:
        await register(server.services.store, version="b" * 64)
        model = (await server.http.get(f"/v1/models/{MODEL}")).json()
        assert (model["owner"], model["name"], model["visibility"]) == ("acme", "greeter", "private")
        assert model["url"] and model["default_example"] is None and model["run_count"] == 0
        listed = (await server.http.get("/v1/models")).json()
        assert [one["name"] for one in listed["results"]] == ["greeter"]
        versions = (await server.http.get(f"/v1/models/{MODEL}/versions")).json()["results"]
        assert [one["id"] for one in versions] == ["b" * 64, VERSION]
        one = (await server.http.get(f"/v1/models/{MODEL}/versions/{VERSION}")).json()
        assert one == versions[1]
        assert one["openapi_schema"]["components"]["schemas"]["Output"]["x-cog-array-type"] == "iterator"
        assert one["cog_version"] == "0.1.0"

    async def test_unknown_and_foreign_ones_are_404(self, server: TestServer) -> None:
        stranger = {"authorization": f"Bearer {await server.secret('stranger', account='other')}"}
        for path in ("", "/versions", f"/versions/{VERSION}"):
            assert (await server.http.get(f"/v1/models/acme/nothing{path}")).status_code == 404
            answer = await server.http.get(f"/v1/models/{MODEL}{path}", headers=stranger)
            assert answer.status_code == 404
        assert (await server.http.get(f"/v1/models/{MODEL}/versions/x")).status_code == 404
        assert (await server.http.get("/v1/models?cursor=x")).status_code == 422
        assert (await server.http.get("/v1/models", headers=stranger)).json()["results"] == []

    async def test_a_new_registration_is_visible_within_a_second(self, server: TestServer) -> None:
        import asyncio

        path = "/v1/models/acme/later/predictions"
        assert (await server.http.post(path, json={"input": {"text": "x"}})).status_code == 404
        await register(server.services.store, model="acme/later")
        async with asyncio.timeout(1.5):
            while True:
                answer = await server.http.post(path, json={"input": {"text": "x"}})
                if answer.status_code == 201:
                    break
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/predictions/", "/v1//predictions"])
async def test_the_short_way_and_the_router_answer_alike(server: TestServer, path: str) -> None:
    """The path to the letter goes the short way, other spellings of it go through the router."""
    made = await server.http.post(path, json={"version": VERSION, "input": {"text": "x"}})
    assert (made.status_code, made.json()["status"]) == (201, "starting")
    refused = await server.http.post(path, json={"version": VERSION, "input": {}, "more": 1})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert (refused.headers["content-type"], refused.headers["x-should-retry"]) == (
        "application/problem+json",
        "false",
    )
    assert refused.headers["x-request-id"] != made.headers["x-request-id"]
