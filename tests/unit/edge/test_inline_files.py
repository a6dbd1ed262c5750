"""Data URLs in inputs: small ones stay where they are, large ones become files that the agent fetches."""

import base64
import json
import secrets
from pathlib import Path

import httpx
import pytest

from coordinator.protocol.limits import ServerLimits
from edge.inline_files import DataUrl, data_url
from tests.support.edge import BASE, MODEL, TestServer, running

CONTENT = secrets.token_bytes(100_000)


def inline(content: bytes, head: str = "image/png;name=my%20cat.png") -> str:
    return f"data:{head};base64,{base64.b64encode(content).decode()}"


async def created(server: TestServer, text: str, **files: str) -> httpx.Response:
    body = {"input": {"text": text, **files}}
    return await server.http.post(f"/v1/models/{MODEL}/predictions", json=body)


async def test_a_large_one_is_a_file(server: TestServer) -> None:
    url = inline(CONTENT)
    answer = await created(server, "x", image=url)
    assert answer.status_code == 201, answer.text
    shown = answer.json()["input"]["image"]
    assert shown.startswith(f"{BASE}/v1/files/")
    dispatch = await server.agent.start()
    assert len(dispatch.input) < 1000
    assert json.loads(bytes(dispatch.input)) == {"text": "x", "image": shown}
    got = await server.http.get(dispatch.files[shown], headers={"authorization": ""})
    assert got.content == CONTENT
    assert 'filename="my cat.png"' in got.headers["content-disposition"]
    file = (await server.http.get(shown)).json()
    assert (file["name"], file["content_type"], file["size"]) == ("my cat.png", "image/png", len(CONTENT))


async def test_a_small_one_stays(server: TestServer) -> None:
    url = inline(b"small")
    answer = await created(server, "x", image=url)
    assert answer.json()["input"]["image"] == url
    assert (await server.http.get("/v1/files")).json()["results"] == []


async def test_what_is_no_file_is_just_a_text(server: TestServer) -> None:
    url = inline(CONTENT)
    answer = await created(server, url)
    assert answer.json()["input"]["text"] == url


async def test_one_that_is_broken_is_refused_with_its_name(server: TestServer) -> None:
    answer = await created(server, "x", image="data:image/png;base64," + "A" * 70_001)
    assert answer.status_code == 422
    (field,) = answer.json()["invalid_fields"]
    assert field["field"] == "input.image"
    assert "base64 is broken" in field["description"]


async def test_one_that_is_larger_than_a_file_may_be(tmp_path: Path) -> None:
    async with running(tmp_path, ServerLimits(file_bytes=50_000)) as server:
        answer = await created(server, "x", image=inline(CONTENT))
        assert answer.status_code == 413
        assert "input.image" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("data:,a%20b", DataUrl(b"a b", "application/octet-stream", "")),
        ("DATA:text/plain;charset=utf-8,a", DataUrl(b"a", "text/plain", "")),
        ("data:text/plain;filename=../x.txt;base64,YQ==", DataUrl(b"a", "text/plain", "x.txt")),
    ],
)
def test_a_data_url(text: str, found: DataUrl) -> None:
    assert data_url(text) == found
