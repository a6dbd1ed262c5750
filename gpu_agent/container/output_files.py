"""Output files of a Cog server: data URLs, and URLs of what it serves or has uploaded, become files here.

Where the model's document declares files, every such text is one. Without a document only a base64 data URL
is, and a URL of the server itself: any other text may be just a text.
"""

import asyncio
import mimetypes
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpu_agent.container.api import CogApi
from gpu_agent.fetch import Fetcher, FetchFailed
from gpu_agent.inputs import decode_data_url
from gpu_agent.output import BadOutput
from gpu_agent.runner_types import FileOutput

_DATA = re.compile(r"data:[\w.+-]*/?[\w.+-]*(;[^,;]*)*;base64,", re.ASCII)
MOST_REFERENCES = 32
"""How deep references of a document are followed."""


class NotSent(Exception):
    """A file is named, by its path on the server's disk, and not sent along."""


class OutputRules:
    """Where in an output the model's document declares files."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas: Mapping[str, Any] = document.get("components", {}).get("schemas", {})
        self._output = self._schemas.get("Output")

    @property
    def yields(self) -> bool:
        """The document says that outputs come one by one."""
        return isinstance(self._output, dict) and self._output.get("x-cog-array-type") == "iterator"

    def texts(self, output: Any, *, item: bool) -> Iterator[tuple[str, str, bool]]:
        """Every text of an output or of one yielded item: its JSON pointer, itself, and whether it is a file
        by declaration."""
        rule = self._output
        if item and isinstance(rule, dict):
            rule = self._resolved(rule).get("items")
        return self._walk("", output, rule)

    @property
    def known(self) -> bool:
        return isinstance(self._output, dict)

    def _walk(self, pointer: str, value: Any, rule: Any) -> Iterator[tuple[str, str, bool]]:
        if isinstance(value, str):
            yield pointer, value, any(each.get("format") == "uri" for each in self._options(rule))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from self._walk(f"{pointer}/{index}", inner, self._inner(rule, "items", ""))
        elif isinstance(value, dict):
            for name, inner in value.items():
                key = name.replace("~", "~0").replace("/", "~1")
                yield from self._walk(f"{pointer}/{key}", inner, self._inner(rule, "properties", name))

    def _inner(self, rule: Any, word: str, name: str) -> Any:
        for option in self._options(rule):
            found = option.get(word)
            if word == "properties":
                found = found.get(name) if isinstance(found, dict) else None
                found = found or option.get("additionalProperties")
            if isinstance(found, dict):
                return found
        return None

    def _options(self, rule: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
        """The rule, or the alternatives that it is made of, without references."""
        if not isinstance(rule, dict) or depth > MOST_REFERENCES:
            return
        rule = self._resolved(rule)
        yield rule
        for word in ("anyOf", "oneOf", "allOf"):
            for option in rule.get(word) or ():
                yield from self._options(option, depth + 1)

    def _resolved(self, rule: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(MOST_REFERENCES):
            reference = rule.get("$ref")
            target = self._schemas.get(str(reference).rpartition("/")[2]) if reference else None
            if not isinstance(target, dict):
                return rule
            rule = target
        return {}


class OutputFiles:
    """The output files of one prediction, below ``folder``."""

    def __init__(self, rules: OutputRules, api: CogApi, fetcher: Fetcher, folder: Path) -> None:
        self._rules = rules
        self._api = api
        self._fetcher = fetcher
        self._folder = folder
        self._count = 0

    async def take(
        self, output: Any, *, item: bool = False, final: bool = True
    ) -> tuple[Any, tuple[FileOutput, ...]]:
        """The output with null where files were, and the files. Raises ``BadOutput``.

        When it is not ``final`` a declared file that is not sent yet raises ``NotSent``: the first generation
        sends files with the answer alone, and paths of its own in webhooks.
        """
        found = []
        texts = list(self._rules.texts(output, item=item))
        if not final and any(declared and not _is_url(text) for _, text, declared in texts):
            raise NotSent
        for pointer, text, declared in texts:
            if self._is_file(text, declared):
                found.append(await self._save(pointer, text))
        for file in found:
            output = _without(output, file.pointer)
        return output, tuple(found)

    def _is_file(self, text: str, declared: bool) -> bool:
        if self._rules.known or declared:
            return declared and _is_url(text)
        return _DATA.match(text) is not None or (_is_url(text) and self._api.owns(text))

    async def _save(self, pointer: str, text: str) -> FileOutput:
        place = self._folder / str(self._count)
        self._count += 1
        await asyncio.to_thread(place.mkdir, parents=True)
        try:
            if text[:5].lower() == "data:":
                path = await asyncio.to_thread(decode_data_url, text, place, "output")
                kind = text[5:].partition(",")[0].partition(";")[0].lower()
            else:
                source = self._api if self._api.owns(text) else self._fetcher
                path = await source.fetch(text, place)
                kind = ""
        except FetchFailed as error:
            raise BadOutput(f"output file: {error}") from None
        guessed = kind or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return FileOutput(pointer, path, path.name, guessed)


def _is_url(text: str) -> bool:
    return text[:8].lower().startswith(("data:", "http://", "https://"))


def _without(output: Any, pointer: str) -> Any:
    """The output with null at a place, changed in place."""
    if not pointer:
        return None
    *path, last = (part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))
    place = output
    for part in path:
        place = place[int(part)] if isinstance(place, list) else place[part]
    place[int(last) if isinstance(place, list) else last] = None
    return output
