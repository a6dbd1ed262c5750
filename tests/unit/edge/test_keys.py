"""Keys that an account makes for its own users: within its limits, and each for itself."""

from typing import Any

import httpx
import pytest

from tests.support.edge import MODEL, TestServer, register

PREDICTIONS = f"/v1/models/{MODEL}/predictions"


class Asker:
    """Somebody with a token or key."""

    def __init__(self, server: TestServer, secret: str, id: str = "") -> None:
        self.server = server
        self.secret = secret
        self.id = id

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.secret}", **more.pop("headers", {})}
        return await self.server.http.request(method, path, headers=headers, **more)

    async def create(self, text: str = "hi", **headers: str) -> dict[str, Any]:
        answer = await self.ask("POST", PREDICTIONS, json={"input": {"text": text}}, headers=headers)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def key(self, name: str, **fields: Any) -> "Asker":
        answer = await self.ask("POST", "/v1/keys", json={"name": name, **fields})
        assert answer.status_code == 201, answer.text
        return Asker(self.server, answer.json()["key"], answer.json()["id"])

    async def lists(self) -> list[str]:
        answer = await self.ask("GET", "/v1/predictions")
        return [each["id"] for each in answer.json()["results"]]


@pytest.fixture
async def maker(server: TestServer) -> Asker:
    return Asker(server, await server.secret("app", scopes=("submit", "read", "keys")))


async def test_a_key_lives_from_its_creation_to_its_end(server: TestServer, maker: Asker) -> None:
    ann = await maker.key("ann")
    shown = (await maker.ask("GET", "/v1/keys/ann")).json()
    assert (shown["id"], shown["scopes"], shown["pools"]) == (ann.id, ["read", "submit"], ["default"])
    assert "key" not in shown
    assert [each["name"] for each in (await maker.ask("GET", "/v1/keys")).json()["results"]] == ["ann"]
    assert (await ann.ask("GET", "/v1/account")).json()["username"] == "default"
    rotated = (await maker.ask("POST", f"/v1/keys/{ann.id}/rotate", json={"overlap_s": 0})).json()
    assert (await ann.ask("GET", "/v1/account")).status_code == 401
    ann.secret = rotated["key"]
    assert (await ann.ask("GET", "/v1/account")).status_code == 200
    assert (await maker.ask("DELETE", "/v1/keys/ann")).json()["revoked_at"]
    assert (await ann.ask("GET", "/v1/account")).status_code == 401
    acts = (await server.http.get("/v1/admin/audit", params={"act": "key"})).json()["results"]
    assert [(act["act"], act["who"], act["target"]) for act in acts] == [
        (f"key.{act}", "app", ann.id) for act in ("revoke", "rotate", "create")
    ]


async def test_each_user_has_its_own_predictions(server: TestServer, maker: Asker) -> None:
    ann, ben = await maker.key("ann"), await maker.key("ben")
    first, second = await ann.create(), await ben.create()
    assert (await ann.lists(), await ben.lists()) == ([first["id"]], [second["id"]])
    assert set(await maker.lists()) == {first["id"], second["id"]}
    path = f"/v1/predictions/{first['id']}"
    assert (await ann.ask("GET", path)).status_code == 200
    for method, url in (
        ("GET", path),
        ("GET", f"{path}/why"),
        ("GET", f"{path}/webhooks"),
        ("POST", f"{path}/cancel"),
        ("POST", f"{path}/redeliver"),
        ("DELETE", path),
    ):
        assert (await ben.ask(method, url)).status_code == 404, url
    assert (await ben.ask("GET", path, headers={"accept": "text/event-stream"})).status_code == 404
    assert (await ann.ask("POST", f"{path}/cancel")).json()["status"] in ("canceled", "starting")
    # Indexed or not, a list is of one user alone.
    server.agent.finish(await server.agent.start(), ["done"])
    await server.indexed(first["id"])
    assert await ben.lists() == [second["id"]]
    assert await ann.lists() == [first["id"]]


async def test_the_same_idempotency_key_of_two_users_is_two_predictions(maker: Asker) -> None:
    ann, ben = await maker.key("ann"), await maker.key("ben")
    made = [await each.create("same", **{"idempotency-key": "k"}) for each in (ann, ben, ann, maker)]
    assert made[0]["id"] == made[2]["id"]
    assert len({each["id"] for each in made}) == 3


async def test_what_a_key_creates_counts_as_its_makers(server: TestServer, maker: Asker) -> None:
    ann = await maker.key("ann")
    answer = await ann.ask("POST", PREDICTIONS, json={"input": {"text": "x"}, "end_user": "somebody"})
    document = await server.services.store.index.find(answer.json()["id"])
    if document is None:
        (document,) = server.services.projector.all_pending()
    record = await server.services.store.token_changes.get("app")
    assert (document.token, document.user) == (record.id, ann.id)
    named = await maker.ask("POST", PREDICTIONS, json={"input": {"text": "x"}, "end_user": ann.id})
    assert named.json()["invalid_fields"][0]["field"] == "end_user"


