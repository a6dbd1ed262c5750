"""Inputs: what one parameter takes, as JSON Schema and as a check of values; both from the same object."""

import math
import os
import pathlib
import re
from typing import Any, Callable, Dict, List, Optional

from cog.types import Path, Secret


class BadValue(Exception):
    """A value that its input does not take; the text is the rule, and never shows the value."""


class BadInput(Exception):
    """An input object that the model does not take, with every reason."""

    def __init__(self, reasons: Dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
        self.reasons = reasons


_NAMES = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def _kind_of(value: Any) -> str:
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def _to_str(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise BadValue(f"must be a string, not {_kind_of(value)}")


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
    raise BadValue(f"must be an integer, not {_kind_of(value)}")


def _to_float(value: Any, expected: str = "a number") -> float:
    if not isinstance(value, (int, float, str)):
        raise BadValue(f"must be {expected}, not {_kind_of(value)}")
    try:
        number = float(value)
    except ValueError:
        raise BadValue(f"must be {expected}, not {_kind_of(value)}") from None
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
    raise BadValue(f"must be true or false, not {_kind_of(value)}")


def _to_secret(value: Any) -> Secret:
    return value if isinstance(value, Secret) else Secret(_to_str(value))


class Kind:
    """One scalar type: its name, its schema, how a JSON value becomes a Python one."""

    __slots__ = ("accepts", "convert", "name", "schema")

    def __init__(
        self, name: str, schema: Dict[str, Any], accepts: Any, convert: Callable[[Any], Any]
    ) -> None:
        self.name = name
        self.schema = schema
        self.accepts = accepts
        """Python types that a default in the source may have."""
        self.convert = convert


STR = Kind("str", {"type": "string"}, str, _to_str)
INT = Kind("int", {"type": "integer"}, int, _to_int)
FLOAT = Kind("float", {"type": "number"}, (int, float), _to_float)
BOOL = Kind("bool", {"type": "boolean"}, bool, _to_bool)
SECRET = Kind(
    "Secret",
    {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
    (str, Secret),
    _to_secret,
)


def path_kind(annotation: Any) -> Kind:
    """The kind of a file input; the value gets the annotated class where that is a ``pathlib`` one."""
    make = annotation if issubclass(annotation, pathlib.PurePath) else Path

    def to_path(value: Any) -> Any:
        if not isinstance(value, (str, os.PathLike)):
            raise BadValue(f"must be a file, not {_kind_of(value)}")
        text = os.fspath(value)
        if text.startswith(("http://", "https://", "data:")):
            raise BadValue("is a URL that was not fetched: the runner takes files on its own disk")
        if not os.path.exists(text):
            raise BadValue("there is no such file")
        return make(text)

    return Kind("Path", {"type": "string", "format": "uri"}, (str, os.PathLike), to_path)


class Rules:
    """The constraints of one input; on a list they hold for each element."""

    __slots__ = ("choices", "ge", "le", "max_length", "min_length", "pattern", "regex")

    def __init__(self, ge: Any, le: Any, min_length: Any, max_length: Any, regex: Any, choices: Any) -> None:
        self.ge = ge
        self.le = le
        self.min_length = min_length
        self.max_length = max_length
        self.regex = regex
        self.pattern = re.compile(regex) if regex is not None else None
        self.choices = choices

    def schema(self) -> Dict[str, Any]:
        found: Dict[str, Any] = {}
        if self.ge is not None:
            found["minimum"] = float(self.ge)
        if self.le is not None:
            found["maximum"] = float(self.le)
        if self.min_length is not None:
            found["minLength"] = self.min_length
        if self.max_length is not None:
            found["maxLength"] = self.max_length
        if self.regex is not None:
            found["pattern"] = self.regex
        return found

    def check(self, value: Any) -> None:
        if self.choices is not None and value not in self.choices:
            raise BadValue(f"must be one of {', '.join(map(repr, self.choices))}")
        if self.ge is not None and value < self.ge:
            raise BadValue(f"must be at least {self.ge}")
        if self.le is not None and value > self.le:
            raise BadValue(f"must be at most {self.le}")
        if self.min_length is not None and len(value) < self.min_length:
            raise BadValue(f"must have at least {self.min_length} characters")
        if self.max_length is not None and len(value) > self.max_length:
            raise BadValue(f"must have at most {self.max_length} characters")
        if self.pattern is not None and not self.pattern.search(value):
            raise BadValue(f"must match the pattern {self.regex}")


class Field:
    """One input of a model."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        *,
        many: bool,
        optional: bool,
        required: bool,
        default: Any,
        rules: Rules,
        description: Optional[str],
        deprecated: bool,
    ) -> None:
        self.name = name
        self.kind = kind
        self.many = many
        self.optional = optional
        self.required = required
        self.default = default
        """What the author wrote, with Enum members as their values; None when there is none."""
        self.rules = rules
        self.description = description
        self.deprecated = deprecated

    def convert(self, value: Any) -> Any:
        """The Python value of a JSON value. Raises ``BadValue``."""
        if value is None:
            if self.optional:
                return None
            raise BadValue("must not be null")
        if not self.many:
            return self._element(value)
        if not isinstance(value, (list, tuple)):
            raise BadValue(f"must be a list, not {_kind_of(value)}")
        elements = []
        for index, element in enumerate(value):
            try:
                elements.append(self._element(element))
            except BadValue as error:
                raise BadValue(f"element {index} {error}") from None
        return elements

    def _element(self, value: Any) -> Any:
        converted = self.kind.convert(value)
        self.rules.check(converted)
        return converted

    def omitted(self) -> Any:
        """The value when the client gave none: a new one each time, so that no prediction sees another's."""
        if self.required:
            raise BadValue("is required")
        return None if self.default is None else self.convert(self.default)

    def schema(self, order: int) -> Dict[str, Any]:
        found: Dict[str, Any] = {"x-order": order}
        if self.rules.choices is not None:
            reference = {"$ref": f"#/components/schemas/{self.name}"}
            found.update({"type": "array", "items": reference} if self.many else {"allOf": [reference]})
        else:
            found["title"] = self.name.replace("_", " ").title()
            found.update(
                {"type": "array", "items": dict(self.kind.schema)} if self.many else self.kind.schema
            )
        if self.default is not None:
            found["default"] = (
                [self._plain(item) for item in self.default] if self.many else self._plain(self.default)
            )
        if self.optional:
            found["nullable"] = True
        if self.description is not None:
            found["description"] = self.description
        if self.deprecated:
            found["deprecated"] = True
        found.update(self.rules.schema())
        return found

    def _plain(self, value: Any) -> Any:
        if self.kind is SECRET:
            return Secret.MASK
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    def choices_schema(self) -> Optional[Dict[str, Any]]:
        if self.rules.choices is None:
            return None
        return {
            "type": self.kind.schema["type"],
            "enum": list(self.rules.choices),
            "title": self.name,
            "description": "An enumeration.",
        }


def convert_input(fields: List[Field], given: Dict[str, Any]) -> Dict[str, Any]:
    """The keyword arguments of ``predict``, without unknown keys. Raises ``BadInput`` with every reason."""
    arguments: Dict[str, Any] = {}
    reasons: Dict[str, str] = {}
    for field in fields:
        try:
            arguments[field.name] = (
                field.convert(given[field.name]) if field.name in given else field.omitted()
            )
        except BadValue as error:
            reasons[field.name] = str(error)
    if reasons:
        raise BadInput(reasons)
    return arguments
