"""Which pages of other origins may call the API."""

from pathlib import Path

import pytest

from coordinator.protocol.limits import ServerLimits
from edge.cors import valid_origin
from tests.support.edge import MODEL, TestServer, running

OURS, OTHER = "https://app.example.test", "https://evil.example.test"
ASKS = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,prefer"}


def allowed(headers: object) -> dict[str, str]:
    return {name: value for name, value in dict(headers).items() if name.startswith("access-control")}  # type: ignore[call-overload]


async def test_a_named_origin_may_ask_and_read(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(), cors_origins=(OURS, "http://localhost:3000")) as server:
        path = f"/v1/models/{MODEL}/predictions"
        asked = await server.http.options(path, headers={"origin": OURS, **ASKS, "authorization": ""})
        assert (asked.status_code, asked.content) == (204, b"")
        assert asked.headers["access-control-allow-origin"] == OURS
        assert asked.headers["access-control-allow-headers"] == "authorization,prefer"
        assert "PATCH" in asked.headers["access-control-allow-methods"]
        made = await server.http.post(path, json={"input": {"text": "x"}}, headers={"origin": OURS})
        assert (made.status_code, made.headers["access-control-allow-origin"]) == (201, OURS)
        assert "location" in made.headers["access-control-expose-headers"]
        assert made.headers["vary"] == "origin"
        assert "access-control-allow-credentials" not in made.headers
        refused = await server.http.get("/v1/account", headers={"origin": OURS, "authorization": ""})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, OURS)


async def test_others_are_told_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(), cors_origins=(OURS,)) as server:
        for origin in (OTHER, "null", OURS + ".evil.test", "http://app.example.test"):
            asked = await server.http.options("/v1/predictions", headers={"origin": origin, **ASKS})
            assert allowed(asked.headers) == {}
            answer = await server.http.get("/v1/account", headers={"origin": origin})
            assert (allowed(answer.headers), answer.headers["vary"]) == ({}, "origin")


async def test_all_may_when_the_operator_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(), cors_origins=("*",)) as server:
        answer = await server.http.get("/v1/account", headers={"origin": OTHER})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert (await server.http.options("/v1/files", headers={"origin": OTHER, **ASKS})).status_code == 204


async def test_without_the_option_none_may(server: TestServer) -> None:
    answer = await server.http.get("/v1/account", headers={"origin": OURS})
    assert (allowed(answer.headers), "vary" in answer.headers) == ({}, False)
    asked = await server.http.options("/v1/predictions", headers={"origin": OURS, **ASKS})
    assert allowed(asked.headers) == {}


@pytest.mark.parametrize(
    "text", ["*", OURS, "http://localhost:3000", "http://[::1]:8000", "https://10.0.0.1"]
)
def test_what_is_an_origin(text: str) -> None:
    assert valid_origin(text)


@pytest.mark.parametrize(
    "text", ["", "app.example.test", OURS + "/", "ftp://x", "null", "https://a b", "https://*.a"]
)
def test_what_is_none(text: str) -> None:
    assert not valid_origin(text)
