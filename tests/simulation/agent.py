"""Machines: the shipped agent with its spool, on a simulated line, with models that do what they are told."""

import asyncio
import os
import random
import ssl
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import websockets
from websockets.datastructures import Headers
from websockets.frames import Close
from websockets.http11 import Response

from coordinator.protocol.limits import WireLimits
from gpu_agent import agent as shipped
from gpu_agent import connection as shipped_connection
from gpu_agent import line as shipped_line
from gpu_agent.runner_types import Item, Loaded, Result, SetupFailed, Update
from gpu_agent.settings import AgentSettings
from gpu_agent.source import Listener
from gpu_agent.state_dir import open_state_dir
from tests.simulation.loop import PROCESS, Process, SimLoop
from tests.simulation.network import Cut, End, Network
from tests.simulation.server import HOST

LOAD_S = (0.1, 5.0)
STEP_S = (0.05, 4.0)
KILL_S = 5.0
"""What a model takes to stop when it must be killed."""


class Run:
    """One execution of one attempt by one model."""

    def __init__(self, id: str, machine: "Machine", input: dict[str, Any], began_at: float) -> None:
        self.attempt_id = id
        self.prediction, _, number = id.rpartition("-")
        self.attempt = int(number)
        self.machine = machine
        self.process = machine.process
        self.input = input
        self.began_at = began_at
        self.heard_at: dict[str, float] = {}
        """When the server's host had last heard of each machine as it began."""
        self.ended = False
        self.stopping = False
        """It was told to stop: what it does now is of no use to anybody."""

    @property
    def active(self) -> bool:
        return not self.ended and not self.stopping and self.process.alive


class Machine:
    """One GPU machine with its agent. ``begun`` is told of each run of its model."""

    def __init__(
        self,
        loop: SimLoop,
        network: Network,
        folder: Path,
        *,
        number: int,
        token: str,
        models: Mapping[str, str],
        slots: int,
        wire: WireLimits,
        begun: Callable[[Run], None],
    ) -> None:
        """``models`` gives each name its version."""
        self.host = f"gpu-{number}"
        self.chance = random.Random(loop.chance.random())
        self.process = Process(loop, self.host)
        self.process.alive = False
        self.line: End | None = None
        """Its connection to the server, as long as that is the newest."""
        self.begun = begun
        self.loop = loop
        self._network = network
        self._folder = folder / self.host
        self._token = token
        self._models = models
        self._slots = slots
        self._wire = wire
        self._agent: shipped.Agent | None = None
        self.life: asyncio.Task[int] | None = None

    @property
    def heard_at(self) -> float:
        """When something of it last arrived at the server's host, read or not."""
        return 0.0 if self.line is None else self.line.other.last_heard_at

    def start(self) -> None:
        """Start the agent, as a new process."""
        if self.process.alive:
            return
        self._network.bring_up(self.host)
        wall_ahead_s = self.process.wall_ahead_s
        self.process = Process(self.loop, self.host)
        self.process.wall_ahead_s = wall_ahead_s
        self.life = self.process.spawn(self._live())

    def drain(self) -> None:
        """As by SIGTERM."""
        if self._agent is not None and self.process.alive:
            self.process.call(self._agent.drain)

    async def _live(self) -> int:
        state = open_state_dir(self._folder)
        self.process.at_end.append(lambda: os.close(state.lock))
        settings = AgentSettings(
            server=f"http://{HOST}", token=self._token, models=(), slots=self._slots, name=self.host
        )
        sources = {name: Source(self, version) for name, version in self._models.items()}
        self._agent = shipped.Agent(settings, sources, state, _tls())
        code = await self._agent.run()
        self.process.kill()
        return code

    async def connect(self, url: str, **options: Any) -> "Socket":
        """Stands in for ``websockets.connect``."""
        headers = [(k.lower().encode(), v.encode()) for k, v in options["additional_headers"].items()]
        hello = {"headers": headers, "subprotocols": list(options["subprotocols"]), "path": url}
        try:
            async with asyncio.timeout(options["open_timeout"]):
                end = await self._network.connect(self.host, HOST, hello)
                try:
                    kind, *said = await end.receive()
                except Cut:
                    raise EOFError("connection closed while reading HTTP status line") from None
        except TimeoutError:
            raise TimeoutError("timed out during opening handshake") from None
        if kind == "refused":
            status, raw = said
            end.close()
            names = Headers([(name.decode(), value.decode()) for name, value in raw])
            raise websockets.InvalidStatus(Response(status, "", names))
        self.line = end
        return Socket(end, said[0])