async def test_a_key_does_nothing_else(maker: Asker) -> None:
    ann = await maker.key("ann")
    for method, path in (
        ("GET", "/v1/files"),
        ("GET", "/v1/webhooks/default/secret"),
        ("GET", "/v1/account/storage"),
        ("GET", "/v1/deployments"),
        ("PUT", "/v1/predictions/own-id"),
    ):
        answer = await ann.ask(method, path, json={} if method == "PUT" else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed"), path
    for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", "/v1/admin/tokens")):
        answer = await ann.ask(method, path, json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope"), path


async def test_nothing_goes_beyond_what_the_maker_has(server: TestServer) -> None:
    secret = await server.secret(
        "app",
        scopes=("submit", "keys"),
        models=("acme/*",),
        creations_per_min=10,
        expires_at=server.services.clock.now() + 60_000_000,
    )
    maker = Asker(server, secret)
    good = {"name": "ann", "scopes": ["submit"]}
    for wrong, words in (
        ({"scopes": ["read"]}, "cannot have read"),
        ({"pools": ["fast"]}, "fast is none of this token's"),
        ({"models": ["other/*"]}, "not within"),
        ({"models": ["*"]}, "not within"),
        ({"creations_per_min": 11}, "has 10 itself"),
        ({"creations_per_min": 0}, "has 10 itself"),
        ({"expire_s": 61}, "outlive"),
        ({"scopes": ["admin"]}, "scopes"),
        ({"name": "app"}, "already has a token named app"),
    ):
        answer = await maker.ask("POST", "/v1/keys", json={**good, **wrong})
        assert answer.status_code == 422, wrong
        assert words in answer.json()["detail"], answer.text
    await maker.key("ann", scopes=["submit"], models=["acme/greeter*"], creations_per_min=10)
    shown = (await maker.ask("GET", "/v1/keys/ann")).json()
    assert shown["expires_at"] is not None


async def test_a_key_loses_what_its_maker_loses(server: TestServer, maker: Asker) -> None:
    ann = await maker.key("ann")
    assert await ann.lists() == []
    await server.http.patch("/v1/admin/tokens/app", json={"scopes": ["submit", "keys"], "models": ["x/*"]})
    assert (await ann.ask("GET", "/v1/predictions")).status_code == 403
    refused = await ann.ask("POST", PREDICTIONS, json={"input": {"text": "x"}})
    assert (refused.status_code, "may not use" in refused.json()["detail"]) == (403, True)
    await server.http.delete("/v1/admin/tokens/app")
    assert (await ann.ask("GET", "/v1/predictions")).status_code == 401
    assert (await server.http.get(f"/v1/admin/tokens/{ann.id}")).json()["revoked_at"] is not None


async def test_keys_share_the_rate_of_their_maker(server: TestServer) -> None:
    secret = await server.secret("app", scopes=("submit", "read", "keys"), creations_per_min=5)
    maker = Asker(server, secret)
    ann, ben = await maker.key("ann", creations_per_min=1), await maker.key("ben")
    await ann.create("1")
    refused = await ann.ask("POST", PREDICTIONS, json={"input": {"text": "2"}})
    assert (refused.status_code, refused.headers["ratelimit-limit"]) == (429, "1")
    await ben.create("3")
    await ben.create("4")
    refused = await ben.ask("POST", PREDICTIONS, json={"input": {"text": "5"}})
    assert (refused.status_code, refused.headers["ratelimit-limit"]) == (429, "5")


async def test_another_token_of_the_account_has_nothing_of_it(server: TestServer, maker: Asker) -> None:
    ann = await maker.key("ann")
    other = Asker(server, await server.secret("other", scopes=("submit", "read", "keys")))
    for method, path in (
        ("GET", f"/v1/keys/{ann.id}"),
        ("POST", f"/v1/keys/{ann.id}/rotate"),
        ("DELETE", f"/v1/keys/{ann.id}"),
    ):
        answer = await other.ask(method, path, json={} if method == "POST" else None)
        assert answer.status_code == 404, path
    assert (await other.ask("GET", "/v1/keys")).json()["results"] == []
    assert (await maker.ask("GET", "/v1/keys/app")).status_code == 404  # a token is no key


async def test_a_token_uses_only_the_models_that_it_allows(server: TestServer) -> None:
    await register(server.services.store, "other/thing", "e" * 64)
    asker = Asker(server, await server.secret("bound", models=("acme/*",)))
    await asker.create()
    refused = await asker.ask("POST", "/v1/predictions", json={"version": "e" * 64, "input": {"text": "x"}})
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    assert "acme/*" in refused.json()["detail"]
