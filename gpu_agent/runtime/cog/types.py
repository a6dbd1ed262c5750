"""The types of inputs and outputs that Python itself does not have."""

import pathlib
from typing import TYPE_CHECKING, AsyncIterator, Iterator, TypeVar

_Text = TypeVar("_Text", covariant=True)


class Path(pathlib.PosixPath):
    """A file: as an input it is already on the local disk, as an output it is stored for the client."""


class Secret:
    """A string that does not show itself: ``str`` and ``repr`` are masked, ``get_secret_value`` is not."""

    __slots__ = ("_value",)

    MASK = "**********"

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        return self._value

    def __str__(self) -> str:
        return self.MASK if self._value else ""

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


if TYPE_CHECKING:
    # A type checker wants a generator's annotation to be Iterator itself, not a subclass.
    ConcatenateIterator = Iterator
    AsyncConcatenateIterator = AsyncIterator
else:

    class ConcatenateIterator(Iterator[_Text]):
        """Annotates a ``predict`` that yields pieces of one text: ``-> ConcatenateIterator[str]``."""

    class AsyncConcatenateIterator(AsyncIterator[_Text]):
        """The same for an ``async def predict`` that yields."""
