"""``BaseModel``: structured inputs and outputs."""

import copy
import dataclasses
import functools
import importlib
import json
import os
import sys
import typing
from typing import TYPE_CHECKING, Any, Collection, Dict, List, Optional

from cog.fields import MISSING, FieldInfo
from cog.json import make_encodeable

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


@dataclass_transform(kw_only_default=False, field_specifiers=(dataclasses.field, dataclasses.Field))
class BaseModel:
    """A value of several fields; each subclass is a dataclass by itself.

    ``class Output(BaseModel): text: str; score: float`` and then ``return Output(text="…", score=0.5)``. As
    first-generation models expect, a mutable default is copied for each instance, an ``Optional`` field
    without a default has None, fields with and without defaults may come in any order, and ``Input(…)`` may
    describe a field. Class keywords are those of ``dataclass``; with ``auto_dataclass=False`` it is none.
    """

    def __init_subclass__(cls, *, auto_dataclass: bool = True, init: bool = True, **options: Any) -> None:
        super().__init_subclass__()
        if not auto_dataclass:
            return
        for option in ("slots", "weakref_slot"):
            options.pop(option, None)  # they take a class of its own, and this one is made already
        own_init = init and "__init__" not in vars(cls)
        for name, annotation in _own_annotations(cls).items():
            _prepare(cls, name, annotation)
        dataclasses.dataclass(init=False, **options)(cls)
        if own_init:
            cls.__init__ = _init  # type: ignore[method-assign]

    def model_dump(
        self,
        *,
        include: Optional[Collection[str]] = None,
        exclude: Optional[Collection[str]] = None,
        exclude_none: bool = False,
    ) -> Dict[str, Any]:
        """The fields as a dict, those of fields that are models or dataclasses too.

        ``include`` and ``exclude`` name fields of this model; ``exclude_none`` leaves out those that are
        None, here and in models inside.
        """
        return {
            name: value
            for name, value in _dumped(self, exclude_none).items()
            if (include is None or name in include) and name not in (exclude or ())
        }

    def model_dump_json(
        self,
        *,
        indent: Optional[int] = None,
        include: Optional[Collection[str]] = None,
        exclude: Optional[Collection[str]] = None,
        exclude_none: bool = False,
    ) -> str:
        """What ``model_dump`` gives, as JSON. Secrets are masked, files are their names."""
        dumped = BaseModel.model_dump(self, include=include, exclude=exclude, exclude_none=exclude_none)
        return json.dumps(dumped, indent=indent, default=_as_json)

    dict = model_dump
    json = model_dump_json


def _dumped(value: Any, exclude_none: bool) -> Any:
    members: Any = None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        members = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, BaseModel):
        members = vars(value)
    if members is not None:
        return {
            name: _dumped(member, exclude_none)
            for name, member in members.items()
            if not (exclude_none and member is None)
        }
    if isinstance(value, dict):
        return {key: _dumped(member, exclude_none) for key, member in value.items()}
    if not isinstance(value, (list, tuple, set, frozenset)):
        return value
    elements = [_dumped(element, exclude_none) for element in value]
    if hasattr(value, "_fields"):
        return type(value)(*elements)
    if isinstance(value, (set, frozenset)) and any(isinstance(element, dict) for element in elements):
        return elements  # a set takes no dict
    return type(value)(elements)


def _as_json(value: Any) -> Any:
    plain = value if isinstance(value, os.PathLike) else make_encodeable(value)
    return str(value) if plain is value else plain


