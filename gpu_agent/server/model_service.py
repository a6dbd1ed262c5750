"""One model: its predictions, and its trainings if it can be trained."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from gpu_agent.server.docs_page import MODEL_PAGE
from gpu_agent.server.engine import Model, Workshop
from gpu_agent.server.health import health
from gpu_agent.server.history import Book
from gpu_agent.server.http import Refused
from gpu_agent.server.orders import DoorOf, Order
from gpu_agent.server.prediction import Prediction
from gpu_agent.server.predictions import Predictions, Served
from gpu_agent.server.service import Service, tune_interpreter
from gpu_agent.server.settings import CogServerSettings
from gpu_agent.trainer import Trainer, training_document


class ModelService(Service):
    """The model has begun already."""

    nouns = {"predictions": "prediction", "trainings": "training"}
    elsewhere = "this server runs one model, below /predictions; procedures need --procedure-mode"
    page = MODEL_PAGE

    def __init__(
        self,
        settings: CogServerSettings,
        workshop: Workshop,
        model: Model,
        *,
        door_of: DoorOf,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(settings, door_of=door_of, say=say)
        self._model = model
        self._lines: dict[str, tuple[Predictions, Book]] = {}
        """By noun; empty until the model is set up."""
        self._served_all: list[Served] = []
        self._document = b""
        self._workshop = workshop
        self._trainer = Trainer(lambda: workshop.runner("train", lambda line: say(f"{line}\n")))

    async def open(self) -> None:
        await self._model.set_up.wait()
        tune_interpreter()
        loaded = self._model.loaded
        if loaded is None:
            return
        self._document = msgspec.json.encode(loaded.schema)
        work_dir = self._workshop.work_dir
        model = self._served(self._model.engine, loaded.schema, loaded.concurrency, work_dir / "predictions")
        self._serve("prediction", model)
        document = training_document(loaded.schema)
        if document is not None:
            self._serve("training", self._served(self._trainer, document, 1, work_dir / "trainings"))
        self._say_ready()

    def _serve(self, noun: str, served: Served) -> None:
        book = Book(self.settings.limits)
        line = Predictions(noun, book=book, tools=self._tools)
        line.open(served)
        self._served_all.append(served)
        self._lines[noun] = (line, book)

    # --- what requests ask ------------------------------------------------------------------------------

    def _of(self, noun: str) -> tuple[Predictions, Book]:
        found = self._lines.get(noun)
        if found is not None:
            return found
        if noun == "training" and (self._model.loaded is not None or not self._workshop.model.train_ref):
            raise Refused(404, "this model cannot be trained")
        if self._model.problem:
            raise Refused(503, f"Setup has failed: {self._model.problem}")
        raise Refused(503, "Setup has not finished yet")

    def book(self, noun: str) -> Book:
        return self._of(noun)[1]

    def line(self, noun: str, context: Mapping[str, str]) -> Predictions:
        return self._of(noun)[0]

    async def create(self, line: Predictions, order: Order) -> tuple[Prediction, Predictions]:
        if self.leaving.is_set():
            raise Refused(503, "the server is shutting down")
        if line.noun == "prediction" and self._model.state == "defunct":
            raise Refused(503, "the model is defunct: its process failed several times in a row")
        return await line.create(order), line

    async def health(self) -> bytes:
        line, _ = self._lines.get("prediction", (None, None))
        return await health(self._model, line)

    def document(self, query: Mapping[str, str]) -> bytes:
        if not self._document:
            self._of("prediction")  # which says why there is none
        return self._document

    def routes(self) -> dict[str, str]:
        found = {
            "predictions_url": "/predictions",
            "predictions_idempotent_url": "/predictions/{prediction_id}",
            "predictions_cancel_url": "/predictions/{prediction_id}/cancel",
        }
        if "training" in self._lines:
            found["trainings_url"] = "/trainings"
            found["trainings_idempotent_url"] = "/trainings/{training_id}"
            found["trainings_cancel_url"] = "/trainings/{training_id}/cancel"
        return found

    @property
    def failed(self) -> bool:
        return bool(self._model.problem)

    # --- the end ----------------------------------------------------------------------------------------

    def _books(self) -> Iterable[Book]:
        return [book for _, book in self._lines.values()]

    async def _close_models(self) -> None:
        for line, _ in self._lines.values():
            await line.stop()
        await self._trainer.stop()
        for served in self._served_all:
            await served.inputs.close()
