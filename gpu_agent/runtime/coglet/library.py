"""Types of the standard library that an output may be of, as those of the first generation may."""

from typing import Any, Dict, Optional, Tuple

from coglet.encoding import encode_any, mismatch
from coglet.files import Files
from coglet.shapes import ANY, Schema, Shape

_TYPES: Dict[Tuple[str, str], Tuple[str, str]] = {
    ("datetime", "datetime"): ("string", "date-time"),
    ("datetime", "date"): ("string", "date"),
    ("datetime", "time"): ("string", "time"),
    ("datetime", "timedelta"): ("number", "time-delta"),
    ("uuid", "UUID"): ("string", "uuid"),
    ("decimal", "Decimal"): ("number", ""),
    ("fractions", "Fraction"): ("number", ""),
}
"""Type and format in JSON, by module and name, as to import them would cost every model."""
_JSON: Dict[str, Tuple[type, ...]] = {"string": (str,), "number": (int, float)}


def library_shape(annotation: Any) -> Optional[Shape]:
    """The shape of such a type, or of ``object``, which is anything; None for any other."""
    if annotation is object:
        return ANY
    described = _TYPES.get((getattr(annotation, "__module__", ""), getattr(annotation, "__qualname__", "")))
    return None if described is None else LibraryType(annotation, *described)


class LibraryType(Shape):
    """A value of such a class, or one that is in JSON already what the class becomes there."""

    def __init__(self, cls: Any, schema_type: str, schema_format: str) -> None:
        self.name = cls.__name__
        self._schema_type = schema_type
        self._schema_format = schema_format

    def schema(self) -> Schema:
        typed = {"type": self._schema_type}
        return {**typed, "format": self._schema_format} if self._schema_format else typed

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        encoded = encode_any(value, pointer, files, take_files=False)
        if isinstance(encoded, _JSON[self._schema_type]) and not isinstance(encoded, bool):
            return encoded
        raise mismatch(pointer, self.name, value)