def _prepare(cls: Any, name: str, annotation: Any) -> None:
    """Make of one field's default what ``dataclass`` takes."""
    if _is_called(annotation, "ClassVar", "InitVar"):
        return
    default = _of_pydantic(vars(cls).get(name, MISSING))
    described = isinstance(default, FieldInfo)
    if described and default.default_factory is not None:
        setattr(cls, name, dataclasses.field(default_factory=default.default_factory))
        return
    if described:
        default = default.default
    if default is MISSING:
        if _is_optional(annotation, cls):
            setattr(cls, name, dataclasses.field(default=None))
        elif described or hasattr(BaseModel, name):
            # Neither the description nor a method that is called like the field is its default.
            setattr(cls, name, dataclasses.field())
    elif type(default).__hash__ is None:
        copied = functools.partial(copy.deepcopy, default)
        setattr(cls, name, dataclasses.field(default_factory=copied))
    else:
        setattr(cls, name, default)


def _of_pydantic(default: Any) -> Any:
    """What ``pydantic.Field(…)`` says, as ``Input`` says it: first-generation models use it here."""
    kind = type(default)
    if kind.__name__ != "FieldInfo" or kind.__module__.partition(".")[0] != "pydantic":
        return default
    has_none = type(default.default).__name__ in ("PydanticUndefinedType", "UndefinedType")
    return FieldInfo(
        MISSING if has_none else default.default,
        default_factory=default.default_factory,
        description=default.description,
    )


def _own_annotations(cls: Any) -> Dict[str, Any]:
    if sys.version_info >= (3, 14):
        # They are evaluated when asked for, and may name classes that are not there yet.
        library = importlib.import_module("annotationlib")
        return dict(library.get_annotations(cls, format=library.Format.FORWARDREF))
    return dict(vars(cls).get("__annotations__", {}))


def _is_called(annotation: Any, *names: str) -> bool:
    text = annotation if isinstance(annotation, str) else str(annotation)
    return text.partition("[")[0].strip().rpartition(".")[2] in names


def _is_optional(annotation: Any, cls: Any) -> bool:
    if isinstance(annotation, str):
        names = {**vars(sys.modules[cls.__module__]), cls.__name__: cls}
        try:
            annotation = eval(annotation, names)  # noqa: S307 - the model's own source
        except Exception:  # a name that is not there yet, or X | None in a Python that has it not
            text = annotation.replace(" ", "")
            return _is_called(text, "Optional") or text.startswith("None|") or text.endswith("|None")
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    origin = typing.get_origin(annotation)
    is_union = origin is typing.Union or getattr(origin, "__name__", "") == "UnionType"
    return is_union and type(None) in typing.get_args(annotation)


def _init(self: Any, *arguments: Any, **named: Any) -> None:
    fields = {
        name: field
        for name, field in self.__dataclass_fields__.items()
        if field._field_type.name != "_FIELD_CLASSVAR"
    }
    given = _given(type(self).__name__, fields, arguments, named)
    for_post_init: List[Any] = []
    missing = []
    for name, field in fields.items():
        if name in given:
            value = given[name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            if field.init:
                missing.append(name)
            continue
        if field._field_type.name == "_FIELD_INITVAR":
            for_post_init.append(value)
        else:
            object.__setattr__(self, name, value)
    if missing:
        raise TypeError(f"{type(self).__name__}() needs a value for {', '.join(missing)}")
    if hasattr(self, "__post_init__"):
        self.__post_init__(*for_post_init)


def _given(kind: str, fields: Dict[str, Any], arguments: Any, named: Dict[str, Any]) -> Dict[str, Any]:
    """The values by name. Raises ``TypeError`` for one that has no field, or has it twice."""
    names = [name for name, field in fields.items() if field.init]
    by_place = [name for name in names if getattr(fields[name], "kw_only", False) is not True]
    if len(arguments) > len(by_place):
        named_only = "" if by_place == names else " by place"
        raise TypeError(f"{kind}() takes {len(by_place)} values{named_only}, but {len(arguments)} were given")
    given = dict(zip(by_place, arguments))
    for name, value in named.items():
        if name not in names:
            raise TypeError(f"{kind}() has no field {name!r}; it has {', '.join(names)}")
        if name in given:
            raise TypeError(f"{kind}() got {name!r} twice")
        given[name] = value
    return given
