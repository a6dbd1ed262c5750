"""The trainings of one model on this machine: one at a time, beside its predictions, within the same slots.

A trainable model has two channels to the server: its own, and one named by ``training_queue``. The second is
there once the model is loaded, for only then is it known what its trainings take.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from coordinator.protocol.names import training_queue
from gpu_agent.declared import Declared
from gpu_agent.source import Predicts, Source
from gpu_agent.spool import Served
from gpu_agent.trainer import Trainer

log = logging.getLogger("cogflare.agent")


class Training:
    """What a channel has its trainings run by. ``run`` it as a task; ``load`` says what they take."""

    ready = True
    """A process is made for each training."""

    def __init__(self, name: str, source: Source, work_dir: Path) -> None:
        self.name = training_queue(name)
        self.declared = Declared({})
        self._trainer = Trainer(
            lambda: source.trainer(work_dir, lambda line: log.info("[%s] %s", self.name, line.rstrip("\n"))),
            source.explain,
        )
        self._busy = False
        self._loaded = False

    def load(self, document: dict[str, Any], served: Served) -> Served:
        """The model is loaded, as ``served``; gives what its trainings are served as."""
        self.declared = Declared(document)
        self._loaded = True
        return replace(served, model=self.name, concurrency=1)

    @property
    def free(self) -> int:
        """How many more trainings could start now."""
        return int(self._loaded and not self._busy)

    def take(self) -> Trainer | None:
        """What runs one; ``give`` it back. None when it is taken."""
        if not self.free:
            return None
        self._busy = True
        return self._trainer

    def setup_of(self, trainer: Predicts) -> tuple[int, int] | None:
        """None: a process's setup is a part of its training."""
        return None

    def give(self, trainer: Predicts) -> None:
        """The training that it was taken for has left it."""
        self._busy = False

    async def run(self) -> None:
        """Wait until cancelled, then end what runs."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._trainer.stop()
