"""Answers of Cog servers, and what each has that the ones before did not."""

import hashlib
import json
from typing import Any

import pytest

from gpu_agent.container.answers import (
    Snapshot,
    read_document,
    read_health,
    read_snapshot,
    refusal,
    version_of,
)
from gpu_agent.container.growth import Growth


def test_the_version_is_the_digest_of_the_document() -> None:
    document = {"b": {"ü": 1}, "a": [1, 2]}
    text = '{"a":[1,2],"b":{"ü":1}}'
    assert version_of(document, "me/m") == hashlib.sha256(text.encode()).hexdigest()
    assert version_of({}, "me/m") == hashlib.sha256(b'{"model":"me/m"}').hexdigest()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"status": 3}', b"<html>"])
def test_what_is_no_health(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_health(body)


@pytest.mark.parametrize(
    ("answer", "lost"),
    [
        ({"status": "READY"}, False),
        ({"status": "BUSY", "setup": None}, False),
        ({"status": "STARTING", "setup": {}}, True),
        ({"status": "DEFUNCT"}, True),
        ({"status": "UNHEALTHY", "user_healthcheck_error": "no"}, False),
        (
            {"status": "UNHEALTHY", "user_healthcheck_error": "protocol error: healthcheck channel closed"},
            True,
        ),
    ],
)
def test_whether_what_ran_there_is_lost(answer: Any, lost: bool) -> None:
    assert read_health(json.dumps(answer).encode()).lost is lost


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id": "x"}', b'{"status": null}', b"\xff"])
def test_what_is_no_prediction(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_snapshot(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"OpenAPI schema not available", b'{"error": "no"}', b'{"components": {"schemas": {}}}'],
)
def test_what_is_no_document(body: bytes) -> None:
    assert read_document(body) == {}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"detail": "no"}', "no"),
        (b'{"error": "busy", "status": "failed"}', "busy"),
        (b"plain\n text", "plain text"),
        (b'"quoted"', "quoted"),
        (b'{"detail": [{"loc": ["body", "input", "n"], "msg": "too big"}, "odd"]}', "input.n: too big; odd"),
        (b"", "no reason given"),
        (b"\xff" * 5000, "�" * 2000),
    ],
)
def test_refusals(body: bytes, said: str) -> None:
    assert refusal(body) == said


def test_growth() -> None:
    growth = Growth()
    assert [growth.take_logs(text) for text in ("a\n", "a\nb\n", "a\n", "", "a\nb\nc\n")] == [
        "a\n",
        "b\n",
        "",
        "",
        "c\n",
    ]
    steps = ({"n": 1}, {"n": 1, "m": None}, {"n": 2})
    taken = [growth.take_metrics(Snapshot("processing", metrics=dict(step))) for step in steps]
    assert taken == [{"n": 1}, {"m": None}, {"n": 2}]
    growth.items = 1
    assert (growth.new_items(["a", "b"]), growth.new_items(None), growth.new_items("text")) == (["b"], [], [])
