"""How far the upload of a file in parts has come, beside the file: ``<file>.upload``.

The server knows which parts it has. What the agent needs is what the server called the upload, and the size
of the parts, so that it asks for the same ones after a restart.
"""

import asyncio
import logging
from pathlib import Path

import msgspec

from gpu_agent import disk

log = logging.getLogger("cogflare.agent")

SUFFIX = ".upload"


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An upload that the server knows by ``resume``."""

    resume: str
    part_bytes: int


class Bookmark:
    """Of one file; None for a file that does not outlive this process, which is only remembered here."""

    def __init__(self, path: Path | None) -> None:
        self._path = None if path is None else path.with_name(path.name + SUFFIX)
        self._begun: Begun | None = None

    @property
    def resume(self) -> str:
        return "" if self._begun is None else self._begun.resume

    async def read(self) -> Begun | None:
        """What an earlier process has kept. What cannot be read counts as nothing: the file goes anew."""
        if self._path is not None:
            try:
                data = await asyncio.to_thread(self._path.read_bytes)
                self._begun = msgspec.json.decode(data, type=Begun)
            except FileNotFoundError:
                pass
            except (OSError, msgspec.DecodeError) as error:
                log.warning("%s cannot be read, its upload begins anew: %s", self._path, error)
        return self._begun

    async def keep(self, resume: str, part_bytes: int) -> None:
        """The server calls the upload so. A disk that does not take it costs only sending parts again."""
        begun = Begun(resume=resume, part_bytes=part_bytes)
        if begun == self._begun:
            return
        self._begun = begun
        if self._path is not None:
            try:
                await asyncio.to_thread(disk.write_durably, self._path, msgspec.json.encode(begun))
            except OSError as error:
                log.warning("%s could not be written: %s", self._path, error)
