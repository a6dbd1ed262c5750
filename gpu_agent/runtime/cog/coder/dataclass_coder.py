"""A coder of dataclasses, for those that name it: they are understood without it."""

import dataclasses
import typing
from typing import Any, Dict, Optional

from cog.coder import Coder


class DataclassCoder(Coder):
    """Values inside that a coder knows are encoded and decoded by it, in lists and dicts too."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls

    @staticmethod
    def factory(tpe: Any) -> "Optional[DataclassCoder]":
        return DataclassCoder(tpe) if isinstance(tpe, type) and dataclasses.is_dataclass(tpe) else None

    def encode(self, x: Any) -> Dict[str, Any]:
        return {field.name: _encoded(getattr(x, field.name)) for field in dataclasses.fields(x)}

    def decode(self, x: Dict[str, Any]) -> Any:
        types = _types(self.cls)
        computed = {field.name for field in dataclasses.fields(self.cls) if not field.init}
        given = {name: value for name, value in x.items() if name not in computed}
        return self.cls(**{name: _decoded(types.get(name), value) for name, value in given.items()})


def _types(cls: Any) -> Dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except (NameError, TypeError):  # a name of a function's own, X | Y in a Python that has it not
        return {field.name: field.type for field in dataclasses.fields(cls)}


def _encoded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_encoded(element) for element in value]
    if isinstance(value, dict):
        return {key: _encoded(member) for key, member in value.items()}
    coder = Coder.lookup(type(value))
    return value if coder is None else coder.encode(value)


def _decoded(tpe: Any, value: Any) -> Any:
    arguments = typing.get_args(tpe)
    if isinstance(value, list):
        return [_decoded(arguments[0] if arguments else None, element) for element in value]
    if not isinstance(value, dict):
        return value
    if typing.get_origin(tpe) is dict:
        return {key: _decoded(arguments[1], member) for key, member in value.items()}
    for option in (tpe, *arguments):
        coder = Coder.lookup(option)
        if coder is not None:
            return coder.decode(value)
    return value


Coder.register(DataclassCoder)
