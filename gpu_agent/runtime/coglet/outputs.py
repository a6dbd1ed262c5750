"""Outputs: what ``predict`` returns, as JSON Schema and as an encoder. Both come from the same object."""

import math
import os
import sys
import typing
from typing import Any, Callable, Dict, List, Optional

from cog import AsyncConcatenateIterator, ConcatenateIterator, Secret

from coglet import annotations
from coglet.files import Files

LARGEST_INTEGER = 2**64 - 1
SMALLEST_INTEGER = -(2**63)


class BadOutput(Exception):
    """A value that cannot be an output; the text says where it is and why."""


def _fail(pointer: str, reason: str) -> BadOutput:
    return BadOutput(f"output{pointer}: {reason}")


class Shape:
    """What one value of the output is: its schema, and how such a value becomes JSON."""

    def schema(self) -> Dict[str, Any]:
        raise NotImplementedError

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        """The JSON value; a file is null there and noted in ``files``. Raises ``BadOutput``."""
        raise NotImplementedError


class Anything(Shape):
    """Whatever JSON can say, and what is easily made of Python's own types."""

    def schema(self) -> Dict[str, Any]:
        return {}

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        return encode_any(value, pointer, files)


class Scalar(Shape):
    def __init__(self, name: str, schema: Dict[str, Any], types: Any, make: Callable[[Any], Any]) -> None:
        self._name = name
        self._schema = schema
        self._types = types
        self._make = make

    def schema(self) -> Dict[str, Any]:
        return dict(self._schema)

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        plain = encode_any(value, pointer, files, take_files=False)
        if not isinstance(plain, self._types):
            raise _mismatch(pointer, self._name, value)
        made = self._make(plain)
        if made is None:
            raise _mismatch(pointer, self._name, value)
        return made


def _mismatch(pointer: str, expected: str, value: Any) -> BadOutput:
    return _fail(pointer, f"expected {expected}, as predict() is annotated, but got {type(value).__name__}")


def _whole(value: Any) -> Optional[int]:
    return int(value) if int(value) == value else None


STR = Scalar("str", {"type": "string"}, (str,), str)
INT = Scalar("int", {"type": "integer"}, (int, float), _whole)
FLOAT = Scalar("float", {"type": "number"}, (int, float), float)
BOOL = Scalar("bool", {"type": "boolean"}, (bool,), bool)
SECRET = Scalar(
    "Secret",
    {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
    (str,),
    lambda _: Secret.MASK,
)
ANY = Anything()


class File(Shape):
    def schema(self) -> Dict[str, Any]:
        return {"type": "string", "format": "uri"}

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        if not files.is_file(value):
            raise _mismatch(pointer, "Path", value)
        _place(value, pointer, files)


class ListOf(Shape):
    def __init__(self, element: Shape) -> None:
        self.element = element

    def schema(self) -> Dict[str, Any]:
        return {"type": "array", "items": self.element.schema()}

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__iter__"):
            raise _mismatch(pointer, "list", value)
        encode = self.element.encode
        return [encode(element, f"{pointer}/{index}", files) for index, element in enumerate(value)]


class Dictionary(Shape):
    def __init__(self, value: Shape) -> None:
        self.value = value

    def schema(self) -> Dict[str, Any]:
        found: Dict[str, Any] = {"type": "object"}
        if self.value is not ANY:
            found["additionalProperties"] = self.value.schema()
        return found

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        fields = _fields_of(value)
        if fields is None:
            raise _mismatch(pointer, "dict", value)
        return _encode_mapping(fields, pointer, lambda _name: self.value, files)


class Record(Shape):
    """A dataclass or ``BaseModel``."""

    def __init__(self, cls: Any, fields: Dict[str, Shape], optional: List[str]) -> None:
        self._cls = cls
        self._fields = fields
        self._optional = optional

    def schema(self) -> Dict[str, Any]:
        properties: Dict[str, Any] = {}
        for name, shape in self._fields.items():
            properties[name] = {**shape.schema(), "title": name.replace("_", " ").title()}
            if name in self._optional:
                properties[name]["nullable"] = True
        found: Dict[str, Any] = {"type": "object", "properties": properties}
        required = [name for name in self._fields if name not in self._optional]
        if required:
            found["required"] = required
        return found

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        fields = _fields_of(value)
        if fields is None:
            raise _mismatch(pointer, self._cls.__name__, value)
        for name in self._fields:
            if name not in fields:
                raise _fail(f"{pointer}/{name}", "is missing")
            if fields[name] is None and name not in self._optional:
                raise _mismatch(f"{pointer}/{name}", "a value", None)
        shapes = self._fields
        optional = self._optional
        present = {name: fields[name] for name in fields}

        def shape_of(name: str) -> Shape:
            return ANY if name in optional and present[name] is None else shapes.get(name, ANY)

        return _encode_mapping(present, pointer, shape_of, files)


class Output:
    """The whole output: one value, or ``streams`` of them."""

    def __init__(self, shape: Shape, *, streams: bool, concatenates: bool) -> None:
        self.shape = shape
        self.streams = streams
        self.concatenates = concatenates

    def schema(self) -> Dict[str, Any]:
        found = self.shape.schema()
        if self.streams:
            found = {"type": "array", "items": found, "x-cog-array-type": "iterator"}
            if self.concatenates:
                found["x-cog-array-display"] = "concatenate"
        found["title"] = "Output"
        return found


class BadAnnotation(Exception):
    """A return annotation that is no output; the text is the rule it breaks."""


_SCALARS: Dict[Any, Shape] = {str: STR, int: INT, float: FLOAT, bool: BOOL, Secret: SECRET, Any: ANY}
_ITERATORS = ("Iterator", "AsyncIterator", "Generator", "AsyncGenerator", "Iterable", "AsyncIterable")


def read_output(annotation: Any, names: Dict[str, Any]) -> Output:
    """What a return annotation promises. Raises ``BadAnnotation`` or ``annotations.Unresolvable``."""
    annotation = annotations.strip(annotations.evaluate(annotation, names))
    if annotation is None or annotation is annotations.NONE:
        raise BadAnnotation("predict() must not return None")
    if annotations.take_optional(annotation)[1]:
        raise BadAnnotation("output must not be Optional (None may still be returned)")
    origin = typing.get_origin(annotation)
    bare = origin or annotation
    if bare in (ConcatenateIterator, AsyncConcatenateIterator):
        arguments = typing.get_args(annotation)
        if not arguments or annotations.evaluate(arguments[0], names) is not str:
            raise BadAnnotation(f"{bare.__name__} must have str elements, as {bare.__name__}[str]")
        return Output(STR, streams=True, concatenates=True)
    if getattr(bare, "__module__", "") in ("collections.abc", "typing") and _name(bare) in _ITERATORS:
        arguments = typing.get_args(annotation)
        if not arguments or isinstance(arguments[0], typing.TypeVar):
            raise BadAnnotation(f"{_name(bare)} must have an element type, as {_name(bare)}[str]")
        element = annotations.evaluate(arguments[0], names)
        if annotations.take_optional(element)[1]:
            raise BadAnnotation("elements of the output must not be Optional")
        return Output(read_shape(element, names), streams=True, concatenates=False)
    return Output(read_shape(annotation, names), streams=False, concatenates=False)


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or getattr(annotation, "_name", None) or str(annotation)


def read_shape(annotation: Any, names: Dict[str, Any]) -> Shape:
    """The shape of one value. Raises ``BadAnnotation``."""
    annotation = annotations.strip(annotations.evaluate(annotation, names))
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is list:
        return ListOf(read_shape(arguments[0], names))
    if annotation in (list, typing.List):
        return ListOf(ANY)
    if origin is dict:
        if annotations.evaluate(arguments[0], names) not in (str, int, Any):
            raise BadAnnotation("keys of a dict in the output must be str")
        return Dictionary(read_shape(arguments[1], names))
    if annotation in (dict, typing.Dict):
        return Dictionary(ANY)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type):
        if issubclass(annotation, os.PathLike):
            return File()
        if hasattr(annotation, "__dataclass_fields__"):
            return _read_record(annotation)
    raise BadAnnotation(f"unsupported output type {annotations.describe(annotation)}")


