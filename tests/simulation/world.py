"""One simulated world: a server, machines, clients and receivers, what happens to them, and what must hold.

``run(plan, folder)`` gives the history, or raises Broken with what was not kept. Nothing of it depends on the
machine that it runs on but through Python itself.
"""

import asyncio
import contextvars
import gc
import logging
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from coordinator.protocol.limits import ServerLimits, WireLimits
from coordinator.randomness import Randomness
from gpu_agent import agent as agent_module
from gpu_agent import channel, report, work
from gpu_agent import line as line_module
from tests.simulation.agent import PATCHES, Machine, Machines, Run
from tests.simulation.history import Asked, Broken, History
from tests.simulation.inline_sqlite import inline_sqlite
from tests.simulation.loop import PROCESS, Endless, Process, ProcessClock, SimLoop, Stuck
from tests.simulation.network import Cut, End, Network
from tests.simulation.plan import MODELS, Fault, Plan, Request
from tests.simulation.server import HOST, Answer, Ask, Server
from tests.support.control_store import open_store

LIMITS = ServerLimits(
    queue_window=8,
    lease_s=10.0,
    wait_s=10.0,
    call_s=10.0,
    idle_s=20.0,
    quarantine_s=10.0,
    queue_s=36_000.0,
    webhook_s=5.0,
)
WIRE = WireLimits(beat_s=2.0, silence_s=6.0)
RESTART_S = (0.2, 3.0)
"""What a supervisor takes to start what has ended."""
CLIENT_S = 20.0
"""What a client waits for an answer before it asks again."""
AGAIN_S = (0.2, 4.0)
LOOK_S = (0.5, 10.0)
CALM_S = 1800.0
"""Longest time that all may take to come to its end, once nothing more goes wrong."""
MANY = 8
"""Predictions of the one who has many, when shares are looked at."""
RECEIVER = "receiver"
VERSIONS = {model: f"{number}" * 64 for number, model in enumerate(MODELS, 1)}


