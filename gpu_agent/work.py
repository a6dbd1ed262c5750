"""One attempt on this agent, from its dispatch to the acknowledged result.

    running ──runner freed──▶ ending ──result on disk──▶ finished ──ack──▶ gone

Running: inputs are fetched, the runner predicts, each yielded item's files are stored and the item becomes an
event. Ending: the result's files are moved to the spool and stored; the slot may already serve the next one.
What the server is told of it, and how often, is the business of its report (report.py).
"""

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from coordinator.protocol.messages import Dispatch, Finished, Held, StoredFile, Trace, UploadTo, Welcome
from coordinator.protocol.messages import encode as encode_message
from coordinator.protocol.traces import Tell
from gpu_agent import disk
from gpu_agent.bookmark import Bookmark
from gpu_agent.declared import Declared
from gpu_agent.event_log import last_part
from gpu_agent.inputs import InputFailed, Inputs
from gpu_agent.output import BadOutput, fill, join, to_json
from gpu_agent.report import Report, Wire
from gpu_agent.runner_types import NEIGHBOUR, Item, NotTaken, Result, Update
from gpu_agent.source import Predicts
from gpu_agent.spool import LocalFile, Record, Served, Spool
from gpu_agent.trail import Trail
from gpu_agent.transfer import OutputFile, Transfer, UploadDenied, UploadFailed
from gpu_agent.verdict import (
    Status,
    local_file,
    metrics_of,
    timed_out,
    too_large,
    upload_code,
    verdict_of,
    without_output,
)

log = logging.getLogger("cogflare.agent")

ABORT_GRACE_S = 5.0
"""What a runner gets when its result is of no use any more."""

METRICS_BYTES = 64 * 1024
"""Metrics over this are only in the result."""


class Phase(StrEnum):
    RUNNING = "running"
    ENDING = "ending"
    FINISHED = "finished"


class Desk(Wire, Protocol):
    """The channel that an attempt belongs to."""

    served: Served

    async def grant(self, work: "Work", file: OutputFile, direct: bool, resume: str) -> UploadTo: ...
    async def part_bytes(self) -> int:
        """Larger files go in parts of so many bytes; 0 for none."""

    async def hand_back(self, work: "Work", why: NotTaken) -> None:
        """Have it run again, here or elsewhere, as if it had not begun."""

    def moved(self, work: "Work", before: Phase) -> None:
        """The attempt came to its next phase."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every attempt of an agent uses."""

    inputs: Inputs
    transfer: Transfer
    spool: Spool
    scratch: Path
    tell: Tell | None = None
    """What takes the spans of attempts that somebody traces."""


class _Canceled(Exception):
    pass


