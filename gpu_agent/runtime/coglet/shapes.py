"""What one value of an input or an output is. The schema, the check of what clients send and the encoder of
what models return all come from the same object, so that they cannot disagree.

BadValue    what a client sent, or a default in the source, is no such value
BadOutput   what the model returned is no such value
"""

import math
import os
import pathlib
import re
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

from cog.types import Path, Secret

from coglet.encoding import encode_any, mismatch, place
from coglet.files import Files


class BadValue(Exception):
    """A value that its input does not take; the text is the rule, and never shows the value."""


Schema = Dict[str, Any]

_URLS = ("http://", "https://", "data:")
_NAMES = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def kind_of(value: Any) -> str:
    """How a message calls a value without showing it."""
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


class Shape:
    """One type, as the author annotated it."""

    name = ""
    """As a person writes it: ``list[int]``."""
    exact: Tuple[type, ...] = ()
    """The types that JSON's own values of this shape have; in a union they are preferred to a conversion."""

    def schema(self) -> Schema:
        raise NotImplementedError

    def decode(self, value: Any) -> Any:
        """The Python value of a JSON value. Raises ``BadValue``."""
        raise NotImplementedError

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        """The JSON value; a file is null there and noted in ``files``. Raises ``BadOutput``."""
        raise NotImplementedError

    def plain(self, default: Any) -> Any:
        """A default of the source as JSON, as ``decode`` takes it. Raises ``BadValue``."""
        raise NotImplementedError

    def secrets(self, value: Any) -> Iterator[str]:
        """The secrets in a JSON value, whether or not it can be decoded."""
        return iter(())

    def holds_secrets(self) -> bool:
        return False


class Anything(Shape):
    """Whatever JSON can say; as an output also what is easily made of Python's own types."""

    name = "Any"

    def schema(self) -> Schema:
        return {}

    def decode(self, value: Any) -> Any:
        return value

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        return encode_any(value, pointer, files)

    def plain(self, default: Any) -> Any:
        return default


class OpaqueObject(Anything):
    """``Annotated[T, Opaque]``: an object that nobody looks into."""

    name = "Opaque"

    def schema(self) -> Schema:
        return {"type": "object"}


def _to_str(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise BadValue(f"must be a string, not {kind_of(value)}")


_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,4000}\s*", re.ASCII)


def _to_int(value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, (float, str)):
        number = _to_float(value, "an integer")
        if number.is_integer():
            return int(number)
        raise BadValue("must be an integer, not a fraction")
    raise BadValue(f"must be an integer, not {kind_of(value)}")


def _to_float(value: Any, expected: str = "a number") -> float:
    if not isinstance(value, (int, float, str)):
        raise BadValue(f"must be {expected}, not {kind_of(value)}")
    try:
        number = float(value)
    except ValueError:
        raise BadValue(f"must be {expected}, not {kind_of(value)}") from None
    except OverflowError:
        raise BadValue("is too large for a number") from None
    if not math.isfinite(number):
        raise BadValue("must be a finite number")
    return number


_BOOLEANS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    raise BadValue(f"must be true or false, not {kind_of(value)}")


def _whole(value: Any) -> Optional[int]:
    return int(value) if int(value) == value else None


class Scalar(Shape):
    """``str``, ``int``, ``float``, ``bool``."""

    def __init__(
        self,
        python: Any,
        schema_type: str,
        decode: Callable[[Any], Any],
        outputs: Tuple[type, ...],
        make: Callable[[Any], Any],
    ) -> None:
        self.name = python.__name__
        self.exact = (python,)
        self.schema_type = schema_type
        self.decode = decode  # type: ignore[method-assign, assignment]  # nothing between value and check
        self._outputs = outputs
        self._make = make

    def schema(self) -> Schema:
        return {"type": self.schema_type}

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        # A file is a text to the client, too: its URL.
        encoded = encode_any(value, pointer, files, take_files=self is STR)
        if encoded is None and value is not None and files.is_file(value):
            return None
        if isinstance(encoded, self._outputs):
            made = self._make(encoded)
            if made is not None:
                return made
        raise mismatch(pointer, self.name, value)

    def plain(self, default: Any) -> Any:
        if self is INT and isinstance(default, float) and default.is_integer():
            return int(default)
        if self is BOOL and type(default) is int and default in (0, 1):
            return bool(default)
        accepted = (int, float) if self is FLOAT else self.exact
        if not isinstance(default, accepted) or isinstance(default, bool) is not (self is BOOL):
            raise BadValue(f"is not of type {self.name}")
        # A float's own default stays as it is written: 3 is not made 3.0.
        return default


STR = Scalar(str, "string", _to_str, (str,), str)
INT = Scalar(int, "integer", _to_int, (int, float), _whole)
FLOAT = Scalar(float, "number", _to_float, (int, float), float)
BOOL = Scalar(bool, "boolean", _to_bool, (bool,), bool)
ANY = Anything()
OPAQUE = OpaqueObject()


class SecretText(Shape):
    name = "Secret"
    exact = (str,)

    def schema(self) -> Schema:
        return {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True}

    def decode(self, value: Any) -> Secret:
        return value if isinstance(value, Secret) else Secret(_to_str(value))

    def encode(self, value: Any, pointer: str, files: Files) -> str:
        if not isinstance(value, (str, Secret)):
            raise mismatch(pointer, self.name, value)
        return Secret.MASK

    def plain(self, default: Any) -> str:
        if isinstance(default, Secret):
            return default.get_secret_value() or ""
        if not isinstance(default, str):
            raise BadValue("is not of type Secret")
        return default

    def secrets(self, value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value

    def holds_secrets(self) -> bool:
        return True


SECRET = SecretText()


class LocalFile(Shape):
    """A file: as an input it lies on the local disk, as an output it is set aside for the client."""

    name = "Path"
    exact = (str,)

    def __init__(self, annotation: Any = Path) -> None:
        # The value gets the annotated class where that is one of pathlib's.
        self._make = annotation if issubclass(annotation, pathlib.PurePath) else Path

    def schema(self) -> Schema:
        return {"type": "string", "format": "uri"}

    def decode(self, value: Any) -> Any:
        if not isinstance(value, (str, os.PathLike)):
            raise BadValue(f"must be a file, not {kind_of(value)}")
        text = os.fspath(value)
        if text.startswith(_URLS):
            raise BadValue("is a URL that was not fetched: the runner takes files on its own disk")
        if not os.path.exists(text):
            raise BadValue("there is no such file")
        return self._make(text)

    def encode(self, value: Any, pointer: str, files: Files) -> Optional[str]:
        if isinstance(value, str) and value.startswith(_URLS):
            return value  # the model has stored it where it likes
        if not files.is_file(value):
            raise mismatch(pointer, self.name, value)
        place(value, pointer, files)
        return None

    def plain(self, default: Any) -> str:
        if not isinstance(default, (str, os.PathLike)):
            raise BadValue(f"is not of type {self.name}")
        return str(os.fspath(default))


class OpenFile(LocalFile):
    """``File``: the same, opened for reading."""

    name = "File"

    def __init__(self) -> None:
        super().__init__()

    def decode(self, value: Any) -> Any:
        path = super().decode(value)
        try:
            return path.open("rb")
        except OSError as error:
            raise BadValue(f"cannot be opened: {error.strerror}") from None
