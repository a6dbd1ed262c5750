"""Heartbeats that a model cannot stop by being busy. For the agent itself see test_agent_connection.py."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Agent, Server

SILENCE = ("--beat-s", "0.2", "--silence-s", "1.5")
GRIP = """
import ctypes
from cog import BasePredictor

class Predictor(BasePredictor):
    def predict(self, seconds: int) -> str:
        ctypes.PyDLL(None).sleep(seconds)  # a PyDLL keeps the GIL: no other thread of Python runs
        return "done"
"""


def model(folder: Path, name: str, source: str) -> str:
    place = folder / name
    place.mkdir()
    (place / "predict.py").write_text(source)
    return f"test/{name}={place}"


def went_silent(server: Server) -> bool:
    assert server.command is not None
    return any("nothing heard" in line or "does not read" in line for line in server.command.lines)


def test_a_predictor_that_holds_the_gil_for_longer_than_the_silence_costs_no_connection(
    serve: Callable[..., Server], work: Callable[..., Agent], tmp_path: Path
) -> None:
    """Promise 3: a busy worker is not a silent one."""
    server = serve(*SILENCE)
    agent = work(server, model(tmp_path, "grip", GRIP)).ready()
    calls = server.calls()
    began = time.monotonic()
    id = calls.create("test/grip", {"seconds": 3})["id"]
    ended = calls.ended(id)
    assert (ended["output"], time.monotonic() - began > 3) == ("done", True)
    assert "attempts" not in ended
    assert not went_silent(server)
    assert sum("connected to" in line for line in agent.command.lines) == 1
