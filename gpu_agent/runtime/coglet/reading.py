"""From a type annotation to its shape."""

import enum
import os
import sys
import typing
from typing import Any, Dict, List, Optional, Tuple

from cog.fields import MISSING
from cog.types import Path, Secret

from coglet import annotations
from coglet.containers import (
    DictOf,
    ListOf,
    Nullable,
    OneOf,
    SetOf,
    TupleOf,
    TupleOfMany,
    UnionOf,
    scalar_of,
)
from coglet.encoding import coder_of
from coglet.library import library_shape
from coglet.records import Again, Coded, Member, PydanticModel, Record
from coglet.shapes import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    OPAQUE,
    SECRET,
    STR,
    Anything,
    BadValue,
    LocalFile,
    OpenFile,
    SecretText,
    Shape,
)


class Unsupported(Exception):
    """An annotation that is no type of inputs and outputs; the text is the type, and what is wrong."""


_SCALARS: Dict[Any, Shape] = {str: STR, int: INT, float: FLOAT, bool: BOOL, Secret: SECRET, Any: ANY}
_LISTS = ("list", "List", "Sequence", "MutableSequence", "Collection", "Iterable")
_SETS: Dict[Any, Any] = {set: set, frozenset: frozenset}
_DICTS = ("dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict")
Names = Dict[str, Any]


class Reader:
    """Reads annotations that use the names of one module. ``taking`` is for inputs: there a field of a class
    that has a default may be left out."""

    def __init__(self, names: Names, taking: bool) -> None:
        self._names = names
        self._taking = taking
        self._open: Dict[Any, Record] = {}
        """The classes that are being read."""

    def read(self, annotation: Any) -> Shape:
        """Raises ``Unsupported``, or ``annotations.Unresolvable``."""
        return self._read(annotation, self._names)

    def _read(self, annotation: Any, names: Names) -> Shape:
        annotation = annotations.evaluate(annotation, names)
        if annotations.is_opaque(annotation):
            return OPAQUE
        annotation = annotations.resolve(annotation)
        if annotations.is_union(annotation):
            return self._union(annotation, names)
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Literal:
            return self._literal(annotation, arguments)
        generic = self._generic(annotation, origin, arguments, names)
        return generic if generic is not None else self._single(annotation)

    # --- built of others ---------------------------------------------------------------------------------

    def _union(self, annotation: Any, names: Names) -> Shape:
        arguments = typing.get_args(annotation)
        options: List[Shape] = []
        for argument in arguments:
            if argument is not annotations.NONE:
                options.append(self._read(argument, names))
        # What a model returns says by itself whether it is a file; what a client sends does not.
        _refuse_mixed(annotation, options, (LocalFile, SecretText) if self._taking else (SecretText,))
        shape = options[0] if len(options) == 1 else UnionOf(options)
        return Nullable(shape) if annotations.NONE in arguments else shape

    def _literal(self, annotation: Any, values: Tuple[Any, ...]) -> Shape:
        if None in values:
            others = tuple(value for value in values if value is not None)
            return Nullable(self._literal(annotation, others))
        plain = [value.value if isinstance(value, enum.Enum) else value for value in values]
        if not all(isinstance(value, (str, int, bool)) for value in plain):
            raise Unsupported(f"{annotations.describe(annotation)} (its values may be str, int and bool)")
        return OneOf(annotations.describe(annotation), plain)

    def _generic(self, annotation: Any, origin: Any, arguments: Any, names: Names) -> Optional[Shape]:
        bare = origin or annotation
        if isinstance(bare, type) and bare.__module__ == "cog.types":
            return None
        inner = [each for each in arguments if not isinstance(each, typing.TypeVar)]
        name = getattr(bare, "__name__", None) or getattr(bare, "_name", None)
        if getattr(bare, "__module__", "") not in ("builtins", "typing", "collections", "collections.abc"):
            return None
        if bare in _SETS:
            return SetOf(self._read(inner[0], names) if inner else ANY, bare)
        if bare is tuple:
            return self._tuple(inner, names)
        if name in _LISTS:
            return ListOf(self._read(inner[0], names) if inner else ANY)
        if name in _DICTS:
            return self._dict(annotation, inner, names)
        return None

    def _tuple(self, inner: List[Any], names: Names) -> Shape:
        if not inner:
            return TupleOfMany(ANY)
        if len(inner) == 2 and inner[1] is ...:
            return TupleOfMany(self._read(inner[0], names))
        return TupleOf([self._read(each, names) for each in inner])

    def _dict(self, annotation: Any, inner: List[Any], names: Names) -> Shape:
        if len(inner) != 2:
            return DictOf(ANY)
        key = self._read(inner[0], names)
        if isinstance(key, Anything):
            key = STR
        if not (key is STR or key is INT or isinstance(key, OneOf)):
            raise Unsupported(f"{annotations.describe(annotation)} (keys of a dict must be str)")
        return DictOf(self._read(inner[1], names), key)

    # --- single types ------------------------------------------------------------------------------------

    def _single(self, annotation: Any) -> Shape:
        try:
            scalar = _SCALARS.get(annotation)
        except TypeError:  # not hashable: nothing that we know
            raise Unsupported(annotations.describe(annotation)) from None
        scalar = scalar or (None if self._taking else library_shape(annotation))
        if scalar is not None:
            return scalar
        coder = coder_of(annotation)
        if coder is not None:
            return Coded(annotations.describe(annotation), coder, annotation)
        if not isinstance(annotation, type):
            raise Unsupported(annotations.describe(annotation))
        if annotation.__module__ == "cog.types" and annotation.__name__ == "File":
            return OpenFile()
        if issubclass(annotation, os.PathLike):
            return LocalFile(annotation)
        if issubclass(annotation, Path):
            return LocalFile(annotation)
        if issubclass(annotation, enum.Enum):
            return _enumeration(annotation)
        return self._class(annotation)

    def _class(self, cls: Any) -> Shape:
        if cls in self._open:
            return Again(self._open[cls])
        if hasattr(cls, "model_validate") or (hasattr(cls, "parse_obj") and hasattr(cls, "__fields__")):
            return PydanticModel(cls)
        if typing_is_typeddict(cls):
            return self._record(cls, dict, _of_typed_dict(cls))
        if hasattr(cls, "__dataclass_fields__"):
            return self._record(cls, cls, _of_dataclass(cls))
        if hasattr(cls, "__attrs_attrs__"):
            return self._record(cls, cls, _of_attrs(cls))
        if hasattr(cls, "_fields") and issubclass(cls, tuple):
            return self._record(cls, cls, _of_named_tuple(cls))
        raise Unsupported(annotations.describe(cls))

    def _record(self, cls: Any, make: Any, found: "Dict[str, _Found]") -> Record:
        record = self._open[cls] = Record(cls.__name__, make)
        names: Names = dict(self._names)
        for base in reversed(cls.__mro__):
            names.update(vars(sys.modules.get(base.__module__, sys)))
        names.setdefault(cls.__name__, cls)
        try:
            for name, (annotation, default, may_miss) in found.items():
                record.members[name] = self._member(cls, name, annotation, default, may_miss, names)
                member = record.members[name]
                omissible = may_miss if self._taking or make is dict else member.nullable
                if not (omissible or member.nullable):
                    record.required.append(name)
        finally:
            del self._open[cls]
        return record

    def _member(
        self, cls: Any, name: str, annotation: Any, default: Any, may_miss: bool, names: Names
    ) -> Member:
        try:
            shape = self._read(annotation, names)
        except Unsupported as error:
            raise Unsupported(f"{cls.__name__} with its field {name}: {error}") from None
        nullable = isinstance(shape, Nullable)
        shown = MISSING
        if self._taking and default is not MISSING and default is not None:
            try:
                shown = shape.plain(default)
            except BadValue as error:
                raise Unsupported(f"{cls.__name__}: the default of {name} {error}") from None
            if shape.holds_secrets():
                shown = MISSING
        return Member(shape, nullable, shown, may_miss)


