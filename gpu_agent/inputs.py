"""The input of a prediction, made ready for the runner: files that it names become files on this disk.

Only inputs that the model's schema declares as files are touched; a string that happens to hold a URL stays
a string. In a declared file nothing but an http(s) or a data URL is accepted, so that nobody can name a
path of this machine.
"""

import asyncio
import base64
import binascii
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from gpu_agent.declared import Declared
from gpu_agent.fetch import FetchFailed
from gpu_agent.filenames import extension, safe_name

AT_ONCE = 8
"""Files of one prediction that are fetched at the same time."""


class InputFailed(Exception):
    """An input could not be made ready; the text names it and is fit for the user's eyes."""


class Source(Protocol):
    """Where files come from: ``Fetcher`` for the world, ``Transfer`` for our own server."""

    async def fetch(self, url: str, folder: Path) -> Path: ...


class Inputs:
    """Fetches the files of inputs. ``own`` takes paths on our server, ``world`` any URL."""

    def __init__(self, *, own: Source, world: Source, base_url: str) -> None:
        self._own = own
        self._world = world
        self._base_url = base_url

    async def fetch(
        self, given: Mapping[str, Any], declared: Declared, files: Mapping[str, str], folder: Path
    ) -> dict[str, Any]:
        """The input with local paths in place of URLs, the files in numbered folders below ``folder``.

        ``files`` says which URLs are our server's own, and where on it; so are those that begin like its
        signed ones, which come without our token. Raises ``InputFailed`` for the first
        input that cannot be had. Cancelling is safe.
        """
        ready, found = declared.with_files(given, files)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, name: str, holder: Any, key: Any) -> None:
            async with gate:
                place = folder / str(number)
                await asyncio.to_thread(place.mkdir, parents=True)
                try:
                    holder[key] = str(await self._one(holder[key], files, place))
                except FetchFailed as error:
                    raise InputFailed(f"input {name}: {error}") from None

        if found:
            await _all([one(number, name, *place) for number, (name, place) in enumerate(found)])
        return ready

    async def _one(self, url: str, files: Mapping[str, str], folder: Path) -> Path:
        if url in files:
            return await self._own.fetch(files[url], folder)
        if url.startswith(f"{self._base_url}/files/"):
            return await self._own.fetch(url.removeprefix(self._base_url), folder)
        if url[:5].lower() == "data:":
            return await asyncio.to_thread(decode_data_url, url, folder)
        if url[:8].lower().startswith(("http://", "https://")):
            return await self._world.fetch(url, folder)
        raise FetchFailed("expected an http, https or data URL")


async def _all(coroutines: list[Coroutine[Any, Any, None]]) -> None:
    """Run them all; the first failure cancels the others and is raised bare."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except* InputFailed as failed:
        raise _first(failed) from None


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def decode_data_url(url: str, folder: Path, stem: str = "file") -> Path:
    """Write what a data URL holds; its ``filename`` or ``name`` parameter is kept, else ``stem`` names it.

    Raises ``FetchFailed``.
    """
    head, comma, data = url[5:].partition(",")
    if not comma:
        raise FetchFailed("a data URL without a comma")
    content_type, *parameters = head.split(";")
    try:
        raw = unquote_to_bytes(data)
        content = base64.b64decode(raw, validate=False) if "base64" in parameters else raw
    except (binascii.Error, ValueError):
        raise FetchFailed("a data URL whose base64 is broken") from None
    named = dict(part.partition("=")[::2] for part in parameters)
    name = safe_name(
        unquote_to_bytes(named.get("filename") or named.get("name") or "").decode(errors="replace")
    )
    path = folder / (name or stem + extension(content_type))
    path.write_bytes(content)
    return path
