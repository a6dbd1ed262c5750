"""Results that no server has acknowledged yet, kept on disk so that neither a crash nor a cut loses them.

    spool/<server>/<prediction>-<attempt>.json     one record
    spool/<server>/<prediction>-<attempt>.files/   its output files that are not stored yet
    spool/<server>/<digest>.model                  how to attach as the model that the records are of

A record says all that is needed to deliver it from a new process. Everything here blocks; the methods run
it in threads.
"""

import asyncio
import hashlib
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from coordinator.protocol.messages import Finished
from gpu_agent import disk

log = logging.getLogger("cogflare.agent")

T = TypeVar("T")

_SAFE = re.compile(r"[A-Za-z0-9_-]{1,100}")


class LocalFile(msgspec.Struct, frozen=True, kw_only=True):
    """An output file of a record that is not stored yet."""

    pointer: str
    """JSON pointer to its place in the output, which holds null."""
    path: str
    name: str
    content_type: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A result. While ``files`` is not empty, these are still to be stored and put into ``finished``."""

    model: str
    finished: Finished
    files: tuple[LocalFile, ...] = ()

    @property
    def key(self) -> tuple[str, int]:
        return self.finished.prediction, self.finished.attempt


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What an attach says of a model, for results of a model that is no longer served."""

    model: str
    version: str
    cog_version: str
    concurrency: int
    openapi_schema: msgspec.Raw
    retries: int | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What an earlier process left behind for one server."""

    server: str
    records: tuple[Record, ...]
    models: dict[str, Served]


class Spool:
    """The results kept below one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._described: set[tuple[str, str]] = set()

    async def keep(self, server: str, record: Record, served: Served) -> None:
        """Make a result durable. Raises ``OSError`` when the disk does not take it."""
        await asyncio.to_thread(self._keep, server, record, served)

    async def adopt(
        self, server: str, key: tuple[str, int], files: tuple[LocalFile, ...]
    ) -> tuple[LocalFile, ...]:
        """Move output files to where they outlive the process. Raises ``OSError``."""
        return await asyncio.to_thread(self._adopt, server, key, files)

    async def forget(self, server: str, key: tuple[str, int]) -> None:
        """The server has the result: nothing of it stays."""
        await asyncio.to_thread(self._forget, server, key)

    def load(self) -> list[Kept]:
        """All that is kept, by server. What cannot be read is set aside and told."""
        servers = []
        for folder in sorted(self._root.iterdir()):
            if not folder.is_dir():
                continue
            models = {served.model: served for served in self._read(folder, "*.model", Served)}
            records = tuple(self._read(folder, "*.json", Record))
            known = {f"{prediction}-{attempt}" for prediction, attempt in (record.key for record in records)}
            for orphan in folder.glob("*.files"):
                if orphan.stem not in known:
                    shutil.rmtree(orphan, ignore_errors=True)
            servers.append(Kept(folder.name, records, models))
        return servers

    def _read(self, folder: Path, pattern: str, kind: type[T]) -> list[T]:
        found = []
        for path in sorted(folder.glob(pattern)):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=kind))
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                aside = path.with_name(path.name + ".bad")
                log.warning("a kept result cannot be read and is set aside as %s: %s", aside, error)
                path.replace(aside)
        return found

    def _keep(self, server: str, record: Record, served: Served) -> None:
        folder = self._folder(server)
        if (server, served.model) not in self._described:
            digest = hashlib.sha256(served.model.encode()).hexdigest()[:24]
            disk.write_durably(folder / f"{digest}.model", msgspec.json.encode(served))
            self._described.add((server, served.model))
        disk.write_durably(folder / f"{_stem(record.key)}.json", msgspec.json.encode(record))
        if not record.files:
            shutil.rmtree(folder / f"{_stem(record.key)}.files", ignore_errors=True)

    def _adopt(
        self, server: str, key: tuple[str, int], files: tuple[LocalFile, ...]
    ) -> tuple[LocalFile, ...]:
        folder = self._folder(server) / f"{_stem(key)}.files"
        folder.mkdir(mode=0o700, exist_ok=True)
        moved = []
        for number, file in enumerate(files):
            place = folder / str(number)
            shutil.move(file.path, place)
            disk.sync_file(place)
            moved.append(msgspec.structs.replace(file, path=str(place)))
        disk.sync_directory(folder)
        disk.sync_directory(folder.parent)
        return tuple(moved)

    def _forget(self, server: str, key: tuple[str, int]) -> None:
        folder = self._root / _safe(server)
        (folder / f"{_stem(key)}.json").unlink(missing_ok=True)
        shutil.rmtree(folder / f"{_stem(key)}.files", ignore_errors=True)

    def _folder(self, server: str) -> Path:
        folder = self._root / _safe(server)
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            disk.sync_directory(self._root)
        return folder


def _stem(key: tuple[str, int]) -> str:
    return f"{_safe(key[0])}-{key[1]}"


def nameable(name: str) -> bool:
    """True when an id from outside can name a file here."""
    return _SAFE.fullmatch(name) is not None


def _safe(name: str) -> str:
    if not nameable(name):
        raise ValueError(f"{name!r} cannot name a file")
    return name
