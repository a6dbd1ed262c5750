"""What every cog-server is made of but its models, put together and taken apart.

starting ──ready──▶ serving ──leave──▶ draining ──all has ended, or time is up──▶ gone
"""

import asyncio
import contextlib
import gc
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from coordinator.protocol.addresses import AddressRules
from gpu_agent.declared import Declared
from gpu_agent.server.engine import Engine
from gpu_agent.server.health import VERSIONS
from gpu_agent.server.history import Book
from gpu_agent.server.input_files import HandOver, InputFiles
from gpu_agent.server.orders import DoorOf, Order
from gpu_agent.server.outgoing import Outgoing, open_rules
from gpu_agent.server.output_files import OutputFiles
from gpu_agent.server.prediction import Prediction
from gpu_agent.server.predictions import Predictions, Served, Tools
from gpu_agent.server.settings import CogServerSettings
from gpu_agent.server.webhooks import Webhooks

log = logging.getLogger("cogflare.cog_server")

KUBERNETES_READY_FILE = Path("/var/run/cog/ready")
GC_ALLOCATIONS = 20_000
LAST_WEBHOOKS_S = 10.0
"""What the webhooks of predictions that were canceled at the end of the drain have."""


class Service(ABC):
    """``open`` when the server listens, ``drain`` and ``close`` at the end."""

    nouns: Mapping[str, str]
    """What there is below which path."""
    elsewhere: str
    """What to say to who asks for what another server has."""
    page: bytes
    """For people."""

    def __init__(self, settings: CogServerSettings, *, door_of: DoorOf, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.leaving = asyncio.Event()
        """Set to have the server end, after what it has accepted."""
        self.hurry = asyncio.Event()
        """Set to have it end without waiting for that."""
        self._door_of = door_of
        self._user_agent = settings.user_agent or f"cogflare-cog-server/{VERSIONS['cogflare']}"
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
        self._tools = Tools(settings.limits, self._webhooks, self._outputs, say)
        self._ready_file = settings.ready_file
        if self._ready_file is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            self._ready_file = KUBERNETES_READY_FILE
        self._say_unready()

    # --- what requests ask ------------------------------------------------------------------------------

    @abstractmethod
    async def open(self) -> None:
        """Returns when predictions are served, or when it is known that there will be none."""

    @abstractmethod
    def book(self, noun: str) -> Book:
        """All predictions, or trainings, by id. Raises ``Refused`` when there are none, or none yet."""

    @abstractmethod
    def line(self, noun: str, context: Mapping[str, str]) -> Predictions:
        """The predictions of the model that a request is for. Raises ``Refused``."""

    @abstractmethod
    async def create(self, line: Predictions, order: Order) -> tuple[Prediction, Predictions]:
        """Take an order for a line on, and say which line it really is in. Raises ``Refused``, also when
        nothing is taken on at this time."""

    @abstractmethod
    async def health(self) -> bytes:
        """What ``/health-check`` says."""

    @abstractmethod
    def document(self, query: Mapping[str, str]) -> bytes:
        """What ``/openapi.json`` says. Raises ``Refused`` when there is nothing to say yet."""

    @abstractmethod
    def routes(self) -> dict[str, str]:
        """What the discovery document says of them."""

    @property
    @abstractmethod
    def failed(self) -> bool:
        """The server ends with an exit code that says so."""

    # --- for the models ---------------------------------------------------------------------------------

    def _served(
        self,
        engine: Engine,
        document: Mapping[str, Any],
        slots: int,
        folder: Path,
        hand_over: HandOver | None = None,
    ) -> Served:
        limits = self.settings.limits
        inputs = InputFiles(
            Declared(document),
            folder,
            self._rules,
            limit_bytes=limits.input_bytes,
            limit_s=limits.input_s,
            hand_over=hand_over,
        )
        names = document["components"]["schemas"]["Input"].get("properties", {}).keys()
        return Served(engine, self._door_of(document), names, inputs, slots)

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
        for book in self._books():
            book.cancel_all()
        # A canceled prediction ends within its grace, as the model's process is killed then.
        await asyncio.wait((finishing,), timeout=self.settings.limits.cancel_grace_s + LAST_WEBHOOKS_S)
        finishing.cancel()

    async def _finish(self) -> None:
        for book in self._books():
            await book.finish()
        await self._webhooks.finish()

    @abstractmethod
    def _books(self) -> Iterable[Book]: ...

    @abstractmethod
    async def _close_models(self) -> None:
        """Cut off what still runs."""

    async def close(self) -> None:
        """End everything. What still runs is cut off."""
        await self._close_models()
        await self._webhooks.finish(0.0)
        await self._client.close()
        await self._operators.close()


def tune_interpreter() -> None:
    """What was imported and built stays for good: keep the collector from walking it again and again, and let
    it look at what requests leave behind less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)
