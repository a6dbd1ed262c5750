"""Reads type annotations: strings are evaluated, wrappers are taken off."""

import builtins
import importlib
import sys
import typing
from typing import Any, Dict, Tuple

from cog.opaque import Opaque

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
    if annotation is None:
        return NONE
    if not isinstance(annotation, str):
        return annotation
    try:
        # What it gives may be a string again, when there were quotes in a string.
        return evaluate(eval(annotation, names), names)  # noqa: S307 - the model's own source
    except Unresolvable:
        raise
    except Exception as error:
        hint = ""
        if isinstance(error, TypeError) and "|" in annotation:
            hint = "; this Python has no X | Y for types, write Optional[X]"
        raise Unresolvable(f"type {annotation!r} cannot be evaluated: {error}{hint}") from None


def names_for(function: Any, cls: Any) -> Dict[str, Any]:
    """The names that the annotations of a function may use: its module's, those of the functions around it as
    far as it uses them itself, and those of its class, where nothing else is called so."""
    names: Dict[str, Any] = {}
    for base in reversed(cls.__mro__ if cls is not None else ()):
        names.update(vars(base))
    names.update(vars(builtins))
    names.update(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            names[name] = cell.cell_contents
        except ValueError:
            pass  # a cell that is not filled yet
    return names


def of_function(function: Any) -> Dict[str, Any]:
    """The annotations of a function as they are written; strings stay strings."""
    try:
        return dict(getattr(function, "__annotations__", None) or {})
    except NameError:
        # From 3.14 on they are evaluated here, all or none: as strings each can be judged for itself.
        library = importlib.import_module("annotationlib")
        return dict(library.get_annotations(function, format=library.Format.STRING))


def of_class(cls: Any) -> Dict[str, Any]:
    """The annotations of a class and its bases, the bases' first."""
    found: Dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base is not object:
            found.update(getattr(base, "__annotations__", None) or {})
    return found


def strip(annotation: Any) -> Any:
    """The type without ``Annotated``."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return annotation


def strip_unless_opaque(annotation: Any) -> Any:
    """The type without ``Annotated``, unless that says ``Opaque``."""
    return annotation if is_opaque(annotation) else strip(annotation)


def resolve(annotation: Any) -> Any:
    """The type itself: without ``Annotated``, from a ``NewType``, from a ``type X = …``."""
    while True:
        annotation = strip(annotation)
        if hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def is_opaque(annotation: Any) -> bool:
    """Whether it is ``Annotated[T, Opaque]``."""
    found = getattr(annotation, "__metadata__", ())
    return any(each is Opaque for each in found)


def take_required(annotation: Any, required: bool) -> Tuple[Any, bool]:
    """``Required[T]`` and ``NotRequired[T]`` of a ``TypedDict`` → (T, whether it is)."""
    word = getattr(typing.get_origin(annotation), "_name", None) or str(typing.get_origin(annotation))
    for suffix, value in (("NotRequired", False), ("Required", True)):
        if word.rpartition(".")[2] == suffix:
            return typing.get_args(annotation)[0], value
    return annotation, required


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