class World:
    def __init__(self, plan: Plan, folder: Path, loop: SimLoop) -> None:
        self.plan = plan
        self.loop = loop
        self.chance = random.Random(f"world {plan.seed}")
        self.network = Network(loop, random.Random(f"network {plan.seed}"))
        self.history = History(LIMITS.lease_s, LIMITS.max_attempts)
        self.machines = Machines()
        self.processes: list[Process] = []
        self.faults: list[BaseException] = []
        self.receiver_down = False
        self.disk_slow_s = 0.0
        self.calm = False
        self._folder = folder
        self._starting: asyncio.Task[None] | None = None
        self._wall_ahead_s = 0.0
        self.server: Server
        loop.disk_s = self._disk_s

    def say(self, text: str) -> None:
        self.history.say(self.loop.time(), text)

    def _disk_s(self, process: Process) -> float:
        return self.chance.uniform(0, self.disk_slow_s) if process.name == HOST else 0.0

    # --- its parts ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        await self._begin()
        lives = [self._client(request) for request in self.plan.requests]
        lives += [self._suffer(fault) for fault in self.plan.faults]
        tasks = [asyncio.ensure_future(self._watched(life)) for life in lives]
        await self._until(lambda: self.loop.time() >= self.plan.length_s, self.plan.length_s)
        self._heal()
        over_at = self.loop.time() + CALM_S
        while not all(task.done() for task in tasks) or self.history.open:
            if self.loop.time() > over_at:
                break
            await self._until(lambda: False, 5.0)
            await self._look_at_all()
        self.history.all_over()
        self._rethrow()
        await self._index_agrees()
        await self._shares_are_fair()
        for task in tasks:
            task.cancel()

    async def _begin(self) -> None:
        secret = await self._tokens()
        receiver = self._process(Process(self.loop, RECEIVER))
        self.network.listen(RECEIVER, receiver, self._receive)
        await self._start_server()
        for number, machine in enumerate(self.plan.machines):
            one = Machine(
                self.loop,
                self.network,
                self._folder,
                number=number,
                token=secret,
                models={model: VERSIONS[model] for model in machine.models},
                slots=machine.slots,
                wire=WIRE,
                begun=self._begun,
            )
            self.machines.all[one.host] = one
            self._start_machine(one)

    async def _tokens(self) -> str:
        store = await open_store(self._folder / "control.db")
        _, secret = await store.tokens.create(name="gpu", scopes=("worker",))
        await store.close()
        return secret

    async def _start_server(self) -> None:
        self.server = Server(
            self.loop, self.network, self._folder, LIMITS, WIRE, lambda server: self._server_failed(server)
        )
        self.server.process.wall_ahead_s = self._wall_ahead_s
        self._process(self.server.process)
        self.say("the server starts")
        await self.server.start()
        self.history.outages.end(self.loop.time())

    def _server_failed(self, server: Server) -> None:
        self.say("the server's storage failed")
        self.loop.call_soon(self._kill_server, context=_outside())

    def _kill_server(self) -> None:
        if self.server.process.alive:
            self.history.outages.begin(self.loop.time())
            self.server.process.kill()
            self._restart_server()

    def _restart_server(self) -> None:
        if self._starting is None or self._starting.done():
            self._starting = self.loop.create_task(self._again(), context=_outside())

    async def _again(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(*RESTART_S))
            starting = self.loop.create_task(self._start_server())
            await asyncio.sleep(0)
            ended = asyncio.Event()
            self.server.process.at_end.append(ended.set)
            ending = self.loop.create_task(ended.wait())
            await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            if starting.done():
                return starting.result()
            starting.cancel()

    def _go_on(self) -> None:
        self.server.process.go_on()
        if self.server.process.alive:
            self.history.outages.end(self.loop.time())

    def _start_machine(self, machine: Machine) -> None:
        machine.start()
        self._process(machine.process)
        self.say(f"{machine.host} starts")

    def _process(self, process: Process) -> Process:
        self.processes.append(process)
        return process

    def _begun(self, run: Run) -> None:
        self._noted(partial(self.history.begun, run, self.machines.all.values(), self.loop.time()))

    def _noted(self, note: Callable[[], object]) -> None:
        """Write down, where an exception would only be that of the process that is looked at."""
        try:
            note()
        except Broken as broken:
            self.faults.append(broken)

    def _rethrow(self) -> None:
        if self.faults:
            raise self.faults[0]

    async def _watched(self, life: Any) -> None:
        try:
            await life
        except Broken as broken:
            self.faults.append(broken)

    async def _until(self, over: Callable[[], bool], at_most_s: float) -> None:
        end = self.loop.time() + at_most_s
        while not over() and self.loop.time() < end:
            self._rethrow()
            await asyncio.sleep(min(0.5, max(0.001, end - self.loop.time())))
        self._rethrow()

    # --- clients ------------------------------------------------------------------------------------------

    async def _client(self, request: Request) -> None:
        await asyncio.sleep(request.at_s)
        asked = Asked(
            key=request.key,
            account=request.account,
            model=request.model,
            input=request.input,
            webhook=f"http://{RECEIVER}/{request.key}" if request.webhook else "",
        )
        self.history.asked.append(asked)
        await self._create(asked)
        if request.cancel_after_s is not None:
            await asyncio.sleep(request.cancel_after_s)
            asked.canceled = True
            self.say(f"cancels {asked.id}")
            await self._asks(asked, "cancel")
        while asked.end is None:
            await asyncio.sleep(self.chance.uniform(*LOOK_S) * (6 if self.calm else 1))
            await self._asks(asked, "get")

    async def _create(self, asked: Asked) -> None:
        fields = {
            "model": asked.model,
            "input": msgspec.json.encode(asked.input),
            "webhook": asked.webhook,
            "webhook_events": ("start", "output", "completed"),
        }
        ask = Ask("create", asked.account, key=asked.key, fields=fields)
        while True:
            answer = await self._ask(ask)
            if answer is not None and answer.status == 201 and answer.document is not None:
                self.say(f"{asked.key} is {answer.document.id}")
                self.history.accepted(asked, answer.document)
                return
            if answer is not None and answer.status not in (429, 503):
                raise Broken(f"{asked.key} was refused with {answer.status} {answer.detail}")
            await asyncio.sleep(self.chance.uniform(*AGAIN_S))

    async def _asks(self, asked: Asked, verb: str) -> None:
        while True:
            answer = await self._ask(Ask(verb, asked.account, id=asked.id))
            if answer is not None and answer.status == 404:
                self.history.unknown(asked)
            if answer is not None and answer.status == 500:
                raise Broken(f"{verb} of {asked.id} met {answer.detail}")
            if answer is not None and answer.document is not None:
                return self.history.seen(asked, answer.document)
            await asyncio.sleep(self.chance.uniform(*AGAIN_S))

    async def _ask(self, ask: Ask) -> Answer | None:
        """None when no answer came: nobody knows what became of it."""
        try:
            async with asyncio.timeout(CLIENT_S):
                end = await self.network.connect("client", HOST, ask)
                answer: Answer = await end.receive()
                return answer
        except (TimeoutError, OSError):
            return None

    async def _look_at_all(self) -> None:
        """Ask for each once more; what has ended stays as it was."""
        for asked in self.history.asked:
            if asked.id and self.chance.random() < 0.2:
                await self._asks(asked, "get")

    async def _index_agrees(self) -> None:
        store = self.server.store
        for asked in self.history.asked:
            if asked.end is None:
                continue
            row = await store.index.get(asked.id, asked.account)
            if row is None or row.status is not asked.end.status:
                raise Broken(f"{asked.id} ended as {asked.end.status}, the index has {row and row.status}")

    async def _shares_are_fair(self) -> None:
        """Who has one prediction does not wait for all of somebody who has many."""
        many = [self._quick(f"many-{number}", "many") for number in range(MANY)]
        await asyncio.gather(*(self._create(asked) for asked in many))
        one = self._quick("one", "one")
        await self._create(one)
        begun = len(self._begun_of(many))
        await self._until(lambda: bool(self.history.runs[one.id]), CALM_S)
        slots = sum(machine.slots for machine in self.plan.machines)
        passed = len(self._begun_of(many)) - begun
        if not self.history.runs[one.id] or passed > slots:
            raise Broken(f"{one.id} waited for {passed} predictions of somebody who has {MANY}")

    def _quick(self, key: str, account: str) -> Asked:
        asked = Asked(key, account, MODELS[0], {"steps": 1, "end": "succeed", "deaf": False})
        self.history.asked.append(asked)
        return asked

    def _begun_of(self, some: list[Asked]) -> list[Asked]:
        return [asked for asked in some if self.history.runs[asked.id]]

    # --- receivers ----------------------------------------------------------------------------------------

    def _receive(self, end: End, hello: Any) -> None:
        self.loop.create_task(self._answers(end, *hello))

    async def _answers(self, end: End, url: str, headers: dict[str, str], body: bytes) -> None:
        with suppress(Cut):
            message = {name.lower(): value for name, value in headers.items()}["webhook-id"]
            self._noted(partial(self.history.heard, message, body))
            if not self.calm:
                await asyncio.sleep(self.chance.choice((0.0, 0.0, 0.5, 8.0)))
            fails = self.receiver_down or (not self.calm and self.chance.random() < 0.1)
            end.send(500 if fails else 200)
            if not fails:  # and whoever sent it still listens
                self._noted(partial(self.history.delivered, body))

    # --- faults -------------------------------------------------------------------------------------------

    async def _suffer(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        self.say(f"fault: {fault}")
        await FAULTS[fault.kind](self, fault, self.machines.all[f"gpu-{fault.machine}"])

    def _heal(self) -> None:
        self.say("calm")
        self.calm = True
        self.receiver_down = False
        self.disk_slow_s = 0.0
        self.server.storages.faults.clear()
        if self.server.process.stopped:
            self._go_on()
        self.network.heal()
        if not self.server.process.alive:
            self._restart_server()
        for machine in self.machines.all.values():
            machine.process.go_on()
            if not machine.process.alive:
                self._start_machine(machine)


# --- faults: what each does to the world --------------------------------------------------------------------


async def _kill_server(world: World, fault: Fault, machine: Machine) -> None:
    world._kill_server()


async def _stop_server(world: World, fault: Fault, machine: Machine) -> None:
    process = world.server.process
    process.stop()
    world.history.outages.begin(world.loop.time())
    await asyncio.sleep(fault.for_s)
    if process.stopped:
        world._go_on()


async def _leave_server(world: World, fault: Fault, machine: Machine) -> None:
    """A restart by SIGTERM. Its supervisor kills it when that takes too long."""
    server = world.server
    if not server.process.alive or not server.ready.is_set():
        return
    leaving = world.loop.create_task(server.leave(), context=_outside())
    await asyncio.wait((leaving,), timeout=15.0)
    world._kill_server()


async def _kill_agent(world: World, fault: Fault, machine: Machine) -> None:
    machine.process.kill()
    await _starts_again(world, machine, fault.for_s)


async def _unplug_agent(world: World, fault: Fault, machine: Machine) -> None:
    world.network.take_down(machine.host)
    machine.process.kill()
    await _starts_again(world, machine, fault.for_s)


async def _starts_again(world: World, machine: Machine, after_s: float) -> None:
    await asyncio.sleep(after_s)
    if not machine.process.alive:
        world._start_machine(machine)


async def _stop_agent(world: World, fault: Fault, machine: Machine) -> None:
    process = machine.process
    process.stop()
    await asyncio.sleep(fault.for_s)
    process.go_on()


async def _drain_agent(world: World, fault: Fault, machine: Machine) -> None:
    machine.drain()
    await asyncio.sleep(fault.for_s)
    machine.drain()
    await asyncio.sleep(fault.for_s)
    machine.process.kill()
    await _starts_again(world, machine, 0.5)


async def _cut(world: World, fault: Fault, machine: Machine) -> None:
    world.network.cut(machine.host, HOST)
    world.network.cut("client", HOST)


async def _part(world: World, fault: Fault, machine: Machine) -> None:
    world.network.part(machine.host, HOST)
    await asyncio.sleep(fault.for_s)
    world.network.join(machine.host, HOST)


async def _slow(world: World, fault: Fault, machine: Machine) -> None:
    world.network.slow(machine.host, HOST, True)
    await asyncio.sleep(fault.for_s)
    world.network.slow(machine.host, HOST, False)


async def _fail(world: World, fault: Fault, machine: Machine) -> None:
    world.server.storages.faults.append((fault.what, fault.done))


async def _slow_disk(world: World, fault: Fault, machine: Machine) -> None:
    world.disk_slow_s = 2.0
    await asyncio.sleep(fault.for_s)
    world.disk_slow_s = 0.0


async def _clock(world: World, fault: Fault, machine: Machine) -> None:
    """Somebody sets the wall clocks of the server and of a machine."""
    world._wall_ahead_s += fault.for_s
    world.server.process.wall_ahead_s = world._wall_ahead_s
    machine.process.wall_ahead_s -= fault.for_s


async def _receiver_down(world: World, fault: Fault, machine: Machine) -> None:
    world.receiver_down = True
    await asyncio.sleep(fault.for_s)
    world.receiver_down = False


FAULTS: dict[str, Any] = {
    "kill_server": _kill_server,
    "stop_server": _stop_server,
    "leave_server": _leave_server,
    "kill_agent": _kill_agent,
    "unplug_agent": _unplug_agent,
    "stop_agent": _stop_agent,
    "drain_agent": _drain_agent,
    "cut": _cut,
    "part": _part,
    "slow": _slow,
    "fail": _fail,
    "slow_disk": _slow_disk,
    "clock": _clock,
    "receiver_down": _receiver_down,
}


# --- the seams --------------------------------------------------------------------------------------------


def _outside() -> Any:
    """The context of no process."""
    return contextvars.Context()


def run(plan: Plan, folder: Path, told: Callable[[str], object] = lambda line: None) -> History:
    """Simulate it; ``told`` gets each line of the story. Raises Broken."""
    chance = random.Random(f"threads {plan.seed}")
    loop = SimLoop(chance)
    world = World(plan, folder, loop)
    world.history.told = told
    with _seams(world), _logged(world), _collected_at_the_end():
        try:
            loop.run_until_complete(world.run())
        except Stuck:
            raise Broken("everybody waits for something that nobody does") from None
        except Endless as error:
            raise Broken(f"it goes on and on: {error}") from None
        finally:
            for process in world.processes:
                process.kill()
            for task in asyncio.all_tasks(loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            loop.close()
            _bury(world.processes)
    return world.history


@contextmanager
def _collected_at_the_end() -> Iterator[None]:
    """What finalizers do is in no order that a seed decides: none runs meanwhile.

    Nor later, in a process that has turned collection off since it ends with this.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            logging.disable()
            gc.enable()
            gc.collect()
            logging.disable(logging.NOTSET)


@contextmanager
def _logged(world: World) -> Iterator[None]:
    """What the processes log is part of the story."""
    handler, log = _Log(world), logging.getLogger()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Log(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        process = PROCESS.get()
        if process is not None:
            self._world.say(f"  {process.name}: {record.getMessage()}")


def _bury(processes: list[Process]) -> None:
    """What they would say of their end is of no interest."""
    logging.disable()
    try:
        for process in processes:
            process.bury()
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _seams(world: World) -> Iterator[None]:
    """Clock, network and threads are the simulation's, and chance is the seed's."""
    clock = ProcessClock(world.loop)
    dice = random.Random(f"dice {world.plan.seed}")
    random.seed(world.plan.seed)
    with ExitStack() as stack:
        for module in (agent_module, channel, report, work):
            stack.enter_context(patch.object(module, "time", clock))
        for target, name, value in PATCHES:
            stack.enter_context(patch.object(target, name, value))
        stack.enter_context(patch.object(line_module, "connect", world.machines.connect))
        stack.enter_context(patch.object(secrets, "token_hex", lambda n=16: dice.randbytes(n).hex()))
        stack.enter_context(patch.object(Randomness, "take", lambda self, count: dice.randbytes(count)))
        stack.enter_context(inline_sqlite())
        yield