_Found = Tuple[Any, Any, bool]
"""Annotation, default (MISSING where there is none to be shown), whether it may be left out."""


def typing_is_typeddict(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, dict) and hasattr(cls, "__total__")


def _of_typed_dict(cls: Any) -> Dict[str, _Found]:
    found = {}
    for name, annotation in annotations.of_class(cls).items():
        annotation, required = annotations.take_required(annotation, name in cls.__required_keys__)
        found[name] = (annotation, MISSING, not required)
    return found


def _of_dataclass(cls: Any) -> Dict[str, _Found]:
    missing = sys.modules["dataclasses"].MISSING
    found = {}
    for name, field in cls.__dataclass_fields__.items():
        if getattr(field, "_field_type", None) is not None and field._field_type.name != "_FIELD":
            continue
        has_default = field.default is not missing or field.default_factory is not missing
        default = MISSING if field.default is missing else field.default
        found[name] = (field.type, default, has_default)
    return found


def _of_attrs(cls: Any) -> Dict[str, _Found]:
    nothing = sys.modules["attr"].NOTHING
    found = {}
    for field in cls.__attrs_attrs__:
        has_default = field.default is not nothing
        simple = has_default and type(field.default) in (str, int, float, bool)
        found[field.name] = (field.type or Any, field.default if simple else MISSING, has_default)
    return found


def _of_named_tuple(cls: Any) -> Dict[str, _Found]:
    defaults = cls._field_defaults
    hints = annotations.of_class(cls)
    return {
        name: (hints.get(name, Any), defaults.get(name, MISSING), name in defaults) for name in cls._fields
    }


def _enumeration(cls: Any) -> Shape:
    members = {member.value: member for member in cls}
    if not members:
        raise Unsupported(f"{annotations.describe(cls)} (an Enum without members)")
    if scalar_of(list(members)) not in (STR, INT):
        raise Unsupported(f"{annotations.describe(cls)} (the values of an Enum must all be str or all int)")
    return OneOf(cls.__name__, list(members), members)


def _refuse_mixed(annotation: Any, options: List[Shape], special: Tuple[type, ...]) -> None:
    """A string is either something special or it is not: a union must not leave that to the value."""
    texts = sum(1 for option in options if str in option.exact or isinstance(option, Anything))
    if texts > 1 and any(isinstance(option, special) for option in options):
        raise Unsupported(
            f"{annotations.describe(annotation)} (with a file or a Secret, nothing else may be a string)"
        )