class Socket:
    """An open websocket, as the line uses it."""

    def __init__(self, end: End, subprotocol: str) -> None:
        self.subprotocol = subprotocol
        self._end = end

    async def recv(self) -> str:
        try:
            return str(await self._end.receive())
        except Cut as cut:
            raise _closed(cut) from None

    async def send(self, frame: bytes, text: bool = True) -> None:
        try:
            self._end.send(frame.decode())
        except Cut as cut:
            raise _closed(cut) from None
        await asyncio.sleep(0)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self._end.close((int(code), reason))


def _closed(cut: Cut) -> websockets.ConnectionClosedError:
    return websockets.ConnectionClosedError(None if cut.said is None else Close(*cut.said), None)


class Source:
    """A model: what its input says it does."""

    concurrency = 1
    trains = False

    def __init__(self, machine: Machine, version: str) -> None:
        self.version = version
        self._machine = machine

    def runner(self, work_dir: Path, listener: Listener) -> "Runner":
        return Runner(self._machine, listener)

    def explain(self, error: SetupFailed | OSError) -> str:
        return str(error)


class Order(msgspec.Struct):
    """What a client has a model do: so many steps, then an end."""

    steps: int = 1
    end: str = "succeed"
    """succeed, fail, or crash the process."""
    deaf: bool = False
    """It does not hear of cancels, and has to be killed."""


class Runner:
    """Runs a model in the place of a process: ``gpu_agent.source.ModelRunner``."""

    def __init__(self, machine: Machine, listener: Listener) -> None:
        self.ready = asyncio.Event()
        self._machine = machine
        self._listener = listener
        self._stops: dict[str, tuple[Run, asyncio.Event, float]] = {}

    async def start(self) -> Loaded:
        await asyncio.sleep(self._machine.chance.uniform(*LOAD_S))
        self.ready.set()
        return Loaded(
            schema={},
            concurrency=1,
            is_async=False,
            healthcheck=False,
            setup_logs="",
            started_at=0,
            completed_at=0,
        )

    async def predict(
        self,
        id: str,
        input: dict[str, Any],
        on_update: Callable[[Update], None],
        *,
        timeout_s: float | None = None,
        context: Mapping[str, str] | None = None,
    ) -> Result:
        machine = self._machine
        order = msgspec.convert(input, Order)
        run = Run(id, machine, input, machine.loop.time())
        stop = asyncio.Event()
        self._stops[id] = run, stop, KILL_S if order.deaf else 0.0
        machine.begun(run)
        try:
            return await self._run(run, order, stop, on_update)
        finally:
            run.ended = True

    async def _run(
        self, run: Run, order: Order, stop: asyncio.Event, on_update: Callable[[Update], None]
    ) -> Result:
        chance = self._machine.chance
        items = []
        for step in range(order.steps):
            try:
                async with asyncio.timeout(chance.uniform(*STEP_S)):
                    await stop.wait()
                return Result("canceled", output=items)
            except TimeoutError:
                items.append(f"{run.attempt_id} {step}")
                on_update(Update(items=(Item(items[-1]),), logs=f"step {step}\n"))
        if order.end == "crash":
            self.ready.clear()
            self._machine.loop.call_later(chance.uniform(*LOAD_S), self._back)
            return Result("failed", output=items, error="the process ended", error_code="runner_crashed")
        if order.end == "fail":
            return Result("failed", output=items, error=f"no: {run.attempt_id}", error_code="model_error")
        return Result("succeeded", output=items)

    def _back(self) -> None:
        self.ready.set()
        self._listener.changed()

    def cancel(self, id: str, grace_s: float) -> None:
        run, stop, takes_s = self._stops[id]
        run.stopping = True
        self._machine.loop.call_later(min(takes_s, grace_s), stop.set)

    def release(self, id: str) -> None:
        self._stops.pop(id, None)

    async def check_health(self) -> str | None:
        return None

    async def stop(self, grace_s: float) -> None:
        for _, stop, _ in self._stops.values():
            stop.set()


class Line(shipped_line.Line):
    """The shipped line without its thread."""

    def start(self) -> None:
        asyncio.ensure_future(self._lives())  # noqa: RUF006 - its process keeps it

    async def _lives(self) -> None:
        try:
            await self._live()
        finally:
            self._when_ended()


class Machines:
    """Which machine a process is of."""

    def __init__(self) -> None:
        self.all: dict[str, Machine] = {}

    async def connect(self, url: str, **options: Any) -> Socket:
        process = PROCESS.get()
        assert process is not None
        return await self.all[process.name].connect(url, **options)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


PATCHES: tuple[tuple[Any, str, Any], ...] = ((shipped_connection, "Line", Line),)
"""The seams of the agent where the simulation is put in (``world.py``)."""
