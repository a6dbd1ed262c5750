"""Outputs: what a return annotation promises, as JSON Schema and as an encoder."""

import typing
from typing import Any, Dict

from cog.types import AsyncConcatenateIterator, ConcatenateIterator

from coglet import annotations
from coglet.reading import Reader, Unsupported
from coglet.shapes import STR, Schema, Shape


class Output:
    """The whole output: one value, or ``streams`` of them."""

    def __init__(self, shape: Shape, *, streams: bool = False, concatenates: bool = False) -> None:
        self.shape = shape
        self.streams = streams
        self.concatenates = concatenates

    def schema(self, title: str = "Output") -> Schema:
        found = self.shape.schema()
        if self.streams:
            found = {"type": "array", "items": found, "x-cog-array-type": "iterator"}
            if self.concatenates:
                found["x-cog-array-display"] = "concatenate"
        found["title"] = title
        return found


class BadAnnotation(Exception):
    """A return annotation that is no output; the text is the rule it breaks."""


_ITERATORS = ("Iterator", "AsyncIterator", "Generator", "AsyncGenerator", "Iterable", "AsyncIterable")


def read_output(annotation: Any, names: Dict[str, Any], method: str) -> Output:
    """What a return annotation promises. Raises ``BadAnnotation`` or ``annotations.Unresolvable``."""
    annotation = annotations.strip_unless_opaque(annotations.evaluate(annotation, names))
    if annotation is annotations.NONE:
        raise BadAnnotation(f"{method}() must not return None")
    origin = typing.get_origin(annotation)
    bare = origin or annotation
    if bare in (ConcatenateIterator, AsyncConcatenateIterator):
        arguments = typing.get_args(annotation)
        if not arguments or annotations.evaluate(arguments[0], names) is not str:
            raise BadAnnotation(f"{bare.__name__} must have str elements, as {bare.__name__}[str]")
        return Output(STR, streams=True, concatenates=True)
    try:
        if getattr(bare, "__module__", "") in ("collections.abc", "typing") and _name(bare) in _ITERATORS:
            arguments = typing.get_args(annotation)
            if not arguments or isinstance(arguments[0], typing.TypeVar):
                raise BadAnnotation(f"{_name(bare)} must have an element type, as {_name(bare)}[str]")
            return Output(Reader(names, taking=False).read(arguments[0]), streams=True)
        return Output(Reader(names, taking=False).read(annotation))
    except Unsupported as error:
        raise BadAnnotation(f"unsupported output type {error}") from None


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or getattr(annotation, "_name", None) or str(annotation)
