"""The output of a prediction on a server: its files are fetched, and it is shown as it comes."""

import json
import re
import urllib.request
from collections.abc import Mapping
from typing import Any

from coordinator.protocol.addresses import http_url
from edge.commands.predicting.api import Api, Away
from edge.commands.predicting.saving import OutputFolder, Saved
from edge.commands.predicting.screen import Output
from edge.exits import CommandFailed
from gpu_agent.filenames import extension

_URL = re.compile(r"(?:https?://|data:)", re.IGNORECASE)
# An event stream makes one of all of these.
_LINE_ENDS = re.compile("\r\n|[\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_REPLICATES_FILES = "replicate.delivery"
_RECOGNISED = 200
"""Characters of the shown end of a log by which its place is found when its beginning was left out."""


class RemoteOutput:
    """Takes events and documents, shows each part once."""

    def __init__(self, api: Api, output: Output, folder: OutputFolder) -> None:
        self.server = ""
        """How the server calls itself: its stored files' URLs begin with it."""
        self._api = api
        self._output = output
        self._folder = folder
        self._items: list[Any] = []

    @property
    def streams(self) -> bool:
        return self._output.streams

    @property
    def saved(self) -> list[Saved]:
        return self._folder.saved

    async def add(self, data: str) -> None:
        """The next item, as the text of its event."""
        items = self._rule_of_items()
        value: Any = data
        if items.get("type") != "string":
            try:
                value = json.loads(data)
            except ValueError:
                value = data
        await self._add(value)

    async def grow(self, value: Any) -> None:
        """The output so far. Of a model that does not yield it may be anything yet."""
        if not self.streams or not isinstance(value, list):
            return
        if len(value) < len(self._items):
            self.restart()
        for item in value[len(self._items) :]:
            await self._add(item)

    async def finish(self, prediction: Mapping[str, Any]) -> Any:
        """The whole output, its files here; shows the rest of it."""
        value = prediction.get("output")
        if self.streams and isinstance(value, list):
            await self.grow(value)
            value = list(self._items)
        else:
            value = await self._here(value, self._output.rule)
        self._output.finish(value)
        return value

    def restart(self) -> None:
        self._items.clear()
        self._output.restart()

    async def _add(self, item: Any) -> None:
        self._items.append(await self._here(item, self._rule_of_items()))
        self._output.add(self._items[-1])

    def _rule_of_items(self) -> Mapping[str, Any]:
        return _mapping(self._output.rule.get("items"))

    async def _here(self, value: Any, rule: Mapping[str, Any]) -> Any:
        """The value with the path of each of its files, which are fetched."""
        if isinstance(value, str):
            return await self._fetched(value) if self._is_file(value, rule) else value
        if isinstance(value, list):
            return [await self._here(item, _mapping(rule.get("items"))) for item in value]
        if isinstance(value, dict):
            named, other = _mapping(rule.get("properties")), rule.get("additionalProperties")
            return {
                key: await self._here(member, _mapping(named.get(key, other)))
                for key, member in value.items()
            }
        return value

    def _is_file(self, value: str, rule: Mapping[str, Any]) -> bool:
        if rule.get("format") == "uri":
            return _URL.match(value) is not None
        if rule.get("type"):
            return False
        # Anything may be here, a text that is a URL too: a file is what the server itself has stored.
        parts = http_url(value) if value.startswith("https://") else None
        host = (parts.hostname or "") if parts is not None else ""
        stored = bool(self.server) and value.startswith(f"{self.server}/files/")
        return stored or host == _REPLICATES_FILES or host.endswith(f".{_REPLICATES_FILES}")

    async def _fetched(self, url: str) -> Saved:
        if url[:5].lower() == "data:":
            return self._decoded(url)
        try:
            return await self._api.patiently(lambda: self._api.download(url, self._folder))
        except Away as error:
            raise CommandFailed(error.message) from None

    def _decoded(self, url: str) -> Saved:
        with urllib.request.urlopen(url) as content:  # noqa: S310 - of a data URL nothing is opened
            data, kind = content.read(), content.headers.get_content_type()
        with self._folder.writing(f"output{extension(kind)}") as file:
            file.write(data)
        return self._folder.saved[-1]


def unseen(seen: str, logs: str) -> str:
    """What of a log comes after the part that was shown, whose line ends may be others."""
    if logs.startswith(seen):
        return logs[len(seen) :]
    logs = _LINE_ENDS.sub("\n", logs)
    if logs.startswith(seen):
        return logs[len(seen) :]
    end = _LINE_ENDS.sub("\n", seen)[-_RECOGNISED:]
    place = logs.rfind(end)
    return logs[place + len(end) :] if place >= 0 else logs


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
