"""One prediction on a Cog server, from its request to its end: what is sent, what comes back, in order."""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from gpu_agent.container.answers import Snapshot
from gpu_agent.container.growth import Growth
from gpu_agent.container.input_files import InputFiles
from gpu_agent.container.output_files import NotSent, OutputFiles, OutputRules
from gpu_agent.output import BadOutput
from gpu_agent.runner_types import FileOutput, Item, Result, Status, Update
from gpu_agent.running import now_us

PROGRESS = ("start", "output", "logs")
EVERYTHING = (*PROGRESS, "completed")


class Way(StrEnum):
    """How predictions are asked for.

    The answer to a held request is the end of the prediction, and a connection that is cut is the end of the
    server: so that is the way wherever it can be. Its webhooks tell progress alone, as some generations hold
    the answer back while they try to deliver the last one.
    """

    HELD_WITH_WEBHOOKS = "a held request, progress by webhooks"
    ASYNC = "respond-async, progress and end by webhooks"
    """Of the generation that refuses webhooks in held requests."""
    HELD = "a held request, without progress"

    @property
    def events(self) -> tuple[str, ...]:
        return {Way.HELD_WITH_WEBHOOKS: PROGRESS, Way.ASYNC: EVERYTHING, Way.HELD: ()}[self]


class Exchange:
    """Of one prediction. What it takes is told on, in order, by ``on_update``."""

    def __init__(
        self,
        id: str,
        *,
        inputs: InputFiles,
        outputs: OutputFiles,
        rules: OutputRules,
        on_update: Callable[[Update], None],
    ) -> None:
        self.id = id
        self.inputs = inputs
        self.began_us = now_us()
        self.webhook = ""
        self.heard = False
        """A webhook has come."""
        self.told_end: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        """The last webhook, where the end comes by one."""
        self.given_up = asyncio.Event()
        """Nobody waits for the server any longer."""
        self.cancel_asked = self.timed_out = self.stopped = False
        self.canceler: asyncio.Task[None] | None = None
        self.problem = ""
        """Why what the server sends cannot be used."""
        self._outputs = outputs
        self._rules = rules
        self._on_update = on_update
        self._growth = Growth()
        self._items: list[Any] = []
        self._files: list[FileOutput] = []
        self._turn = asyncio.Lock()
        self._over = False

    def order(
        self, given: dict[str, Any], context: Mapping[str, str] | None, events: tuple[str, ...]
    ) -> dict[str, Any]:
        """The body of the request."""
        order: dict[str, Any] = {"id": self.id, "input": given, "context": dict(context or {})}
        if events:
            order |= {"webhook": self.webhook, "webhook_events_filter": events}
        return order

    async def take(self, snapshot: Snapshot) -> None:
        """What a webhook says. What comes after the end is ignored."""
        async with self._turn:
            if not self._over:
                try:
                    await self._progress(snapshot)
                except BadOutput as error:
                    self.problem = self.problem or str(error)

    async def result(self, last: Snapshot, *, crashed: bool) -> Result:
        """How it ended. ``crashed`` tells that the server has lost the model's process with it."""
        async with self._turn:
            self._over = True
            output: Any = None
            files: tuple[FileOutput, ...] = ()
            try:
                await self._progress(last)
                if self._streams(last):
                    output = self._items if self._items or last.end == "succeeded" else None
                    files = tuple(self._files)
                elif last.end == "succeeded":
                    output, files = await self._outputs.take(last.output)
            except BadOutput as bad:
                self.problem = self.problem or str(bad)
            status: Status = last.end or "failed"
            error = last.error if status == "failed" else None
            code = ("runner_crashed" if crashed else "model_error") if status == "failed" else None
            return self._ended(status, error, code, output, files, logs=last.logs, metrics=last.metrics)

    def failed(self, error: str, code: str) -> Result:
        """How it ended without an answer that says it."""
        self._over = True
        return self._ended("failed", error, code, self._items or None, tuple(self._files))

    def _ended(
        self,
        status: Status,
        error: str | None,
        code: str | None,
        output: Any = None,
        files: tuple[FileOutput, ...] = (),
        *,
        logs: str = "",
        metrics: dict[str, Any] | None = None,
    ) -> Result:
        if self.timed_out:
            status, error, code = "failed", "the prediction took too long", "timeout"
        elif self.cancel_asked:
            status, error, code = "canceled", None, None
        elif self.problem:
            status, error, code = "failed", self.problem, "invalid_output"
        elif self.stopped:
            status, error, code = "failed", "the agent leaves", "runner_stopped"
        completed_us = now_us()
        took = (metrics or {}).get("predict_time")
        took_us = int(took * 1e6) if isinstance(took, int | float) and 0 <= took < 1e9 else None
        return Result(
            status,
            output,
            files,
            error=error,
            error_code=code,
            logs=logs or self._growth.logs,
            metrics=metrics if metrics is not None else self._growth.metrics,
            started_at=self.began_us if took_us is None else completed_us - took_us,
            completed_at=completed_us,
        )

    async def _progress(self, snapshot: Snapshot) -> None:
        logs = self._growth.take_logs(snapshot.logs)
        items = []
        if self._streams(snapshot):
            final = snapshot.end == "succeeded"
            for value in self._growth.new_items(snapshot.output):
                try:
                    items.append(await self._item(value, final=final))
                except NotSent:
                    break
        metrics = self._growth.take_metrics(snapshot)
        if items or logs or metrics:
            self._on_update(Update(tuple(items), logs, metrics))

    def _streams(self, snapshot: Snapshot) -> bool:
        """Whether the output is a list of what was yielded: by the model's document, or because only such
        outputs are shown before the end."""
        if self._rules.known:
            return self._rules.yields
        return bool(self._growth.items) or (snapshot.end is None and isinstance(snapshot.output, list))

    async def _item(self, value: Any, *, final: bool) -> Item:
        value, files = await self._outputs.take(value, item=True, final=final)
        self._growth.items += 1
        prefix = f"/{len(self._items)}"
        self._items.append(value)
        self._files += [
            FileOutput(prefix + file.pointer, file.path, file.name, file.content_type) for file in files
        ]
        return Item(value, files)
