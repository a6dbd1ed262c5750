"""Input files for a Cog server, which does not see our disk: as data URLs, or by URLs of the agent."""

import asyncio
import base64
import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_agent.container.receiver import Receiver

INLINE_BYTES = 1024 * 1024
"""Larger files go by URL, when the server is known to reach us."""
MOST_INLINE_BYTES = 64 * 1024 * 1024
"""Larger files go by URL in any case: the newest generation takes bodies up to 100 MiB, and base64 is larger
by a third."""


class InputFiles:
    """The files of one prediction, those below ``folder``. ``close`` it when the prediction has ended."""

    def __init__(self, receiver: Receiver, folder: Path) -> None:
        self._receiver = receiver
        self._folder = folder
        self._urls: list[str] = []

    async def place(self, given: dict[str, Any], *, reachable: bool) -> dict[str, Any]:
        """A copy of the input in which URLs stand for the files. ``reachable``: the server reaches us."""
        ready: dict[str, Any] = _copy(given)
        for holder, key in _texts(ready):
            path = self._own(holder[key])
            if path is not None:
                size = (await asyncio.to_thread(path.stat)).st_size
                if size <= INLINE_BYTES or (not reachable and size <= MOST_INLINE_BYTES):
                    holder[key] = await asyncio.to_thread(_data_url, path)
                else:
                    holder[key] = self._receiver.file(path)
                    self._urls.append(holder[key])
        return ready

    def close(self) -> None:
        for url in self._urls:
            self._receiver.forget(url)
        self._urls.clear()

    def _own(self, text: str) -> Path | None:
        """The file that a text names, if it was fetched for this prediction: no text names any other."""
        if not text.startswith(f"{self._folder}/") or "/../" in text or "\0" in text:
            return None
        path = Path(text)
        return path if path.is_file() else None


def _data_url(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _texts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a text: a list or an object, and the index or key in it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(pairs):
        if isinstance(item, str):
            yield value, key
        elif isinstance(item, dict | list):
            yield from _texts(item)
