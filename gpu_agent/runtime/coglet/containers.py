"""Shapes that hold other shapes: optional, one of several values, unions, lists, sets, tuples, objects."""

import enum
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from coglet.encoding import BadOutput, bad, encode_any, encode_mapping, fields_of, mismatch
from coglet.files import Files
from coglet.shapes import ANY, BOOL, FLOAT, INT, STR, BadValue, Schema, Shape, kind_of


class Holder(Shape):
    """A shape with one other in it."""

    def __init__(self, inner: Shape) -> None:
        self.inner = inner

    def holds_secrets(self) -> bool:
        return self.inner.holds_secrets()


class Nullable(Holder):
    """``Optional[T]``."""

    def __init__(self, inner: Shape) -> None:
        super().__init__(inner)
        self.name = f"Optional[{inner.name}]"
        self.exact = (*inner.exact, type(None))

    def schema(self) -> Schema:
        return {**self.inner.schema(), "nullable": True}

    def decode(self, value: Any) -> Any:
        return None if value is None else self.inner.decode(value)

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        return None if value is None else self.inner.encode(value, pointer, files)

    def plain(self, default: Any) -> Any:
        return None if default is None else self.inner.plain(default)

    def secrets(self, value: Any) -> Iterator[str]:
        return self.inner.secrets(value)


class OneOf(Shape):
    """``Literal[…]``, or an ``Enum`` whose members the model gets."""

    def __init__(self, name: str, values: Sequence[Any], members: Optional[Dict[Any, Any]] = None) -> None:
        self.name = name
        self.values = list(values)
        self._members = members
        self._scalar = scalar_of(self.values)
        self.exact = tuple({type(value) for value in self.values})

    def only(self, values: Optional[List[Any]]) -> "OneOf":
        """The same with fewer values."""
        return self if values is None else OneOf(self.name, values, self._members)

    def schema(self) -> Schema:
        typed = {} if self._scalar is None else self._scalar.schema()
        return {**typed, "enum": self.values}

    def decode(self, value: Any) -> Any:
        converted = value if self._scalar is None else self._scalar.decode(value)
        for each in self.values:
            # True is 1 to Python, and not to JSON.
            if each == converted and isinstance(each, bool) is isinstance(converted, bool):
                return each if self._members is None else self._members[each]
        raise BadValue(f"must be one of {', '.join(map(repr, self.values))}")

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        encoded = encode_any(value, pointer, files, take_files=False)
        if encoded not in self.values:
            raise bad(pointer, f"must be one of {', '.join(map(repr, self.values))}")
        return encoded

    def plain(self, default: Any) -> Any:
        if self._members is None or not isinstance(default, enum.Enum):
            if default not in self.values:
                raise BadValue(f"is none of {self.name}")
            return default
        if default not in self._members.values():
            raise BadValue(f"is none of {self.name}")
        return default.value


def scalar_of(values: List[Any]) -> Optional[Shape]:
    """The one type of all these values; None when they are of several."""
    for python, scalar in ((bool, BOOL), (str, STR), (int, INT), (float, FLOAT)):
        if all(isinstance(value, python) for value in values):
            return scalar if python is bool or not any(isinstance(value, bool) for value in values) else None
    return None


class UnionOf(Shape):
    """A value of one of several shapes: the one that it is in JSON already, else the first that takes it."""

    def __init__(self, options: Sequence[Shape]) -> None:
        self.options = list(options)
        self.name = f"Union[{', '.join(option.name for option in options)}]"
        self.exact = tuple(kind for option in options for kind in option.exact)

    def schema(self) -> Schema:
        return {"anyOf": [option.schema() for option in self.options]}

    def decode(self, value: Any) -> Any:
        natural = self._natural(value)
        reasons: Dict[str, None] = {}
        for option in self._ordered(value):
            try:
                return option.decode(value)
            except BadValue as error:
                if not natural or option in natural:
                    reasons[str(error)] = None
        raise BadValue(f"fits none of {self.name}: {'; '.join(reasons)}")

    def _natural(self, value: Any) -> List[Shape]:
        return [option for option in self.options if type(value) in option.exact]

    def _ordered(self, value: Any) -> List[Shape]:
        """First those that it fits without a conversion: 1 is an int before it is a float or a str."""
        natural = self._natural(value)
        return natural + [option for option in self.options if option not in natural]

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        mark = files.mark()
        for option in self._ordered(value):
            try:
                return option.encode(value, pointer, files)
            except BadOutput:
                files.forget(mark)
        raise mismatch(pointer, self.name, value)

    def plain(self, default: Any) -> Any:
        for option in self._ordered(default):
            try:
                return option.plain(default)
            except BadValue:
                continue
        raise BadValue(f"is not of type {self.name}")

    def secrets(self, value: Any) -> Iterator[str]:
        for option in self.options:
            yield from option.secrets(value)

    def holds_secrets(self) -> bool:
        return any(option.holds_secrets() for option in self.options)


