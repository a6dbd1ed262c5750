"""Tokens, accounts and the log of acts, as administrators have them over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.edge import BASE, TestServer


def bearing(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def made(server: TestServer, **fields: Any) -> dict[str, Any]:
    answer = await server.http.post("/v1/admin/tokens", json=fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def status_of(server: TestServer, secret: str) -> int:
    return (await server.http.get("/v1/account", headers=bearing(secret))).status_code


async def soon(ask: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while True:
            if await ask():
                return
            await asyncio.sleep(0.01)


async def test_a_token_lives_from_its_creation_to_its_end(server: TestServer) -> None:
    token = await made(
        server, name="bot", account="acme", scopes=["read"], models=["acme/*"], expire_s=60.0, share=2.0
    )
    assert token["token"].startswith(token["prefix"])
    assert (token["account"], token["scopes"], token["models"]) == ("acme", ["read"], ["acme/*"])
    assert await status_of(server, token["token"]) == 200
    shown = (await server.http.get(f"/v1/admin/tokens/{token['id']}")).json()
    assert "token" not in shown
    assert shown["last_used_at"] is not None
    by_name = await server.http.get("/v1/admin/tokens/bot", params={"account": "acme"})
    assert by_name.json()["id"] == token["id"]
    ended = await server.http.delete(f"/v1/admin/tokens/{token['id']}")
    assert (ended.status_code, bool(ended.json()["revoked_at"])) == (200, True)
    assert await status_of(server, token["token"]) == 401
    missing = await server.http.get("/v1/admin/tokens/nobody")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_what_no_token_can_be_is_refused_by_its_field(server: TestServer) -> None:
    for fields, words in (
        ({}, "name is required"),
        ({"name": "x", "scopes": ["fly"]}, "scopes"),
        ({"name": "x", "fly": 1}, "fly is not allowed"),
        ({"name": "-"}, "no name for a token"),
        ({"name": "x", "share": 0}, "no share"),
        ({"name": "x", "models": ["UPPER"]}, "no model is called like"),
        ({"name": "x", "worker": "fast", "scopes": ["read"]}, "scope worker"),
        ({"name": "all"}, "already has a token named all"),
    ):
        answer = await server.http.post("/v1/admin/tokens", json=fields)
        assert answer.status_code == 422, fields
        assert words in answer.json()["detail"], answer.text


async def test_a_workers_token_names_its_pool(server: TestServer) -> None:
    token = await made(server, name="gpu", worker="fast")
    assert (token["scopes"], token["pools"]) == (["worker"], ["fast"])


async def test_rights_change_at_once_and_the_secret_stays(server: TestServer) -> None:
    token = await made(server, name="bot", scopes=["read"], requests_per_min=9)
    assert await status_of(server, token["token"]) == 200
    changes = {"scopes": ["submit"], "requests_per_min": None, "expire_s": 60}
    answer = await server.http.patch(f"/v1/admin/tokens/{token['id']}", json=changes)
    changed = answer.json()
    assert (changed["scopes"], changed["requests_per_min"]) == (["submit"], None)
    assert changed["expires_at"] is not None
    assert await status_of(server, token["token"]) == 403
    refused = await server.http.patch(f"/v1/admin/tokens/{token['id']}", json={"scopes": []})
    assert refused.status_code == 422


async def test_two_secrets_are_good_while_they_overlap(server: TestServer) -> None:
    token = await made(server, name="bot", scopes=["read"])
    answer = await server.http.post(f"/v1/admin/tokens/{token['id']}/rotate", json={"overlap_s": 60})
    rotated = answer.json()
    assert (rotated["id"], rotated["prefix"]) == (token["id"], rotated["token"][:8])
    assert rotated["token"] != token["token"]
    for secret in (token["token"], rotated["token"]):
        assert await status_of(server, secret) == 200
    again = (await server.http.post("/v1/admin/tokens/bot/rotate", json={"overlap_s": 0})).json()
    found = [await status_of(server, each["token"]) for each in (token, rotated, again)]
    assert found == [401, 401, 200]
    refused = await server.http.post("/v1/admin/tokens/bot/rotate", json={"overlap_s": 1e9})
    assert refused.status_code == 422


async def test_the_secret_before_ends_with_the_overlap(server: TestServer) -> None:
    token = await made(server, name="bot", scopes=["read"])
    await server.http.post("/v1/admin/tokens/bot/rotate", json={"overlap_s": 0.05})

    async def over() -> bool:
        return await status_of(server, token["token"]) == 401

    await soon(over)


async def test_what_hangs_on_the_secret_before_is_cut_off_and_the_rest_stays(server: TestServer) -> None:
    authenticator = server.services.authenticator
    token = await made(server, name="bot")
    told: list[str] = []
    before = await authenticator.of_secret(token["token"])
    assert before is not None
    rotated = (await server.http.post("/v1/admin/tokens/bot/rotate", json={"overlap_s": 60})).json()
    after = await authenticator.of_secret(rotated["token"])
    assert after is not None
    for name, principal in (("before", before), ("after", after)):
        authenticator.watch(principal.token, lambda name=name: told.append(name), principal.generation)  # type: ignore[misc]
    authenticator.changed(token["id"])
    await server.http.post("/v1/admin/tokens/bot/rotate", json={"overlap_s": 60})

    async def cut() -> bool:
        return told == ["before"]

    await soon(cut)
    await server.http.delete("/v1/admin/tokens/bot")
    assert told == ["before", "after"]


async def test_lists_come_in_pages(server: TestServer) -> None:
    for number in range(5):
        await made(server, name=f"t{number}", account="acme")
    found, url = [], f"{BASE}/v1/admin/tokens?account=acme&limit=2"
    pages = 0
    while url:
        answer = (await server.http.get(url)).json()
        found += [row["name"] for row in answer["results"]]
        url, pages = answer["next"], pages + 1
    assert (found, pages) == ([f"t{number}" for number in range(5)], 3)
    for wrong in ({"limit": "0"}, {"limit": "x"}, {"cursor": "x"}):
        assert (await server.http.get("/v1/admin/tokens", params=wrong)).status_code == 422


async def test_accounts_are_shown_and_changed(server: TestServer) -> None:
    await made(server, name="bot", account="acme")
    changes = {"share": 3.0, "storage_at_most_bytes": 1000}
    changed = (await server.http.patch("/v1/admin/accounts/acme", json=changes)).json()
    assert (changed["share"], changed["storage_at_most_bytes"]) == (3.0, 1000)
    freed = await server.http.patch("/v1/admin/accounts/acme", json={"storage_at_most_bytes": None})
    assert freed.json()["storage_at_most_bytes"] is None
    listed = (await server.http.get("/v1/admin/accounts")).json()["results"]
    assert [row["account"] for row in listed] == ["acme", "default"]
    assert (await server.http.get("/v1/admin/accounts/acme")).json()["share"] == 3.0
    assert (await server.http.get("/v1/admin/accounts/nobody")).status_code == 404
    assert (await server.http.patch("/v1/admin/accounts/acme", json={})).status_code == 422
    first = await server.http.get("/v1/webhooks/default/secret")
    rotated = (await server.http.post("/v1/admin/accounts/default/webhook-secret")).json()
    assert rotated["key"].startswith("whsec_")
    assert rotated["key"] != first.json()["key"]


async def test_each_act_is_in_the_log_without_secrets(server: TestServer) -> None:
    token = await made(server, name="bot", account="acme", replicate="r8_secret")
    await server.http.post("/v1/admin/tokens", json={"name": "bot", "account": "acme"})
    await server.http.post("/v1/admin/tokens/bot/rotate", json={})
    await server.http.delete("/v1/admin/tokens/bot")
    acts = (await server.http.get("/v1/admin/audit")).json()["results"]
    assert [(act["act"], act["outcome"]) for act in acts] == [
        ("token.revoke", "done"),
        ("token.rotate", "done"),
        ("token.create", "refused: account acme already has a token named bot"),
        ("token.create", "done"),
    ]
    assert {act["target"] for act in acts} == {token["id"], "acme/bot"}
    assert {(act["door"], act["who"], act["account"]) for act in acts} == {("http", "all", "default")}
    assert acts[-1]["detail"]["replicate"] == "***"
    assert "r8_secret" not in str(acts)
    assert token["token"] not in str(acts)
    of_target = {"target": token["id"], "act": "token", "limit": "1"}
    page = (await server.http.get("/v1/admin/audit", params=of_target)).json()
    assert [act["act"] for act in page["results"]] == ["token.revoke"]
    following = (await server.http.get(page["next"])).json()
    assert [act["act"] for act in following["results"]] == ["token.rotate"]


async def test_tokens_of_2022_are_taken_over(server: TestServer) -> None:
    entries = [{"label": "old", "secret": "an-old-secret-of-2022", "allow": True}]
    tried = await server.http.post("/v1/admin/tokens/import", json={"entries": entries, "dry_run": True})
    assert (tried.status_code, tried.json()["applied"]) == (200, False)
    done = (await server.http.post("/v1/admin/tokens/import", json={"entries": entries})).json()
    assert (done["applied"], len(done["made"])) == (True, 1)
    assert await status_of(server, "an-old-secret-of-2022") == 200
    acts = (await server.http.get("/v1/admin/audit")).json()["results"]
    assert [(act["act"], act["detail"]["tokens"]) for act in acts] == [("token.import", 1)]
    (old,) = (each for each in done["made"])
    await server.http.post(f"/v1/admin/tokens/{old['name']}/rotate", json={"overlap_s": 0})
    again = (await server.http.post("/v1/admin/tokens/import", json={"entries": entries})).json()
    assert (again["made"], again["unchanged"]) == ([], 1)
    assert await status_of(server, "an-old-secret-of-2022") == 401


@pytest.mark.parametrize("scope", ["submit", "read", "worker", "keys"])
async def test_only_administrators_may(server: TestServer, scope: str) -> None:
    secret = await server.secret("other", scopes=(scope,))
    answer = await server.http.get("/v1/admin/tokens", headers=bearing(secret))
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


async def test_the_first_use_is_kept_over_a_restart(server: TestServer) -> None:
    token = await made(server, name="bot")
    assert (await server.services.store.token_changes.get("bot")).last_used_at is None
    await status_of(server, token["token"])
    await server.http.get("/v1/admin/tokens")
    stored = await server.services.store.token_changes.get("bot")
    assert stored.last_used_at is not None
    await server.services.store.token_changes.used({stored.id: 1})
    assert (await server.services.store.token_changes.get("bot")).last_used_at == stored.last_used_at
