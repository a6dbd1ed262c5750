"""The parts of one cog-server, put together and taken apart: model, predictions, what leaves the machine.

starting ──model ready──▶ serving ──leave──▶ draining ──all has ended, or time is up──▶ gone
"""

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from coordinator.protocol.addresses import AddressRules
from gpu_agent.declared import Declared
from gpu_agent.server.engine import Engine, Model, Trainer, Workshop
from gpu_agent.server.health import VERSIONS
from gpu_agent.server.http import Refused
from gpu_agent.server.input_files import InputFiles
from gpu_agent.server.orders import DoorOf, Order
from gpu_agent.server.outgoing import Outgoing, open_rules
from gpu_agent.server.output_files import OutputFiles
from gpu_agent.server.predictions import Predictions, Tools
from gpu_agent.server.settings import CogServerSettings
from gpu_agent.server.webhooks import Webhooks

log = logging.getLogger("cogflare.cog_server")

KUBERNETES_READY_FILE = Path("/var/run/cog/ready")
GC_ALLOCATIONS = 20_000
LAST_WEBHOOKS_S = 10.0
"""What the webhooks of predictions that were canceled at the end of the drain have."""


class Service:
    """``open`` when the server listens, ``drain`` and ``close`` at the end. The model has begun already."""

    def __init__(
        self,
        settings: CogServerSettings,
        workshop: Workshop,
        model: Model,
        *,
        door_of: DoorOf,
        say: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.model = model
        self.predictions: Predictions | None = None
        """None until the model is set up."""
        self.trainings: Predictions | None = None
        self.document = b""
        """The model's OpenAPI document, once it is known."""
        self.leaving = asyncio.Event()
        """Set to have the server end, after what it has accepted."""
        self.hurry = asyncio.Event()
        """Set to have it end without waiting for that."""
        self._workshop = workshop
        self._door_of = door_of
        self._user_agent = settings.user_agent or f"cogflare-cog-server/{VERSIONS['cogflare']}"
        self._say = say
        rules = AddressRules(settings.allow_private) if settings.public_inputs_only else open_rules()
        self._rules = rules
        self._client = Outgoing(rules)
        self._operators = Outgoing(open_rules())
        self._webhooks = Webhooks(
            self._client,
            token=settings.webhook_token,
            user_agent=self._user_agent,
            interval_s=settings.limits.webhook_interval_s,
        )
        self._trainer = Trainer(workshop, say=say)
        self._inputs: list[InputFiles] = []
        self._ready_file = settings.ready_file
        if self._ready_file is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            self._ready_file = KUBERNETES_READY_FILE
        self._say_unready()

    async def open(self) -> None:
        """Serve predictions once the model is set up. Returns then, or when that has failed."""
        await self.model.set_up.wait()
        _tune_interpreter()
        loaded = self.model.loaded
        if loaded is None:
            return
        self.document = msgspec.json.encode(loaded.schema)
        self.predictions = self._made("prediction", self.model, loaded.schema, loaded.concurrency)
        schemas = loaded.schema.get("components", {}).get("schemas", {})
        if "TrainingInput" in schemas:
            inner = {
                **schemas,
                "Input": schemas["TrainingInput"],
                "Output": schemas.get("TrainingOutput", {}),
            }
            self.trainings = self._made("training", self._trainer, {"components": {"schemas": inner}}, 1)
        self._say_ready()

    def _made(self, noun: str, engine: Engine, document: Mapping[str, Any], slots: int) -> Predictions:
        limits = self.settings.limits
        inputs = InputFiles(
            Declared(document),
            self._workshop.work_dir / f"{noun}s",
            self._rules,
            limit_bytes=limits.input_bytes,
            limit_s=limits.input_s,
        )
        self._inputs.append(inputs)
        tools = Tools(limits, self._webhooks, self._outputs, self._say)
        names = document["components"]["schemas"]["Input"].get("properties", {}).keys()
        return Predictions(
            noun,
            engine=engine,
            door=self._door_of(document),
            input_names=names,
            inputs=inputs,
            slots=slots,
            tools=tools,
        )

    def _outputs(self, order: Order) -> OutputFiles:
        settings = self.settings
        return OutputFiles(
            order,
            client=self._client,
            operators=self._operators,
            upload_url=settings.upload_url,
            user_agent=self._user_agent,
            tries=settings.limits.upload_tries,
            try_s=settings.limits.upload_s,
        )

    def _say_ready(self) -> None:
        if self._ready_file is None:
            return
        try:
            self._ready_file.parent.mkdir(parents=True, exist_ok=True)
            self._ready_file.touch()
        except OSError as error:
            log.warning("%s cannot be made: %s", self._ready_file, error.strerror)

    def _say_unready(self) -> None:
        if self._ready_file is not None:
            with contextlib.suppress(OSError):
                self._ready_file.unlink(missing_ok=True)

    # --- what requests ask ------------------------------------------------------------------------------

    def of(self, noun: str) -> Predictions:
        """The predictions, or the trainings. Raises ``Refused`` when there are none, or none yet."""
        found = self.predictions if noun == "prediction" else self.trainings
        if found is not None:
            return found
        if noun == "training" and (self.model.loaded is not None or not self._workshop.model.train_ref):
            raise Refused(404, "this model cannot be trained")
        raise Refused(503, self._not_ready())

    def admitting(self, noun: str) -> Predictions:
        """The same, for a creation. Raises ``Refused`` also when nothing is taken on at this time."""
        if self.leaving.is_set():
            raise Refused(503, "the server is shutting down")
        found = self.of(noun)
        if noun == "prediction" and self.model.state == "defunct":
            raise Refused(503, "the model is defunct: its process failed several times in a row")
        return found

    def _not_ready(self) -> str:
        if self.model.problem:
            return f"Setup has failed: {self.model.problem}"
        return "Setup has not finished yet"

    # --- the end ----------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Wait for what was accepted, and for its webhooks, within ``drain_s``; cancel the rest."""
        self.leaving.set()
        self._say_unready()
        finishing = asyncio.create_task(self._finish(), name="drain")
        hurried = asyncio.create_task(self.hurry.wait())
        limit_s = self.settings.limits.drain_s
        await asyncio.wait((finishing, hurried), timeout=limit_s, return_when="FIRST_COMPLETED")
        hurried.cancel()
        if finishing.done():
            return
        for each in self._all():
            each.cancel_all()
        # A canceled prediction ends within its grace, as the model's process is killed then.
        await asyncio.wait((finishing,), timeout=self.settings.limits.cancel_grace_s + LAST_WEBHOOKS_S)
        finishing.cancel()

    async def _finish(self) -> None:
        for each in self._all():
            await each.finish()
        await self._webhooks.finish()

    def _all(self) -> list[Predictions]:
        return [each for each in (self.predictions, self.trainings) if each is not None]

    async def close(self) -> None:
        """End everything but the model. What still runs is cut off."""
        for each in self._all():
            await each.stop()
        await self._webhooks.finish(0.0)
        await self._trainer.stop()
        for inputs in self._inputs:
            await inputs.close()
        await self._client.close()
        await self._operators.close()


def _tune_interpreter() -> None:
    """What was imported and built stays for good: keep the collector from walking it again and again, and let
    it look at what requests leave behind less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)
