"""Many models: each request names the source of its own, as in Cog's second generation."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gpu_agent.fetch import shown_url
from gpu_agent.server import times
from gpu_agent.server.docs_page import PROCEDURES_PAGE
from gpu_agent.server.engine import Engine
from gpu_agent.server.health import VERSIONS
from gpu_agent.server.history import Book
from gpu_agent.server.http import Refused
from gpu_agent.server.orders import DoorOf, Order
from gpu_agent.server.prediction import Prediction
from gpu_agent.server.predictions import Predictions, Served
from gpu_agent.server.procedures.cells import Cells, Lodging
from gpu_agent.server.procedures.document import DOCUMENT
from gpu_agent.server.procedures.places import Places
from gpu_agent.server.procedures.procedure import Procedure, Site
from gpu_agent.server.procedures.sources import Sources, source_url
from gpu_agent.server.service import Service, tune_interpreter
from gpu_agent.server.settings import CogServerSettings

log = logging.getLogger("cogflare.cog_server")

RUNNERS_PER_CPU = 4
"""As in Cog's second generation."""


class ProcedureService(Service):
    """Its procedures live below ``work_dir``."""

    nouns = {"procedures": "prediction"}
    elsewhere = "this server runs procedures: POST /procedures, with context.procedure_source_url"
    page = PROCEDURES_PAGE
    failed = False

    def __init__(
        self,
        settings: CogServerSettings,
        work_dir: Path,
        cells: Cells,
        *,
        door_of: DoorOf,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(settings, door_of=door_of, say=say)
        self._book = Book(settings.limits)
        sources = Sources(self._rules, settings.procedures, work_dir / "archives")
        self._site = Site(settings, cells, sources, self._serve, say)
        count = settings.procedures.max_runners or RUNNERS_PER_CPU * (os.cpu_count() or 1)
        self._places = Places(count, limits=settings.limits, make=self._make)
        self._began_at = times.now()

    async def open(self) -> None:
        tune_interpreter()
        self._say_ready()

    def _make(self, url: str) -> Procedure:
        return Procedure(url, shown_url(url), self._cold(), self._site)

    def _cold(self) -> Predictions:
        """The line of a procedure of which nothing is known yet."""
        return Predictions("prediction", book=self._book, tools=self._tools)

    def _serve(self, engine: Engine, document: Mapping[str, Any], slots: int, lodging: Lodging) -> Served:
        return self._served(engine, document, slots, lodging.inputs, lodging.own)

    # --- what requests ask ------------------------------------------------------------------------------

    def book(self, noun: str) -> Book:
        return self._book

    def line(self, noun: str, context: Mapping[str, str]) -> Predictions:
        procedure = self._places.get(source_url(context))
        return self._cold() if procedure is None else procedure.line

    async def create(self, line: Predictions, order: Order) -> tuple[Prediction, Predictions]:
        if self.leaving.is_set():
            raise Refused(503, "the server is shutting down")
        return await self._places.create(source_url(order.context), order, line.door)

    async def health(self) -> bytes:
        places = self._places
        document = {
            "status": "BUSY" if places.taken >= places.count else "READY",
            "setup": {
                "started_at": self._began_at,
                "completed_at": self._began_at,
                "status": "succeeded",
                "logs": "",
            },
            "version": VERSIONS,
            "concurrency": {"max": places.count, "current": min(places.count, places.taken)},
            "procedures": [
                {"url": each.name, "status": each.status, "uses": each.uses, "since": each.since}
                for each in places.all()
            ],
        }
        return msgspec.json.encode(document)

    def document(self, query: Mapping[str, str]) -> bytes:
        if "source" not in query:
            return DOCUMENT
        procedure = self._places.get(query["source"])
        if procedure is None or procedure.document is None:
            raise Refused(404, "no procedure of this source is set up")
        return msgspec.json.encode(procedure.document)

    def routes(self) -> dict[str, str]:
        return {
            "procedures_url": "/procedures",
            "procedures_idempotent_url": "/procedures/{prediction_id}",
            "procedures_cancel_url": "/procedures/{prediction_id}/cancel",
        }

    # --- the end ----------------------------------------------------------------------------------------

    def _books(self) -> Iterable[Book]:
        return (self._book,)

    async def _close_models(self) -> None:
        await self._places.close()
