"""One prediction of a model's folder, in a runner of this machine, exactly as an agent has it run."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from coordinator.protocol.addresses import AddressRules
from edge.commands.predicting.ending import Ending, ending_of
from edge.commands.predicting.given import as_json
from edge.commands.predicting.interrupts import Interrupts
from edge.commands.predicting.saving import OutputFolder
from edge.commands.predicting.screen import Output, Screen
from edge.exits import CommandFailed
from edge.inputs import VersionSchema
from edge.times import rfc3339
from gpu_agent.choice import Choice
from gpu_agent.declared import Declared
from gpu_agent.output import put
from gpu_agent.runner import Runner
from gpu_agent.runner_types import FileOutput, Result, SetupFailed, Update

ID = "local"
CANCEL_GRACE_S = 5.0
STOP_GRACE_S = 2.0
EVERYWHERE = ("0.0.0.0/0", "::/0")
"""The person at this machine may name any address that it reaches; metadata addresses stay closed."""
FETCH_BYTES = 1 << 40
FETCH_S = 3600.0


class LocalRun:
    """From an input to what there is to show of its result. Use once, on a loop of the main thread."""

    def __init__(
        self,
        choice: Choice,
        document: Mapping[str, Any],
        *,
        screen: Screen,
        output: Output,
        folder: OutputFolder,
        work: Path,
    ) -> None:
        """``work`` is a directory for what is temporary."""
        self._choice = choice
        self._document = document
        self._screen = screen
        self._output = output
        self._folder = folder
        self._work = work
        self._interrupts = Interrupts()
        self._updates: asyncio.Queue[Update | None] = asyncio.Queue()
        self._items: list[Any] = []
        """What was yielded, with its files where they are now."""
        self._runner = Runner(
            choice.model,
            python=choice.python,
            work_dir=work / "runner",
            log=lambda line: screen.log(line + "\n"),
        )

    async def run(self, given: Mapping[str, Any]) -> Ending:
        """Run it to its end, whatever that is. Raises CommandFailed when it cannot be begun."""
        task = asyncio.current_task()
        assert task is not None
        try:
            with self._interrupts.watch(task.cancel):
                async with self._screen.status("fetching inputs"):
                    ready = await self._fetched(given)
                async with self._screen.status("setting up"):
                    await self._set_up()
            with self._interrupts.watch(self._cancel):
                async with self._screen.status("running"):
                    result = await self._predict(ready)
                value = self._items or await self._saved(result.output, result.files)
                self._output.finish(value)
            return ending_of(self._shown(given, result, value), self._interrupts.code)
        except asyncio.CancelledError:
            if not self._interrupts.code:
                raise
            when = "before it ran" if self._interrupts.count == 1 else "at once"
            return Ending(self._interrupts.code, f"canceled {when}")
        finally:
            await self._runner.stop(0.0 if self._interrupts.code else STOP_GRACE_S)

    def _cancel(self) -> None:
        self._screen.change_status("canceling (Ctrl-C again ends it at once)")
        self._runner.cancel(ID, CANCEL_GRACE_S)

    async def _fetched(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The input with files of this disk in place of the URLs of files."""
        on_disk: dict[str, str] = {}

        def noted(path: str) -> str:
            on_disk[path] = path
            return path

        plain = as_json(given, noted)
        declared = Declared(self._document)
        ready, places = declared.with_files(plain)
        if all(holder[key] in on_disk for _, (holder, key) in places):
            return ready
        # An HTTP client is half of the time that this command needs to start.
        from gpu_agent.fetch import Fetcher
        from gpu_agent.inputs import InputFailed, Inputs
        from gpu_agent.tls import client_context

        rules = AddressRules(EVERYWHERE)
        world = Fetcher(rules, client_context(), limit_bytes=FETCH_BYTES, limit_s=FETCH_S)
        inputs = Inputs(own=_OnDisk(), world=world, base_url=_NOWHERE)
        try:
            return await inputs.fetch(plain, declared, on_disk, self._work / "inputs")
        except InputFailed as error:
            raise CommandFailed(str(error)) from None
        finally:
            await world.close()

    async def _set_up(self) -> None:
        try:
            await self._runner.start()
        except SetupFailed as error:
            if error.missing_module:
                raise CommandFailed(self._choice.missing(error.missing_module)) from None
            raise CommandFailed(f"setup failed: {error}") from None

    async def _predict(self, ready: dict[str, Any]) -> Result:
        try:
            async with asyncio.TaskGroup() as group:
                showing = group.create_task(self._show_updates())
                result = await self._runner.predict(ID, ready, self._updates.put_nowait)
                self._updates.put_nowait(None)
                await showing
        except BaseExceptionGroup as errors:
            # Of two one is the cause and the other was canceled for it.
            raise errors.exceptions[0] from None
        return result

    async def _show_updates(self) -> None:
        while (update := await self._updates.get()) is not None:
            self._screen.log(update.logs)
            for item in update.items:
                self._items.append(await self._saved(item.value, item.files))
                self._output.add(self._items[-1])

    async def _saved(self, value: Any, files: Iterable[FileOutput]) -> Any:
        """The value with the places of its files, now in the person's directory."""
        for file in files:
            saved = await asyncio.to_thread(self._folder.copy, file.path, file.name)
            value = put(value, file.pointer, saved)
        return value

    def _shown(self, given: Mapping[str, Any], result: Result, value: Any) -> dict[str, Any]:
        schema = VersionSchema(self._document)
        asked = msgspec.json.encode(as_json(given, str))
        return {
            "model": str(self._choice.model.path),
            "version": self._choice.model.version,
            "input": msgspec.json.decode(schema.masked(asked)),
            "status": result.status,
            "output": value,
            "files": self._folder.saved,
            "error": result.error,
            "error_code": result.error_code,
            "logs": result.logs,
            "metrics": result.metrics,
            "started_at": rfc3339(result.started_at),
            "completed_at": rfc3339(result.completed_at),
        }


_NOWHERE = "nowhere:"
"""There is no server of ours whose files would come without a token."""


class _OnDisk:
    """The files that were given as such: they are where they are."""

    async def fetch(self, url: str, folder: Path) -> Path:
        return Path(url)
