"""``BaseModel``: structured inputs and outputs."""

import copy
import dataclasses
import functools
import json
import sys
import typing
from typing import TYPE_CHECKING, Any, Dict, List

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


@dataclass_transform(kw_only_default=False)
class BaseModel:
    """A value of several fields; each subclass is a dataclass by itself.

    ``class Output(BaseModel): text: str; score: float`` and then ``return Output(text="…", score=0.5)``. As
    first-generation models expect, a mutable default is copied for each instance, an ``Optional`` field
    without a default has None, and fields with and without defaults may come in any order.
    """

    def __init_subclass__(cls, *, auto_dataclass: bool = True, init: bool = True, **options: Any) -> None:
        super().__init_subclass__()
        if not auto_dataclass:
            return
        own_init = init and "__init__" not in vars(cls)
        _prepare(cls)
        dataclasses.dataclass(init=False, **options)(cls)
        if own_init:
            cls.__init__ = _init  # type: ignore[method-assign]

    def model_dump(self) -> Dict[str, Any]:
        """The fields as a dict, those of fields that are models too."""
        return {name: _dumped(getattr(self, name)) for name in _fields(self)}

    def dict(self) -> Dict[str, Any]:
        return self.model_dump()

    def model_dump_json(self) -> str:
        return json.dumps(self.model_dump(), default=str)

    def json(self) -> str:
        return self.model_dump_json()


def _fields(model: Any) -> Dict[str, Any]:
    found: Dict[str, Any] = model.__dataclass_fields__
    return {name: field for name, field in found.items() if field._field_type.name == "_FIELD"}


def _dumped(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)([_dumped(element) for element in value])
    if isinstance(value, dict):
        return {key: _dumped(member) for key, member in value.items()}
    return value


def _prepare(cls: Any) -> None:
    """Make of the class's own defaults what ``dataclass`` takes."""
    for name, annotation in _own_annotations(cls).items():
        if name in vars(cls):
            default = vars(cls)[name]
            if isinstance(default, (list, dict, set)) or type(default).__hash__ is None:
                copied = functools.partial(copy.deepcopy, default)
                setattr(cls, name, dataclasses.field(default_factory=copied))
        elif _is_optional(annotation, cls):
            setattr(cls, name, dataclasses.field(default=None))
        elif hasattr(BaseModel, name):
            # A field that is called like a method: the method is not its default.
            setattr(cls, name, dataclasses.field())


def _own_annotations(cls: Any) -> Dict[str, Any]:
    return dict(vars(cls).get("__annotations__") or getattr(cls, "__annotations__", {}))


def _is_optional(annotation: Any, cls: Any) -> bool:
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, vars(sys.modules[cls.__module__]))  # noqa: S307 - the model's own source
        except Exception:
            return False  # a name that is not there yet, such as the class's own
    if isinstance(annotation, str) or "ClassVar" in str(annotation):
        return False
    return type(None) in typing.get_args(annotation)


def _init(self: Any, *arguments: Any, **named: Any) -> None:
    fields = _fields(self)
    names: List[str] = [name for name, field in fields.items() if field.init]
    kind = type(self).__name__
    if len(arguments) > len(names):
        raise TypeError(f"{kind}() takes {len(names)} values, but {len(arguments)} were given")
    given = dict(zip(names, arguments))
    for name, value in named.items():
        if name not in names:
            raise TypeError(f"{kind}() has no field {name!r}; it has {', '.join(names)}")
        if name in given:
            raise TypeError(f"{kind}() got {name!r} twice")
        given[name] = value
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
        object.__setattr__(self, name, value)
    if missing:
        raise TypeError(f"{kind}() needs a value for {', '.join(missing)}")
    if hasattr(self, "__post_init__"):
        self.__post_init__()
