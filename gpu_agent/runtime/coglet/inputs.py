"""Inputs: what each parameter takes, as JSON Schema and as a check of values; both from the same object."""

import copy
import re
from typing import Any, Callable, Dict, Iterator, List, Optional

from coglet.files import Files
from coglet.shapes import Anything, BadValue, Schema, Shape


class BadInput(Exception):
    """An input object that the model does not take, with every reason."""

    def __init__(self, reasons: Dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
        self.reasons = reasons


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

    def __bool__(self) -> bool:
        return any(getattr(self, name) is not None for name in self.__slots__)

    def schema(self) -> Schema:
        found: Schema = {}
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


class Ruled(Shape):
    """A scalar within bounds. What bounds it is written on the input itself, as Cog's documents have it."""

    def __init__(self, scalar: Shape, rules: Rules) -> None:
        self.name = scalar.name
        self.exact = scalar.exact
        self._scalar = scalar
        self._rules = rules

    def schema(self) -> Schema:
        return self._scalar.schema()

    def decode(self, value: Any) -> Any:
        converted = self._scalar.decode(value)
        self._rules.check(converted)
        return converted

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        return self._scalar.encode(value, pointer, files)

    def plain(self, default: Any) -> Any:
        return self._scalar.plain(default)

    def secrets(self, value: Any) -> Iterator[str]:
        return self._scalar.secrets(value)

    def holds_secrets(self) -> bool:
        return self._scalar.holds_secrets()


class Field:
    """One input of a model."""

    def __init__(
        self,
        name: str,
        shape: Shape,
        *,
        many: bool,
        optional: bool,
        required: bool,
        default: Any,
        make_default: Optional[Callable[[], Any]] = None,
        rules: Rules,
        choices: Optional[Schema] = None,
        description: Optional[str] = None,
        deprecated: bool = False,
        accept: Optional[str] = None,
    ) -> None:
        self.name = name
        self.shape = shape
        self.many = many
        """A list of scalars: ``rules`` are its elements'."""
        self.optional = optional
        self.required = required
        self.default = default
        """As JSON; None when there is none."""
        self.make_default = make_default
        self.rules = rules
        self.choices = choices
        """The schema of the choices, which has a place of its own in the document, under ``reference``."""
        self.reference = name
        self.description = description
        self.deprecated = deprecated
        self.accept = accept

    def decode(self, value: Any) -> Any:
        """The Python value of a JSON value. Raises ``BadValue``."""
        if value is None and not self.optional and not isinstance(self.shape, Anything):
            raise BadValue("must not be null")
        return None if value is None else self.shape.decode(value)

    def omitted(self) -> Any:
        """The value when the client gave none: a new one each time, so that no prediction sees another's."""
        if self.make_default is not None:
            return self.make_default()
        if self.required:
            raise BadValue("is required")
        return None if self.default is None else self.shape.decode(copy.deepcopy(self.default))

    def schema(self, order: int) -> Schema:
        found: Schema = {"x-order": order}
        if self.choices is not None:
            reference = {"$ref": f"#/components/schemas/{self.reference}"}
            found.update({"type": "array", "items": reference} if self.many else {"allOf": [reference]})
        else:
            found["title"] = self.name.replace("_", " ").title()
            found.update(self.shape.schema())
        if self.default is not None:
            found["default"] = _masked(self.default) if self.shape.holds_secrets() else self.default
        if self.optional:
            found["nullable"] = True
        if self.description is not None:
            found["description"] = self.description
        if self.deprecated:
            found["deprecated"] = True
        found.update(self.rules.schema())
        if self.accept is not None:
            found["x-cog-accept"] = self.accept
        return found


def _masked(default: Any) -> Any:
    from cog.types import Secret

    if isinstance(default, list):
        return [_masked(element) for element in default]
    if isinstance(default, dict):
        return {key: _masked(member) for key, member in default.items()}
    return Secret.MASK if isinstance(default, str) else default


def convert_input(fields: List[Field], given: Dict[str, Any]) -> Dict[str, Any]:
    """The keyword arguments of ``predict``, without unknown keys. Raises ``BadInput`` with every reason."""
    arguments: Dict[str, Any] = {}
    reasons: Dict[str, str] = {}
    for field in fields:
        try:
            arguments[field.name] = (
                field.decode(given[field.name]) if field.name in given else field.omitted()
            )
        except BadValue as error:
            reasons[field.name] = str(error)
    if reasons:
        raise BadInput(reasons)
    return arguments


def secrets_of(fields: List[Field], given: Dict[str, Any]) -> List[str]:
    """The secrets of an input, defaults included, whether or not it can be converted."""
    found: List[str] = []
    for field in fields:
        value = given.get(field.name, field.default)
        if value is not None:
            found += field.shape.secrets(value)
    return [secret for secret in found if secret]
