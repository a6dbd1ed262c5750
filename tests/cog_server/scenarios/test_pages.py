"""What the server says of itself and of its model."""

from collections.abc import Callable
from datetime import datetime

import pytest

from tests.cog_server.targets import Target


@pytest.fixture
def echo(shared: Callable[[str], Target]) -> Target:
    return shared("echo")


def test_discovery(echo: Target) -> None:
    found = echo.http.get("/").json()
    assert found.pop("cog_version")
    assert found == {
        "docs_url": "/docs",
        "openapi_url": "/openapi.json",
        "shutdown_url": "/shutdown",
        "healthcheck_url": "/health-check",
        "predictions_url": "/predictions",
        "predictions_idempotent_url": "/predictions/{prediction_id}",
        "predictions_cancel_url": "/predictions/{prediction_id}/cancel",
    }


def test_the_document(echo: Target) -> None:
    found = echo.http.get("/openapi.json").json()
    assert "/predictions" in found["paths"]
    properties = found["components"]["schemas"]["Input"]["properties"]
    assert properties["text"]["description"] == "what to say"
    assert properties["number"]["maximum"] == 10
    assert found["components"]["schemas"]["Output"]["type"] == "string"


def test_docs(echo: Target) -> None:
    answer = echo.http.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


def test_health(echo: Target) -> None:
    found = echo.health()
    assert found["status"] == "READY"
    setup = found["setup"]
    assert setup["status"] == "succeeded"
    assert setup["logs"] == "setting up\n"
    assert datetime.fromisoformat(setup["started_at"]) <= datetime.fromisoformat(setup["completed_at"])
