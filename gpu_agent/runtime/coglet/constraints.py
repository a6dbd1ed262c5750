"""Whether what ``Input`` was given makes sense for the type of its parameter. All of it as sentences."""

import enum
import re
from typing import Any, Iterator, List, Optional, Tuple

from cog.fields import FieldInfo

from coglet.containers import OneOf
from coglet.shapes import FLOAT, INT, STR, BadValue, LocalFile, Scalar, Shape

Kind = Optional[Shape]
"""The type of an input's values, or of its elements; None when the annotation itself is wrong."""


def bound_problems(name: str, info: FieldInfo, kind: Kind) -> Iterator[str]:
    """What is wrong with ``ge``, ``le``, the lengths, ``regex`` and ``accept``."""
    yield from _numeric(name, info, kind)
    yield from _lengths(name, info, kind)
    if info.regex is not None:
        if kind is not None and kind is not STR:
            yield f"incompatible type for regex: {name}: {kind.name} (it is for str)"
        try:
            re.compile(info.regex)
        except (re.error, TypeError) as error:
            yield f"regex={info.regex!r} is not a regular expression: {error}: {name}"
    if info.accept is not None:
        if kind is not None and not isinstance(kind, LocalFile):
            yield f"incompatible type for accept: {name}: {kind.name} (it is for Path and File)"
        kinds = [info.accept] if isinstance(info.accept, str) else info.accept
        if not kinds or not all(isinstance(each, str) and each for each in kinds):
            yield f"accept={info.accept!r} names no kind of file, as 'image/*' or ['.wav', '.mp3'] do: {name}"


def _numeric(name: str, info: FieldInfo, kind: Kind) -> Iterator[str]:
    if info.ge is None and info.le is None:
        return
    for word, bound in (("ge", info.ge), ("le", info.le)):
        if bound is not None and not _is_number(bound):
            yield f"{word}={bound!r} is not a number: {name}"
    if kind is not None and kind is not INT and kind is not FLOAT:
        yield f"incompatible type for ge/le: {name}: {kind.name} (they are for int and float)"
    elif _exceeds(info.ge, info.le):
        yield f"ge={info.ge} is greater than le={info.le}: {name}"


def _lengths(name: str, info: FieldInfo, kind: Kind) -> Iterator[str]:
    low, high = info.min_length, info.max_length
    if low is None and high is None:
        return
    for word, bound in (("min_length", low), ("max_length", high)):
        if bound is not None and (type(bound) is not int or bound < 0):
            yield f"{word}={bound!r} is not a count: {name}"
    if kind is not None and kind is not STR:
        yield f"incompatible type for min_length/max_length: {name}: {kind.name} (they are for str)"
    elif _exceeds(low, high):
        yield f"min_length={low} is greater than max_length={high}: {name}"


def read_choices(name: str, info: FieldInfo, kind: Kind) -> Tuple[Optional[List[Any]], List[str]]:
    """The choices as values of JSON, and what is wrong with them."""
    given = info.choices
    if given is None:
        return None, []
    if kind is not None and kind is not STR and kind is not INT and not isinstance(kind, OneOf):
        return None, [f"incompatible type for choices: {name}: {kind.name} (they are for str and int)"]
    problems = []
    if len(given) < 2:
        problems.append(f"choices={given!r} must have at least 2 elements: {name}")
    for word, bounds in (
        ("ge/le", (info.ge, info.le)),
        ("min_length/max_length", (info.min_length, info.max_length)),
        ("regex", (info.regex,)),
    ):
        if any(bound is not None for bound in bounds):
            problems.append(f"choices and {word} are mutually exclusive: {name}")
    if kind is None:
        return given, problems
    values = []
    for choice in given:
        value, problem = enum_value(name, choice, kind)
        problems += problem
        try:
            values.append(kind.plain(value))
        except BadValue:
            problems.append(
                f"not all choices have the type of the input: {name}: {kind.name} (see {value!r})"
            )
            break
    return values, problems


def enum_value(name: str, value: Any, kind: Kind) -> Tuple[Any, List[str]]:
    """The value of an Enum's member where the parameter is of a plain type, which the Enum has to extend."""
    if not isinstance(value, enum.Enum) or (kind is not None and not isinstance(kind, Scalar)):
        return value, []
    if kind is None or not isinstance(value.value, kind.exact) or isinstance(value, kind.exact):
        return value.value, []
    return value.value, [f"enum {type(value).__name__} is used as {kind.name} but does not extend it: {name}"]


def broken_rules(value: Any, info: FieldInfo, choices: Optional[List[Any]]) -> Iterator[str]:
    """The rules that a default breaks, as they are written."""
    bounds = [f"{word}={bound}" for word, bound in (("ge", info.ge), ("le", info.le)) if _is_number(bound)]
    if bounds and not _is_number(value):
        yield f"{', '.join(bounds)}: it is not a number"
    elif bounds:
        if _is_number(info.ge) and value < info.ge:
            yield f"ge={info.ge}"
        if _is_number(info.le) and value > info.le:
            yield f"le={info.le}"
    if isinstance(value, str):
        if type(info.min_length) is int and len(value) < info.min_length:
            yield f"min_length={info.min_length}"
        if type(info.max_length) is int and len(value) > info.max_length:
            yield f"max_length={info.max_length}"
        if info.regex is not None and not _matches(info.regex, value):
            yield f"regex={info.regex!r}: it does not match"
    if choices and value not in choices:
        yield f"choices={choices!r}: it is none of them"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _exceeds(low: Any, high: Any) -> bool:
    return _is_number(low) and _is_number(high) and bool(low > high)


def _matches(regex: Any, value: str) -> bool:
    try:
        return re.search(regex, value) is not None
    except (re.error, TypeError):
        return True  # a broken pattern is reported as such
