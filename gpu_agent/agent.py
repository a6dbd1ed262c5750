"""The agent: its models, its slots and its one connection, from start to drain.

``run`` returns the process's exit code. ``drain`` is what a first SIGTERM asks for, ``leave`` a second.
"""

import asyncio
import contextlib
import logging
import secrets
import ssl
import time
from collections.abc import Coroutine, Mapping
from importlib import metadata
from typing import Any

import msgspec

from coordinator.protocol.addresses import AddressRules
from coordinator.protocol.agent_session import ToChannel
from coordinator.protocol.messages import OLDEST, VERSION, Gpu, Hello, Welcome
from coordinator.protocol.traces import Tell
from gpu_agent.channel import ModelChannel
from gpu_agent.connection import Connection
from gpu_agent.fetch import Fetcher
from gpu_agent.inputs import Inputs
from gpu_agent.serving import Serving
from gpu_agent.settings import AgentSettings
from gpu_agent.sharing import Sharing
from gpu_agent.slots import Slots
from gpu_agent.source import Source
from gpu_agent.spool import Kept, Served, Spool
from gpu_agent.state_dir import StateDir
from gpu_agent.trainer import training_document
from gpu_agent.training import Training
from gpu_agent.transfer import Transfer
from gpu_agent.work import Tools

log = logging.getLogger("cogflare.agent")

SWEEP_S = 1.0
"""How often what may have been lost is looked after. Everything that matters is told at once, without it."""
FLUSH_S = 5.0


