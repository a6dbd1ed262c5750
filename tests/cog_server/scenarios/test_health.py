"""The state of the server, from setup to a model that is not well."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cog_server.targets import Target
from tests.support.commands import until

Start = Callable[..., Target]


def test_while_the_model_is_set_up(start: Start, tmp_path: Path) -> None:
    target = start("slow_setup", environment={"SETUP_GO": str(tmp_path / "go")})
    assert target.reaches("STARTING")["setup"].get("completed_at") is None
    answer = target.predict({})
    assert answer.status_code in (409, 503)
    (tmp_path / "go").touch()
    assert target.reaches("READY")["setup"]["logs"] == "waiting\n"
    assert target.predict({}).status_code == 200


def test_a_setup_that_fails(start: Start) -> None:
    target = start("broken")
    setup = target.reaches("SETUP_FAILED")["setup"]
    assert setup["status"] == "failed"
    assert "about to break\n" in setup["logs"]
    assert "Traceback" in setup["logs"]
    assert "RuntimeError: no weights" in setup["logs"]
    assert target.predict({}).status_code in (409, 503)


@pytest.mark.parametrize(
    ("said", "error"),
    [("false", "user-defined healthcheck returned False"), ("no GPU", "no GPU")],
)
def test_a_model_that_is_not_well(start: Start, tmp_path: Path, said: str, error: str) -> None:
    path = tmp_path / "health"
    path.write_text("")
    target = start("unwell", environment={"HEALTH": str(path)}).ready()
    assert "user_healthcheck_error" not in {k: v for k, v in target.health().items() if v is not None}
    path.write_text(said)
    found = target.reaches("UNHEALTHY")
    assert error.lower() in found["user_healthcheck_error"].lower()
    assert target.http.get("/health-check").status_code == 200
    path.write_text("")
    target.reaches("READY")


def test_setup_logs_are_live(start: Start, tmp_path: Path) -> None:
    target = start("slow_setup", environment={"SETUP_GO": str(tmp_path / "go")})
    target.reaches("STARTING")
    until(lambda: target.health()["setup"].get("logs") == "waiting\n", "its log is there")
    (tmp_path / "go").touch()
