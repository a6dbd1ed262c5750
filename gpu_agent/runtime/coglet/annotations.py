"""Reads type annotations: strings are evaluated, Optional and Annotated are taken off."""

import sys
import typing
from typing import Any, Dict, Tuple

NONE = type(None)

if sys.version_info >= (3, 10):
    import types

    _UNIONS: Tuple[Any, ...] = (typing.Union, types.UnionType)
else:
    _UNIONS = (typing.Union,)


class Unresolvable(Exception):
    """A string annotation that names nothing that is there; the text says what."""


def evaluate(annotation: Any, names: Dict[str, Any]) -> Any:
    """The annotation itself, from a string if it is one (``from __future__ import annotations``)."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, names)  # noqa: S307 - the model's own source
    except Exception as error:
        hint = ""
        if isinstance(error, TypeError) and "|" in annotation:
            hint = "; this Python has no X | Y for types, write Optional[X]"
        raise Unresolvable(f"type {annotation!r} cannot be evaluated: {error}{hint}") from None


def strip(annotation: Any) -> Any:
    """The type without ``Annotated``."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return annotation


def take_optional(annotation: Any) -> Tuple[Any, bool]:
    """``Optional[T]`` in any spelling → (T, True); anything else → (itself, False)."""
    annotation = strip(annotation)
    if typing.get_origin(annotation) in _UNIONS:
        others = [argument for argument in typing.get_args(annotation) if argument is not NONE]
        if len(others) == 1:
            return strip(others[0]), True
    return annotation, False


def is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in _UNIONS


def describe(annotation: Any) -> str:
    """How a person writes it: ``int``, ``list[int]``, ``datetime.datetime``."""
    if typing.get_origin(annotation) is None and isinstance(annotation, type):
        module = annotation.__module__
        return (
            annotation.__qualname__
            if module in ("builtins", "cog.types")
            else f"{module}.{annotation.__qualname__}"
        )
    return str(annotation).replace("typing.", "").replace("cog.types.", "")