class ListOf(Holder):
    """``list[T]``; as an output any iterable, arrays of NumPy and PyTorch included."""

    exact = (list,)

    def __init__(self, inner: Shape) -> None:
        super().__init__(inner)
        self.name = f"list[{inner.name}]"

    def schema(self) -> Schema:
        return {"type": "array", "items": self.inner.schema()}

    def decode(self, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise BadValue(f"must be a list, not {kind_of(value)}")
        decode = self.inner.decode
        elements = []
        for index, element in enumerate(value):
            try:
                elements.append(decode(element))
            except BadValue as error:
                raise BadValue(f"element {index} {error}") from None
        return elements

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        if hasattr(value, "tolist") and not isinstance(value, (list, tuple)):
            value = value.tolist()
        if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__iter__"):
            raise mismatch(pointer, "list", value)
        encode = self.inner.encode
        return [encode(element, f"{pointer}/{index}", files) for index, element in enumerate(value)]

    def plain(self, default: Any) -> Any:
        if not isinstance(default, (list, tuple, set, frozenset)):
            raise BadValue("is not a list")
        return [self.inner.plain(element) for element in default]

    def secrets(self, value: Any) -> Iterator[str]:
        if isinstance(value, (list, tuple)):
            for element in value:
                yield from self.inner.secrets(element)


class SetOf(ListOf):
    """``set[T]``, a list without repetition in JSON. The second generation wrapped it as ``{"items": […]}``,
    which is taken too."""

    def __init__(self, inner: Shape, python: Any) -> None:
        super().__init__(inner)
        self._python = python
        self.name = f"{python.__name__}[{inner.name}]"

    def schema(self) -> Schema:
        return {**super().schema(), "uniqueItems": True}

    def decode(self, value: Any) -> Any:
        if isinstance(value, dict) and list(value) == ["items"]:
            value = value["items"]
        try:
            return self._python(super().decode(value))
        except TypeError:
            raise BadValue("has an element that cannot be in a set") from None

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        if isinstance(value, (set, frozenset)):
            try:
                value = sorted(value)  # the same set is the same output every time, where it has an order
            except TypeError:
                value = list(value)
        return super().encode(value, pointer, files)


class TupleOf(Shape):
    """``tuple[A, B]``: a list of just as many elements."""

    exact = (list,)

    def __init__(self, parts: Sequence[Shape]) -> None:
        self._parts = list(parts)
        self.name = f"tuple[{', '.join(part.name for part in parts)}]"

    def schema(self) -> Schema:
        count = len(self._parts)
        schemas: List[Schema] = []
        for part in self._parts:
            if part.schema() not in schemas:
                schemas.append(part.schema())
        items = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        return {"type": "array", "items": items, "minItems": count, "maxItems": count}

    def decode(self, value: Any) -> Tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise BadValue(f"must be a list, not {kind_of(value)}")
        if len(value) != len(self._parts):
            raise BadValue(f"must have {len(self._parts)} elements, not {len(value)}")
        elements = []
        for index, (part, element) in enumerate(zip(self._parts, value)):
            try:
                elements.append(part.decode(element))
            except BadValue as error:
                raise BadValue(f"element {index} {error}") from None
        return tuple(elements)

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        if not isinstance(value, (list, tuple)) or len(value) != len(self._parts):
            raise mismatch(pointer, self.name, value)
        return [
            part.encode(element, f"{pointer}/{index}", files)
            for index, (part, element) in enumerate(zip(self._parts, value))
        ]

    def plain(self, default: Any) -> Any:
        if not isinstance(default, (list, tuple)) or len(default) != len(self._parts):
            raise BadValue(f"is not of type {self.name}")
        return [part.plain(element) for part, element in zip(self._parts, default)]

    def secrets(self, value: Any) -> Iterator[str]:
        if isinstance(value, (list, tuple)):
            for part, element in zip(self._parts, value):
                yield from part.secrets(element)

    def holds_secrets(self) -> bool:
        return any(part.holds_secrets() for part in self._parts)


class TupleOfMany(ListOf):
    """``tuple[T, ...]``."""

    def __init__(self, inner: Shape) -> None:
        super().__init__(inner)
        self.name = f"tuple[{inner.name}, ...]"

    def decode(self, value: Any) -> Any:
        return tuple(super().decode(value))


class DictOf(Holder):
    """``dict[str, T]``. Keys are strings in JSON; those of a ``dict[int, T]`` become integers."""

    exact = (dict,)

    def __init__(self, inner: Shape, key: Shape = STR) -> None:
        super().__init__(inner)
        self._key = key
        self.name = f"dict[{key.name}, {inner.name}]"

    def schema(self) -> Schema:
        found: Schema = {"type": "object"}
        if self.inner is not ANY:
            found["additionalProperties"] = self.inner.schema()
        return found

    def decode(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise BadValue(f"must be an object, not {kind_of(value)}")
        found = {}
        for name, member in value.items():
            try:
                key = self._key.decode(name)
            except BadValue as error:
                raise BadValue(f"has a key that {error}") from None
            try:
                found[key] = self.inner.decode(member)
            except BadValue as error:
                raise BadValue(f"member {name!r} {error}") from None
        return found

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        fields = fields_of(value)
        if fields is None:
            raise mismatch(pointer, "dict", value)
        encode = self.inner.encode
        return encode_mapping(fields, pointer, lambda _key, member, place: encode(member, place, files))

    def plain(self, default: Any) -> Any:
        if not isinstance(default, dict):
            raise BadValue("is not an object")
        return {str(self._key.plain(key)): self.inner.plain(member) for key, member in default.items()}

    def secrets(self, value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for member in value.values():
                yield from self.inner.secrets(member)
