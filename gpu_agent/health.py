"""Asks a model's own healthcheck, by the FIFO and the files of its process."""

# Plain strings, as everywhere in what the parent of a model's process writes and reads.
# ruff: noqa: PTH108

import asyncio
import contextlib
import json
import os
from pathlib import Path

from gpu_agent.answers import read_answer

LIMIT_S = 5.0
"""What Cog gives a healthcheck."""


class HealthQuestions:
    """Those who ask while a check runs share its answer."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._fifo = os.open(f"{folder}/healthcheck", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._asked = 0
        self._answer: asyncio.Future[str | None] | None = None

    async def ask(self) -> str | None:
        """None when the model is well, else why it is not. Cancelling is safe."""
        if self._answer is None:
            if self._fifo < 0:
                return "the model's process has ended"
            self._asked += 1
            self._answer = asyncio.get_running_loop().create_future()
            with contextlib.suppress(BlockingIOError):  # full of questions that nobody answers
                os.write(self._fifo, b"%d\n" % self._asked)
        try:
            async with asyncio.timeout(LIMIT_S):
                return await asyncio.shield(self._answer)
        except TimeoutError:
            self._answer = None  # who asks next asks anew
            return f"the healthcheck took longer than {LIMIT_S:g} s"

    def look(self) -> None:
        """Read the answer if it is there."""
        if self._answer is None:
            return
        path = f"{self._folder}/health-{self._asked}.json"
        try:
            found = json.loads(read_answer(Path(path)))
            reason = None if found["healthy"] else str(found["error"])
        except FileNotFoundError:
            return
        except (OSError, LookupError, TypeError, ValueError):
            reason = "the answer to the healthcheck cannot be read"
        with contextlib.suppress(OSError):
            os.unlink(path)
        self._resolve(reason)

    def _resolve(self, reason: str | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(reason)

    def close(self) -> None:
        """The process is gone. Idempotent."""
        if self._fifo >= 0:
            os.close(self._fifo)
            self._fifo = -1
        self._resolve("the model's process has ended")
