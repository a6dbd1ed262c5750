"""A provider in memory that a test moves on by hand, in virtual time."""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from coordinator.overflow.provider import (
    Gone,
    ProviderError,
    Remote,
    RemoteModel,
    RemoteVersion,
    Status,
    Wanted,
)
from tests.support.waiting import until


class Begun(msgspec.Struct):
    """One prediction there."""

    id: str
    key: str
    wanted: Wanted
    at: int
    remote: Remote


class Elsewhere:
    """Implements ``Provider``. ``now`` is its clock."""

    name = "replicate"

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._numbers = itertools.count(1)
        self.begun: list[Begun] = []
        self.asked = 0
        """Creations, whatever came of them."""
        self.canceled: list[str] = []
        self.looks = 0
        self.trouble: list[ProviderError] = []
        """Raised by one creation each."""
        self.begins_all_the_same = False
        """What raises has begun."""
        self.tells = True
        self.down: ProviderError | None = None
        """Raised by everything but creations."""

    # --- Provider -----------------------------------------------------------------------------------------

    async def create(self, key: str, wanted: Wanted) -> Remote:
        self.asked += 1
        trouble = self.trouble.pop(0) if self.trouble else None
        if trouble is not None and not self.begins_all_the_same:
            raise trouble
        remote = Remote(id=f"r{next(self._numbers)}", status="starting")
        self.begun.append(Begun(remote.id, key, wanted, self._now(), remote))
        if trouble is not None:
            raise trouble
        return remote

    async def get(self, key: str, id: str) -> Remote:
        self.looks += 1
        self._up()
        return self._find(id).remote

    async def cancel(self, key: str, id: str) -> None:
        self._up()
        self.canceled.append(id)
        self.becomes(id, "canceled")

    async def find(self, key: str, wanted: Wanted, since: int, known: frozenset[str]) -> Remote | None:
        self._up()
        for each in self.begun:
            same = (each.key, each.wanted.input) == (key, wanted.input)
            if same and each.at >= since and each.id not in known:
                return each.remote
        return None

    async def version(self, key: str, name: str, id: str) -> RemoteVersion | None:
        raise NotImplementedError  # no door asks

    async def versions(self, key: str, name: str) -> list[RemoteVersion]:
        raise NotImplementedError

    async def model_of(self, key: str, version: str) -> str | None:
        raise NotImplementedError

    async def model(self, key: str, name: str) -> RemoteModel | None:
        return None

    def owns(self, url: str) -> bool:
        return False

    def delivers(self, url: str) -> bool:
        return False

    async def close(self) -> None:
        pass

    # --- what a test does ---------------------------------------------------------------------------------

    def becomes(self, id: str, status: Status, value: Any = None, **fields: Any) -> None:
        each = self._find(id)
        each.remote = replace(each.remote, status=status, output=Raw(msgspec.json.encode(value)), **fields)

    def forget(self, id: str) -> None:
        self.begun.remove(self._find(id))

    async def one(self, count: int = 1) -> Begun:
        """The last one, once so many have begun."""
        await until(lambda: len(self.begun) >= count, f"{count} begin")
        assert len(self.begun) == count
        return self.begun[-1]

    def _find(self, id: str) -> Begun:
        for each in self.begun:
            if each.id == id:
                return each
        raise Gone("there is no such prediction")

    def _up(self) -> None:
        if self.down is not None:
            raise self.down
