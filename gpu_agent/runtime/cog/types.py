"""The types of inputs and outputs that Python itself does not have."""

import io
import os
import pathlib
from typing import TYPE_CHECKING, Any, AsyncIterator, Iterator, Optional, TypeVar, Union

from cog.fields import Input as Input
from cog.pydantic_field import PydanticField

_Text = TypeVar("_Text", covariant=True)
_URLS = ("http://", "https://", "data:")


def _text(value: Any) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"must be a path or a URL, not {type(value).__name__}")  # noqa: TRY004 - pydantic's
    return str(os.fspath(value))


def _is_url(text: str) -> bool:
    return text[:8].lower().startswith(_URLS)


class ExperimentalFeatureWarning(Warning):
    """There for models that silence it: nothing here warns of it."""


class Path(PydanticField, pathlib.PosixPath):
    """A file: as an input it is already on the local disk, as an output it is stored for the client."""

    _json_schema = {"type": "string", "format": "uri"}

    @classmethod
    def validate(cls, value: "Union[str, os.PathLike[str]]") -> "Path":
        """The file that a text names: a path, or a URL that is fetched when it is first used.

        Raises ``ValueError`` for what is neither.
        """
        if isinstance(value, Path):
            return value
        text = _text(value)
        if not _is_url(text):
            return cls(text)
        from cog.remote import URLFile, URLPath

        source = URLFile(text)
        return URLPath(source=text, filename=source.name, fileobj=source)


if TYPE_CHECKING:
    from typing import BinaryIO

    File = BinaryIO
else:

    class File(PydanticField, io.IOBase):
        """A file that is open for reading; as an output any open file, also one in memory."""

        _json_schema = {"type": "string", "format": "uri"}
        _is_text_in_json = False

        @classmethod
        def validate(cls, value: Any) -> Any:
            """The open file that a text names, or the value itself when it is one.

            Raises ``ValueError`` for what is neither, ``OSError`` when it cannot be opened.
            """
            if hasattr(value, "read"):
                return value
            text = _text(value)
            if not _is_url(text):
                return open(text, "rb")  # noqa: SIM115 - the caller's to close
            from cog.remote import URLFile

            return URLFile(text)


Weights = Union[File, Path, str]
"""What ``setup(self, weights)`` may be annotated with."""


class Secret(PydanticField):
    """A string that does not show itself: ``str`` and ``repr`` are masked, ``get_secret_value`` is not."""

    __slots__ = ("_value",)

    MASK = "**********"

    _json_schema = {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True}

    def __init__(self, secret_value: Optional[str] = None) -> None:
        self._value = secret_value

    @classmethod
    def validate(cls, value: Any) -> "Secret":
        """The secret of a string. Raises ``ValueError``, without the value, for anything else."""
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise ValueError(f"must be a string, not {type(value).__name__}")  # noqa: TRY004 - pydantic's
        return cls(value)

    @property
    def secret_value(self) -> Optional[str]:
        """As ``get_secret_value()``."""
        return self._value

    def get_secret_value(self) -> Optional[str]:
        return self._value

    def __str__(self) -> str:
        return self.MASK if self._value else ""

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"

    def __len__(self) -> int:
        return len(self._value or "")

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


if TYPE_CHECKING:
    from cog.remote import URLFile as URLFile
    from cog.remote import URLPath as URLPath
    from cog.remote import get_filename as get_filename
else:  # a type checker takes any name from a module that has this

    def __getattr__(name: str) -> Any:
        if name in ("URLFile", "URLPath", "get_filename"):
            import cog.remote

            return getattr(cog.remote, name)
        raise AttributeError(f"module 'cog.types' has no attribute {name!r}")
