"""How deep an input may be nested."""

import json

import pytest

from coordinator.protocol.limits import ServerLimits
from edge.depth import too_deep
from tests.support.edge import MODEL, TestServer


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("1", 0),
        ("[]", 1),
        ('{"a": [1, {"b": []}]}', 4),
        ('["[[[[[[[[", "\\\\", "\\"[[[[[", {}]', 2),
        ('{"[": "]", "\\\\\\"{": [[]]}', 3),
        ("[" + ",".join(["[]"] * 50) + "]", 2),
    ],
)
def test_depth(text: str, depth: int) -> None:
    json.loads(text)
    assert not too_deep(text.encode(), depth)
    assert depth == 0 or too_deep(text.encode(), depth - 1)


def nested(depth: int) -> bytes:
    """A body whose input has so many levels."""
    return b'{"input": {"text": "x", "deep": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}}"


@pytest.mark.parametrize("depth", [101, 500])
async def test_an_input_that_is_too_deep_is_refused(server: TestServer, depth: int) -> None:
    url = f"/v1/models/{MODEL}/predictions"
    answer = await server.http.post(url, content=nested(depth))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    if depth < 200:
        text = "Must not have more than 100 lists and objects inside each other (input_depth)"
        assert answer.json()["invalid_fields"] == [{"type": "depth", "field": "input", "description": text}]
    assert ServerLimits().input_depth == 100
    fits = await server.http.post(url, content=nested(100))
    assert "input_depth" not in fits.text
    endless = await server.http.post(url, content=nested(100_000))
    assert endless.status_code in (400, 422)
