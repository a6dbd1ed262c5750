"""A runner in front of a small Cog server, with short pauses, and all that it tells."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from coordinator.protocol.addresses import AddressRules
from gpu_agent.container import runner as runner_module
from gpu_agent.container import watch as watch_module
from gpu_agent.container.api import CogApi
from gpu_agent.container.receiver import Receiver
from gpu_agent.container.runner import ContainerRunner
from gpu_agent.fetch import Fetcher
from gpu_agent.runner_types import Loaded, Result, Update
from gpu_agent.source import Listener
from gpu_agent.tls import client_context
from tests.support.cog_shapes import CogShape, Shape, cog_shape

TLS = client_context()
MOST_BYTES = 10_000_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "WAITING_LOOK_S", 0.01)
    monkeypatch.setattr(watch_module, "IDLE_LOOK_S", 0.05)
    monkeypatch.setattr(watch_module, "FIRST_BUSY_S", 0.01)
    monkeypatch.setattr(runner_module, "ASYNC_LOOK_S", 0.05)
    monkeypatch.setattr(runner_module, "WEBHOOK_S", 0.2)
    monkeypatch.setattr(runner_module, "BUSY_PAUSES_S", (0.01, 0.01, 0.01))


class Rig:
    """One runner on one server."""

    def __init__(self, cog: CogShape, folder: Path, stack: AsyncExitStack) -> None:
        self.cog = cog
        self.scratch = folder / "work"
        self.said: list[str] = []
        self.updates: list[Update] = []
        self.reloaded: list[Loaded] = []
        fetcher = Fetcher(AddressRules(("127.0.0.0/8",)), TLS, limit_bytes=MOST_BYTES, limit_s=10.0)
        stack.push_async_callback(fetcher.close)
        self.runner = ContainerRunner(
            name="me/model",
            api=CogApi(cog.url, TLS, answer_bytes=MOST_BYTES),
            receiver=Receiver(body_bytes=MOST_BYTES),
            fetcher=fetcher,
            scratch=self.scratch,
            work_dir=folder / "out",
            slots=1,
            listener=Listener(self.said.append, lambda: None, self.reloaded.append),
        )

    async def start(self) -> Loaded:
        return await asyncio.wait_for(self.runner.start(), 10)

    async def predict(self, id: str = "p-1", **given: Any) -> Result:
        return await asyncio.wait_for(self.begin(id, **given), 10)

    def begin(
        self, id: str = "p-1", *, timeout_s: float | None = None, **given: Any
    ) -> "asyncio.Task[Result]":
        call = self.runner.predict(id, given, self.updates.append, timeout_s=timeout_s, context={"id": "p"})
        return asyncio.create_task(call)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - of another process, mostly
                await asyncio.sleep(0.005)

    async def told(self, text: str) -> None:
        """Wait for a line with this text in it."""
        await self.until(lambda: any(text in line for line in self.said))

    def input_file(self, id: str, name: str, content: bytes) -> str:
        """A file as it was fetched for a prediction."""
        path = self.scratch / id / "0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    @property
    def logs(self) -> str:
        return "".join(update.logs for update in self.updates)

    @property
    def items(self) -> list[Any]:
        return [item.value for update in self.updates for item in update.items]


On = Callable[[Shape], Awaitable[Rig]]


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[On]:
    """Make a runner for a server of a generation."""
    async with AsyncExitStack() as stack:

        async def make(shape: Shape) -> Rig:
            rig = Rig(await stack.enter_async_context(cog_shape(shape)), tmp_path, stack)
            stack.push_async_callback(rig.runner.stop, 1.0)
            return rig

        yield make
