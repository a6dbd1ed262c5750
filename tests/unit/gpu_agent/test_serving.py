"""A model that the agent serves, with real runner processes."""

import asyncio
import logging
import sys
from pathlib import Path

import pytest

from gpu_agent.choice import Choice
from gpu_agent.model_dir import ModelDir
from gpu_agent.serving import Serving
from gpu_agent.source import FolderSource

SOURCE = """\
import os
class Predictor:
    def healthcheck(self) -> bool:
        return not os.path.exists("unwell")

    def predict(self) -> str:
        return "well"
"""


async def test_a_model_that_is_not_well_gets_no_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "predict.py").write_text(SOURCE)
    changed = asyncio.Event()
    serving = Serving(
        name="me/m",
        source=FolderSource(
            Choice(ModelDir.read(tmp_path / "model"), sys.executable, "own", "cogflare agent"),
            setup_timeout_s=20.0,
        ),
        version="",
        work_dir=tmp_path / "work",
        processes=1,
        loaded=lambda *_: changed.set(),
        changed=changed.set,
        health_interval_s=0.01,
    )

    async def until(free: int) -> None:
        async with asyncio.timeout(10):
            while serving.free != free:
                changed.clear()
                await changed.wait()

    running = asyncio.create_task(serving.run())
    with caplog.at_level(logging.INFO, "cogflare.agent"):
        await until(1)
        (tmp_path / "model" / "unwell").touch()
        await until(0)
        (tmp_path / "model" / "unwell").unlink()
        await until(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    said = [record.getMessage() for record in caplog.records]
    reason = "user-defined healthcheck returned False"
    assert f"me/m: gets no work, it says that it is not well: {reason}" in said
    assert "me/m: is well again" in said