def _read_record(cls: Any) -> Record:
    names: Dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        names.update(vars(sys.modules[base.__module__]))
    fields: Dict[str, Shape] = {}
    optional = []
    for name, field in cls.__dataclass_fields__.items():
        annotation, may_be_none = annotations.take_optional(annotations.evaluate(field.type, names))
        try:
            fields[name] = read_shape(annotation, names)
        except BadAnnotation as error:
            raise BadAnnotation(f"{cls.__name__}.{name}: {error}") from None
        if may_be_none:
            optional.append(name)
    return Record(cls, fields, optional)


def encode_any(value: Any, pointer: str, files: Files, take_files: bool = True) -> Any:
    """The JSON value of whatever a model may return. Raises ``BadOutput``."""
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _fail(pointer, f"{float(value)} is not a number in JSON")
        return float(value)
    if hasattr(value, "_value_") and hasattr(kind, "__members__"):
        return encode_any(value.value, pointer, files, take_files)
    if isinstance(value, int):
        if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
            raise _fail(pointer, "the integer does not fit into 64 bits")
        return int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Secret):
        return Secret.MASK
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise _fail(pointer, "bytes cannot be an output: write them to a file and return its Path")
    if files.is_file(value):
        if not take_files:
            raise _fail(
                pointer, f"got the file {kind.__name__} where predict() is annotated otherwise; annotate Path"
            )
        return _place(value, pointer, files)
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        return encode_any(value.tolist(), pointer, files, take_files)
    fields = _fields_of(value)
    if fields is not None:
        return _encode_mapping(fields, pointer, lambda _name: ANY, files)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "__iter__"):
        return [encode_any(element, f"{pointer}/{index}", files) for index, element in enumerate(value)]
    raise _fail(pointer, f"{kind.__module__}.{kind.__qualname__} has no form in JSON")


def _place(value: Any, pointer: str, files: Files) -> None:
    try:
        files.place(value, pointer)
    except OSError as error:
        raise _fail(pointer, f"the output file cannot be read: {error}") from None


def _fields_of(value: Any) -> Optional[Dict[Any, Any]]:
    if isinstance(value, dict):
        return value
    if isinstance(value, type):
        return None
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    for method in ("model_dump", "dict", "_asdict"):
        if callable(getattr(value, method, None)):
            found = getattr(value, method)()
            return found if isinstance(found, dict) else None
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return {key: value[key] for key in value.keys()}  # noqa: SIM118 - a mapping of any class
    return None


def _encode_mapping(
    fields: Dict[Any, Any], pointer: str, shape_of: Callable[[Any], Shape], files: Files
) -> Any:
    encoded = {}
    for key, value in fields.items():
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise _fail(pointer, f"a key is {type(key).__name__}, not str")
        name = str(getattr(key, "_value_", key))
        token = name.replace("~", "~0").replace("/", "~1")
        encoded[name] = shape_of(key).encode(value, f"{pointer}/{token}", files)
    return encoded
