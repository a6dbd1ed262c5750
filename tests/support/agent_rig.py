"""A whole agent with a real runner, in this process, on a state directory that outlives it."""

import asyncio
import sys
from pathlib import Path

import msgspec

from gpu_agent.agent import Agent
from gpu_agent.choice import Choice
from gpu_agent.model_dir import ModelDir
from gpu_agent.settings import AgentSettings
from gpu_agent.source import FolderSource
from gpu_agent.state_dir import open_state_dir
from gpu_agent.tls import client_context
from tests.support.wire_server import WireServer

TLS = client_context()

WORDS = """
import os
import time
from cog import BasePredictor, ConcatenateIterator, Input

class Predictor(BasePredictor):
    def predict(
        self, words: int = 2, hold: str = "", die: bool = False, wrong: bool = False
    ) -> ConcatenateIterator[str]:
        for number in range(words):
            print(f"word {number}")
            yield f"w{number} "
        while hold and not os.path.exists(hold):
            time.sleep(0.01)
        if die:
            os._exit(7)
        if wrong:
            raise ValueError("this is wrong")
        yield "end"
"""


class Rig:
    """One agent at a time, on a state directory that lasts."""

    def __init__(self, server: WireServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.agent: Agent | None = None
        self.task: asyncio.Task[int] | None = None
        self.state = None

    def start(self, *models: tuple[str, str], **settings) -> "Rig":
        read = {}
        for name, source in models or (("acme/words", WORDS),):
            place = self.folder / name.replace("/", "-")
            place.mkdir(exist_ok=True)
            (place / "predict.py").write_text(source)
            choice = Choice(ModelDir.read(place), sys.executable, "own", "cogflare agent")
            read[name] = FolderSource(choice, setup_timeout_s=20.0)
        chosen = AgentSettings(
            server=self.server.url,
            token="t",
            models=tuple(read),
            name="box",
            state=self.folder / "state",
            **{"allow_private": ("127.0.0.0/8",), **settings},
        )
        self.state = open_state_dir(chosen.state)
        self.agent = Agent(chosen, read, self.state, TLS)
        self.task = asyncio.create_task(self.agent.run())
        return self

    async def stop(self) -> None:
        """End the agent as a crash would: nothing is finished or told."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})
            self.state.release()
            self.task = None

    async def left(self) -> int:
        return await asyncio.wait_for(self.task, 20)


def value(raw: msgspec.Raw):
    return msgspec.json.decode(raw)
