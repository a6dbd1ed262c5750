"""One prediction on a server: files up, the prediction followed to its end, files down."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.commands.predicting.api import Api, Away, Refused
from edge.commands.predicting.ending import Ending, ending_of
from edge.commands.predicting.events import EventReader
from edge.commands.predicting.given import as_json
from edge.commands.predicting.interrupts import Interrupts
from edge.commands.predicting.remote_output import RemoteOutput, unseen
from edge.commands.predicting.screen import Screen
from edge.exits import CommandFailed, ExitCode

TERMINAL = ("succeeded", "failed", "canceled", "aborted")
POLL_S = 0.5
SHORT_WAIT = "wait=1"
"""A quick prediction is done in one call, and a slow one's logs do not wait for long."""
STREAM_CUTS = 3
"""How often in a row a stream may end without a word before the prediction is polled instead."""
_DOING = {"starting": "waiting for a worker", "processing": "running"}


class Target:
    """The model that was named, as its server knows it."""

    def __init__(self, name: str, version: str | None, found: Mapping[str, Any]) -> None:
        self.name = name
        self.version = version
        self.latest = str(found.get("id") or "")
        """The version that runs when none is named, if the server says."""
        document = found.get("openapi_schema")
        self.document: dict[str, Any] | None = document if isinstance(document, dict) else None

    @classmethod
    async def find(cls, api: Api, name: str, version: str | None) -> "Target":
        """Ask the server. Raises CommandFailed."""
        path = f"/v1/models/{name}" + (f"/versions/{version}" if version else "")
        try:
            found = await api.call("GET", path)
        except Refused as error:
            if error.status != 404:
                raise
            what = f"version {version} of the model {name}" if version else f"model {name}"
            raise CommandFailed(
                f"{api.server} has no {what} that this token may run", ExitCode.USAGE
            ) from None
        return cls(name, version, found if version else found.get("latest_version") or {})


class RemoteRun:
    """From an input to what there is to show of its result. Use once, on a loop of the main thread."""

    def __init__(self, api: Api, target: Target, *, screen: Screen, output: RemoteOutput) -> None:
        self._api = api
        self._target = target
        self._screen = screen
        self._output = output
        self._interrupts = Interrupts()
        self._creating: asyncio.Task[dict[str, Any]] | None = None
        self._logs = ""
        """What was shown of the log."""

    async def run(self, given: Mapping[str, Any]) -> Ending:
        """Run it to its end, whatever that is. Raises CommandFailed when it cannot be begun or followed."""
        with self._interrupts.watch(lambda: None):
            async with self._screen.status("uploading"):
                work = asyncio.create_task(self._work(given))
                asked = asyncio.create_task(self._interrupts.asked.wait())
                try:
                    await asyncio.wait((work, asked), return_when=asyncio.FIRST_COMPLETED)
                    if not work.done():
                        work.cancel()
                        return await self._canceled()
                    return await work
                except asyncio.CancelledError:
                    if not self._interrupts.code:
                        raise
                    return Ending(self._interrupts.code, "left at once: the prediction may go on")
                finally:
                    asked.cancel()
                    work.cancel()
                    await asyncio.wait((work, asked))

    async def _work(self, given: Mapping[str, Any]) -> Ending:
        urls: dict[str, str] = {}
        for path in dict.fromkeys(_files(given)):
            urls[path] = await self._api.patiently(lambda path=path: self._api.upload(Path(path)))  # type: ignore[misc]
        # It goes on when this is interrupted: what was created must be known to be canceled.
        self._creating = asyncio.create_task(self._create(as_json(given, urls.__getitem__)))
        prediction = await asyncio.shield(self._creating)
        prediction = await self._followed(prediction)
        self._show_logs(prediction)
        document = {
            **prediction,
            "output": await self._output.finish(prediction),
            "files": self._output.saved,
        }
        return ending_of(document, 0)

    async def _create(self, value: dict[str, Any]) -> dict[str, Any]:
        target = self._target
        headers = {} if self._output.streams else {"Prefer": SHORT_WAIT}
        by_version = {"version": target.version or target.latest, "input": value}
        if target.version:
            return await self._api.call("POST", "/v1/predictions", headers=headers, json=by_version)
        path = f"/v1/models/{target.name}/predictions"
        try:
            return await self._api.call("POST", path, headers=headers, json={"input": value})
        except Refused as error:
            # Replicate runs only official models by name alone.
            if error.status != 404 or not target.latest:
                raise
        return await self._api.call("POST", "/v1/predictions", headers=headers, json=by_version)

    async def _followed(self, prediction: dict[str, Any]) -> dict[str, Any]:
        """The prediction once it has ended."""
        id = prediction["id"]
        self._output.server = str(prediction.get("urls", {}).get("get", "")).partition("/v1/")[0]
        stream = prediction.get("urls", {}).get("stream")
        if stream and self._output.streams and prediction["status"] not in TERMINAL:
            self._screen.change_status(_DOING["starting"])
            await self._streamed(stream, id)
            prediction = await self._got(id)
        while prediction["status"] not in TERMINAL:
            self._screen.change_status(_DOING.get(prediction["status"], prediction["status"]))
            self._show_logs(prediction)
            await self._output.grow(prediction.get("output"))
            await asyncio.sleep(POLL_S)
            prediction = await self._got(id)
        return prediction

    async def _got(self, id: str) -> dict[str, Any]:
        return await self._api.patiently(lambda: self._api.call("GET", f"/v1/predictions/{id}"))

    async def _streamed(self, url: str, id: str) -> None:
        """Show the stream until its end, or until it is of no use."""
        reader = EventReader()
        cuts = 0
        while cuts < STREAM_CUTS:
            cuts += 1
            try:
                async for event in self._api.events(url, reader):
                    cuts = 0
                    self._screen.change_status(_DOING["processing"])
                    if event.name == "output":
                        await self._output.add(event.data)
                    elif event.name == "logs":
                        self._logs += event.data
                        self._screen.log(event.data)
                    elif event.name == "done":
                        break
                else:
                    continue
            except Away:
                await asyncio.sleep(POLL_S)
                continue
            except Refused:
                return
            if (await self._got(id))["status"] in TERMINAL:
                return
            self._screen.say("its worker was lost: it runs again, and its output begins again")
            self._output.restart()
            self._logs = ""
            reader = EventReader()

    def _show_logs(self, prediction: Mapping[str, Any]) -> None:
        """What of the log was not shown yet."""
        logs = prediction.get("logs") or ""
        self._screen.log(unseen(self._logs, logs))
        self._logs = logs or self._logs

    async def _canceled(self) -> Ending:
        code = self._interrupts.code
        if self._creating is None:
            return Ending(code, "canceled before it was created")
        self._screen.change_status("canceling")
        id = (await self._creating)["id"]
        prediction = await self._api.call("POST", f"/v1/predictions/{id}/cancel")
        if prediction["status"] in ("succeeded", "failed"):
            return Ending(code, f"the prediction {id} had {prediction['status']} already", prediction)
        return Ending(code, f"the prediction {id} was canceled", prediction)


def _files(value: Any) -> list[str]:
    found: list[str] = []
    as_json(value, lambda path: found.append(path))
    return found