class Work:
    """One attempt. ``server`` is the one that dispatched it; its result is for no other."""

    def __init__(
        self,
        *,
        desk: Desk,
        tools: Tools,
        server: str,
        prediction: str,
        attempt: int,
        secret: str,
        started_at: int,
        limits: Welcome | None,
        trace: Trace | None = None,
    ) -> None:
        self.server = server
        self.key = (prediction, attempt)
        self.secret = secret
        self.started_at = started_at
        self.phase = Phase.RUNNING
        self.dropped = False
        self._desk = desk
        self._tools = tools
        about: dict[str, str | int] = {
            "cogflare.prediction": prediction,
            "cogflare.attempt": attempt,
            "cogflare.model": desk.served.model,
        }
        self.trail = Trail(tools.tell, trace, about)
        self._limits = limits
        self.report = Report(desk, self.key, limits.log_bytes if limits else 0)
        self._output_limit = min(limits.result_bytes, limits.frame_bytes // 2) if limits else 0
        self._output_bytes = 0
        self._streamed = False
        self._problem: tuple[str, str] | None = None
        self._cancel_grace_s: float | None = None
        self._scopes: set[asyncio.Timeout] = set()
        self._runner: Predicts | None = None
        self._updates: asyncio.Queue[Update | None] = asyncio.Queue()

    @property
    def id(self) -> str:
        """The attempt's name for the runner and in the file system."""
        return f"{self.key[0]}-{self.key[1]}"

    @property
    def ids(self) -> dict[str, Any]:
        """What its lines in a log are about."""
        prediction, attempt = self.key
        model, trace_id = self._desk.served.model, self.trail.trace_id
        return {"prediction": prediction, "attempt": attempt, "model": model, "trace_id": trace_id}

    def held(self) -> Held:
        """How an attach lists it."""
        return Held(
            prediction=self.key[0],
            attempt=self.key[1],
            secret=self.secret,
            state="finished" if self.report.finished else "running",
            started_at=self.started_at,
        )

    def cancel(self, grace_s: float) -> None:
        """End it as canceled, within ``grace_s``. A result that is on disk stands."""
        if self.phase is Phase.FINISHED:
            return
        self._cancel_grace_s = grace_s
        if self._runner is not None and self.phase is Phase.RUNNING:
            self._runner.cancel(self.id, grace_s)
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            scope.reschedule(now)

    def drop(self) -> None:
        """Nobody wants it: stop, and report nothing."""
        self.dropped = True
        self.cancel(ABORT_GRACE_S)

    async def run(self, dispatch: Dispatch, runner: Predicts, declared: Declared) -> None:
        """All of it, up to the result on disk. Never raises for a fault of model, user or network."""
        folder = self._tools.scratch / self.id
        self._runner = runner
        try:
            try:
                record = await self._predict(dispatch, runner, declared, folder)
            except NotTaken as why:
                self.dropped = True
                self._runner = None
                self._move(Phase.ENDING)
                await self._desk.hand_back(self, why)
                return
            except Exception:
                log.exception("%s: unexpected error", self.id)
                record = self._record("failed", error="unexpected error in the agent", code="agent_error")
            self._runner = None
            self._move(Phase.ENDING)
            if not self.dropped:
                await self._end(record)
        finally:
            self._runner = None
            runner.release(self.id)
            self.report.close()
            self.trail.end("given_up", None)  # unless it had a result
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _predict(
        self, dispatch: Dispatch, runner: Predicts, declared: Declared, folder: Path
    ) -> Record:
        began = time.monotonic()
        try:
            given = msgspec.json.decode(dispatch.input, type=dict[str, Any])
            with self.trail.step("files"):
                async with self._stoppable(), asyncio.timeout(dispatch.run_s):
                    given = await self._tools.inputs.fetch(given, declared, dispatch.files, folder)
        except _Canceled:
            return self._record("canceled")
        except InputFailed as error:
            return self._record("failed", error=str(error), code="input_error")
        except TimeoutError:
            return self._record("failed", error=timed_out(dispatch.run_s), code="run_timeout")
        except msgspec.DecodeError as error:
            gone = bytes(dispatch.input) == b"null"
            why = "the input is gone from the server's storage" if gone else f"it is no JSON object: {error}"
            return self._record("failed", error=f"the input cannot be used: {why}", code="input_error")
        if self._cancel_grace_s is not None:
            return self._record("canceled")
        left_s = dispatch.run_s - (time.monotonic() - began)
        result: Result | NotTaken
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_updates(runner))
            try:
                with self.trail.step("run") as step:
                    result = await runner.predict(
                        self.id,
                        given,
                        self._updates.put_nowait,
                        timeout_s=max(left_s, 0.001),
                        context={"id": self.key[0]},
                    )
                    self.trail.predicted(step, result.started_at, result.completed_at, result.metrics)
            except NotTaken as why:
                result = why
            finally:
                self._updates.put_nowait(None)
        if isinstance(result, NotTaken):
            if self._cancel_grace_s is None:
                raise result
            return self._record("canceled")
        return self._judge(result, dispatch.run_s)

    def _judge(self, result: Result, run_s: float) -> Record:
        """The record that a runner's result makes, given what happened meanwhile."""
        same: dict[str, Any] = {"logs": result.logs, "metrics": metrics_of(result)}
        if self._cancel_grace_s is not None:
            return self._record("canceled", **same)
        if result.error_code == NEIGHBOUR:
            raise NotTaken("unavailable", "it ended early for another's sake")
        if self._problem is not None:
            code, text = self._problem
            return self._record("failed", error=text, code=code, **same)
        verdict = verdict_of(result, run_s, streamed=self._streamed, output_limit=self._output_limit)
        return self._record(
            verdict.status,
            error=verdict.error,
            code=verdict.code,
            output=verdict.output,
            files=verdict.files,
            **same,
        )

    def _record(
        self,
        status: Status,
        *,
        error: str | None = None,
        code: str | None = None,
        output: bytes | None = None,
        files: tuple[LocalFile, ...] = (),
        logs: str = "",
        metrics: dict[str, msgspec.Raw] | None = None,
    ) -> Record:
        stored: tuple[StoredFile, ...] = ()
        if output is None:
            items, stored = self.report.outputs()
            output = join(bytes(item) for item in items) if items else b"null"
        prediction, attempt = self.key
        finished = Finished(
            channel=self._desk.number,
            prediction=prediction,
            attempt=attempt,
            secret=self.secret,
            status=status,
            output=msgspec.Raw(output),
            error=error.encode(errors="replace").decode() if error else error,
            error_code=code,
            logs=last_part(logs, self._limits.log_bytes if self._limits else len(logs) * 4),
            metrics=metrics or {},
            files=stored,
            started_at=self.started_at,
            completed_at=time.time_ns() // 1000,
        )
        return Record(model=self._desk.served.model, finished=finished, files=files)

    async def _take_updates(self, runner: Predicts) -> None:
        """Make events of updates, in order, until the end."""
        while (update := await self._updates.get()) is not None:
            if self._problem is not None or self._cancel_grace_s is not None:
                continue
            try:
                async with self._stoppable():
                    await self._take(update)
            except _Canceled:
                continue
            except UploadFailed as error:
                self._problem = (upload_code(error), str(error))
            except BadOutput as error:
                self._problem = ("invalid_output", str(error))
            if self._problem is not None:
                runner.cancel(self.id, ABORT_GRACE_S)
        self.report.end_of_updates()

    async def _take(self, update: Update) -> None:
        self.report.add_logs(update.logs)
        for item in update.items:
            self._streamed = True
            await self._take_item(item)
            self.report.flush()
        if update.metrics:
            metrics = to_json(update.metrics)
            if len(metrics) <= METRICS_BYTES:
                self.report.add_metrics(metrics)
        self.report.flush()

    async def _take_item(self, item: Item) -> None:
        stored = [await self._upload(local_file(file)) for file in item.files]
        keys = {file.pointer: kept.key for file, kept in zip(item.files, stored, strict=True)}
        data = fill(to_json(item.value), keys)
        self._output_bytes += len(data) + 1
        if self._output_bytes > self._output_limit:
            self._problem = ("output_too_large", too_large(self._output_limit))
            return
        self.report.add_output(data, tuple(stored))

    async def _end(self, record: Record) -> None:
        if record.files:
            try:
                files = await self._tools.spool.adopt(self.server, self.key, record.files)
                record = msgspec.structs.replace(record, files=files)
                await self._tools.spool.keep(self.server, record, self._desk.served)
            except OSError as error:
                log.warning("%s: output files could not be moved to the spool: %s", self.id, error)
            await self.store(record)
        else:
            await self._keep(record)

    async def store(self, record: Record) -> None:
        """Store the files of a record, then keep it as finished."""
        finished = record.finished
        try:
            async with self._stoppable():
                stored = tuple([await self._upload(file, kept=True) for file in record.files])
            keys = {file.pointer: kept.key for file, kept in zip(record.files, stored, strict=True)}
            output = msgspec.Raw(fill(bytes(finished.output), keys))
            finished = msgspec.structs.replace(finished, output=output, files=stored)
        except _Canceled:
            finished = without_output(finished, "canceled", None, None)
        except UploadFailed as error:
            finished = without_output(finished, "failed", str(error), upload_code(error))
        except BadOutput as error:
            finished = without_output(finished, "failed", str(error), "invalid_output")
        await self._keep(msgspec.structs.replace(record, finished=finished, files=()))

    async def _keep(self, record: Record) -> None:
        if self.dropped:
            await self._tools.spool.forget(self.server, self.key)
            return
        if self._limits is not None and len(encode_message(record.finished)) > self._limits.frame_bytes:
            finished = without_output(
                record.finished, "failed", too_large(self._output_limit), "output_too_large"
            )
            finished = msgspec.structs.replace(finished, logs="", metrics={})
            record = msgspec.structs.replace(record, finished=finished)
        try:
            await self._tools.spool.keep(self.server, record, self._desk.served)
        except OSError as error:
            log.warning("%s: the result could not be kept on disk: %s", self.id, error)
        self._finish(record)

    def _finish(self, record: Record) -> None:
        self.trail.end(record.finished.status, record.finished.error_code)
        self._move(Phase.FINISHED)
        self.report.finish(record.finished)

    async def _upload(self, file: LocalFile, *, kept: bool = False) -> StoredFile:
        """``kept``: the file outlives this process, and so does how far it has come."""
        path = Path(file.path)
        bookmark = Bookmark(path if kept else None)
        begun = await bookmark.read()
        part_bytes = begun.part_bytes if begun is not None else await self._desk.part_bytes()
        try:
            measured = await disk.measure(path, part_bytes)
        except OSError as error:
            raise UploadDenied(f"output file {file.name} cannot be read: {error.strerror}") from None
        output = OutputFile(path, file.name, file.content_type, *measured)
        with self.trail.step("upload", **{"cogflare.bytes": output.length}):
            return await self._tools.transfer.upload(output, partial(self._desk.grant, self), bookmark)

    @contextlib.asynccontextmanager
    async def _stoppable(self) -> AsyncIterator[None]:
        """A block that ``cancel`` ends, with ``_Canceled``."""
        if self._cancel_grace_s is not None:
            raise _Canceled
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scopes.add(scope)
                yield
        except TimeoutError:
            if scope.expired():
                raise _Canceled from None
            raise
        finally:
            self._scopes.discard(scope)

    def _move(self, phase: Phase) -> None:
        before, self.phase = self.phase, phase
        self._desk.moved(self, before)