class Agent:
    """Serves ``models`` (by name) to one server, with what it keeps in ``state``."""

    def __init__(
        self,
        settings: AgentSettings,
        models: Mapping[str, Source],
        state: StateDir,
        tls: ssl.SSLContext,
        gpus: tuple[Gpu, ...] = (),
        tell: Tell | None = None,
    ) -> None:
        """``tell`` takes the spans of attempts that somebody traces."""
        self._settings = settings
        self._state = state
        self._slots = Slots(settings.slots or max(each.concurrency for each in models.values()))
        self._spool = Spool(state.spool)
        self._waiting: list[Kept] = []
        self._fetcher = Fetcher(
            AddressRules(settings.allow_private),
            tls,
            limit_bytes=settings.input_bytes,
            limit_s=settings.input_s,
        )
        self._transfer = Transfer(
            settings.base_url,
            tls,
            input_bytes=settings.input_bytes,
            input_s=settings.input_s,
            upload_s=settings.upload_s,
        )
        self._tools = Tools(
            inputs=Inputs(own=self._transfer, world=self._fetcher, base_url=settings.base_url),
            transfer=self._transfer,
            spool=self._spool,
            scratch=state.work,
            tell=tell,
        )
        self._connection = Connection(
            base_url=settings.base_url,
            token=settings.token,
            hello=Hello(
                protocol=VERSION,
                agent=state.agent,
                incarnation=secrets.token_hex(8),
                name=settings.agent_name,
                slots=self._slots.total,
                software=f"cogflare/{metadata.version('cogflare')}",
                oldest=OLDEST,
                gpus=gpus,
            ),
            listener=self,
            tls=tls,
        )
        self._servings = [
            Serving(
                name=name,
                source=source,
                version=settings.version,
                work_dir=state.work / f"model-{number}",
                processes=settings.slots or source.concurrency,
                loaded=self._on_loaded,
                changed=self._on_change,
                retries=settings.retries,
            )
            for number, (name, source) in enumerate(models.items())
        ]
        self._trainings = {
            name: Training(name, source, state.work / f"training-{number}")
            for number, (name, source) in enumerate(models.items())
            if source.trains and not settings.no_trainings
        }
        """By the model's name."""
        self._sharing: Sharing[ModelChannel] = Sharing()
        self._channels: dict[str, ModelChannel] = {}
        self._numbers: dict[int, ModelChannel] = {}
        now = time.time_ns() // 1000
        for serving in self._servings:
            announced = serving.announced
            if announced.version:  # else it is known only when the model is loaded
                self._channels[serving.name] = self._channel(announced, loading_since=now)
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self) -> int:
        """Serve until told to leave: 0 when everything was delivered, 1 when something was given back.

        Raises an ``ExceptionGroup`` of what refuses a predictor for good.
        """
        self._waiting = await asyncio.to_thread(self._spool.load)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                services = [self._connection.run(), self._sweep(), *(each.run() for each in self._servings)]
                services += [each.run() for each in self._trainings.values()]
                forever = [group.create_task(service) for service in services]
                await self._draining.wait()
                clean = await self._finish_work()
                for channel in self._channels.values():
                    channel.give_back()
                await self._connection.close(FLUSH_S)
                for task in (*forever, *self._tasks):
                    task.cancel()
            return 0 if clean else 1
        finally:
            self._group = None
            await self._connection.close(0.0)
            await self._fetcher.close()
            await self._transfer.close()

    def drain(self) -> None:
        """Take nothing new, finish and deliver what is here, then leave. Again: leave at once."""
        if self._draining.is_set():
            log.warning("leaving now; what runs is given back, finished results stay on disk")
            self._over.set()
            return
        log.info("draining: nothing new is taken; a second signal gives back what runs")
        self._slots.draining = True
        self._draining.set()
        self._on_change()

    # --- what the connection tells ------------------------------------------------------------------------

    def connected(self, welcome: Welcome) -> None:
        self._restore(welcome.server)
        self._numbers.clear()
        for model, channel in list(self._channels.items()):
            if channel.useful:
                channel.open()
            else:
                del self._channels[model]

    def disconnected(self) -> None:
        self._sharing.forget_demand()
        for channel in self._channels.values():
            channel.suspend()

    def received(self, message: ToChannel) -> None:
        channel = self._numbers.get(message.channel)
        if channel is not None and channel.number == message.channel:
            channel.received(message)

    def writable(self) -> None:
        for channel in self._channels.values():
            channel.flush()

    # --- what its own parts tell --------------------------------------------------------------------------

    def _on_loaded(self, serving: Serving, served: Served) -> None:
        channel = self._channels.get(served.model)
        if channel is None:
            channel = self._channels[served.model] = self._channel(served)
        channel.serve(serving, served)
        self._serve_trainings(served)

    def _serve_trainings(self, model: Served) -> None:
        """Of a model that is loaded, if it can be trained."""
        training = self._trainings.get(model.model)
        if training is None:
            return
        document = training_document(msgspec.json.decode(model.openapi_schema))
        if document is None:
            return
        served = training.load(document, model)
        channel = self._channels.get(served.model)
        if channel is None:
            channel = self._channels[served.model] = self._channel(served)
        channel.serve(training, served)

    def _on_change(self) -> None:
        """A slot, a runner or an attempt changed."""
        for channel in self._channels.values():
            channel.offer()
        if self._slots.draining and not any(channel.works for channel in self._channels.values()):
            self._over.set()

    # --- inside -------------------------------------------------------------------------------------------

    def _offer(self, channel: ModelChannel) -> int:
        """How many slots are offered on this channel now."""
        rooms = {each: each.room for each in self._channels.values()}
        offers = self._sharing.offers(rooms, self._slots.free, time.monotonic())
        return offers.get(channel, 0)

    def _channel(self, served: Served, loading_since: int | None = None) -> ModelChannel:
        return ModelChannel(
            served=served,
            connection=self._connection,
            slots=self._slots,
            sharing=self._sharing,
            tools=self._tools,
            number=self._number,
            spawn=self._spawn,
            changed=self._on_change,
            offer=self._offer,
            shared=len(self._servings) + len(self._trainings) > 1,
            loading_since=loading_since,
        )

    def _number(self, channel: ModelChannel) -> int:
        """A channel number that was not used on this connection yet."""
        number = len(self._numbers)
        self._numbers[number] = channel
        return number

    def _restore(self, server: str) -> None:
        """Take over what earlier processes left for this server, also of models that are no longer served."""
        found = [kept for kept in self._waiting if kept.server == server]
        self._waiting = [kept for kept in self._waiting if kept.server != server]
        for kept in found:
            for record in kept.records:
                served = kept.models.get(record.model)
                if record.model not in self._channels and served is not None:
                    self._channels[record.model] = self._channel(served)
                channel = self._channels.get(record.model)
                if channel is not None and served is not None:
                    channel.stand_in(served)
                if channel is None:
                    log.warning("a kept result of %s cannot be delivered: its model is unknown", record.model)
                    continue
                log.info("%s %s: delivering a kept result", record.model, record.finished.prediction)
                channel.restore(server, record)

    async def _finish_work(self) -> bool:
        """Wait until all is delivered (True), or the time is over or a second signal came (False)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                await self._over.wait()
        return not any(channel.works for channel in self._channels.values())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for channel in self._channels.values():
                channel.sweep()

    def _spawn(self, life: Coroutine[Any, Any, None]) -> None:
        """Run something beside the rest; the agent ends it when it leaves."""
        if self._group is None:
            life.close()
            return
        task = self._group.create_task(_guarded(life))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _guarded(life: Coroutine[Any, Any, None]) -> None:
    try:
        await life
    except Exception:
        log.exception("unexpected error")
