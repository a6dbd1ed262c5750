"""The placement seam: which process owns an object. In one process: this one."""

from typing import Protocol


class NotHere(Exception):
    """Another process owns the object."""


class Placement(Protocol):
    """Grants ownership of objects. An owned object has at most one live instance anywhere."""

    async def own(self, number: int) -> None:
        """Become the owner; granted again to who has it. Raises NotHere while another process has it."""

    async def disown(self, number: int) -> None:
        """Give it up, after the last write has ended. Safe when not owned."""

    def owned(self, number: int) -> bool: ...


class LocalPlacement:
    """Every object is ours: the data directory's lock keeps other processes out."""

    def __init__(self) -> None:
        self._owned: set[int] = set()

    async def own(self, number: int) -> None:
        self._owned.add(number)

    async def disown(self, number: int) -> None:
        self._owned.discard(number)

    def owned(self, number: int) -> bool:
        return number in self._owned
