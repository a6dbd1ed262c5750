"""Judges one parameter of ``predict``: its annotation, its ``Input`` and whether the two agree."""

import enum
import os
import re
import typing
from typing import Any, Dict, List, Optional, Tuple

from cog.fields import MISSING, FieldInfo
from cog.types import Secret

from coglet import annotations
from coglet.inputs import BOOL, FLOAT, INT, SECRET, STR, Field, Kind, Rules, path_kind

_SCALARS: Dict[Any, Kind] = {str: STR, int: INT, float: FLOAT, bool: BOOL, Secret: SECRET}
TAKEN = "str, int, float, bool, Path, Secret, a list of one of these, Optional of any, Literal"


class FieldJudge:
    """Reads one parameter. ``problems`` has every rule it breaks; ``notices`` what the author should know."""

    def __init__(self, name: str, annotation: Any, default: Any, names: Dict[str, Any]) -> None:
        self.name = name
        self.info = default if isinstance(default, FieldInfo) else FieldInfo(default)
        self.problems: List[str] = []
        self.notices: List[str] = []
        self.field: Optional[Field] = None
        """None when there are problems."""
        kind, many, optional, literal = self._read_annotation(annotation, names)
        self._judge(kind, many, optional, literal)

    def _problem(self, text: str) -> None:
        self.problems.append(text)

    def _read_annotation(self, annotation: Any, names: Dict[str, Any]) -> "_Shape":
        name = self.name
        if annotation is MISSING:
            self._problem(f"missing type annotation for input {name}, as in `{name}: str`")
            return _NO_SHAPE
        try:
            return self._shape(annotations.evaluate(annotation, names), names)
        except annotations.Unresolvable as error:
            self._problem(f"input {name}: {error}")
        except _Unsupported as error:
            self._problem(f"unsupported type {error} for input {name}; an input may be {TAKEN}")
        return _NO_SHAPE

    def _shape(self, annotation: Any, names: Dict[str, Any]) -> "_Shape":
        inner, optional = annotations.take_optional(annotation)
        many = False
        if typing.get_origin(inner) is list:
            (inner,) = typing.get_args(inner)
            inner = annotations.strip(annotations.evaluate(inner, names))
            many = True
            if annotations.take_optional(inner)[1]:
                raise _Unsupported(f"{annotations.describe(annotation)} (elements cannot be Optional)")
            if typing.get_origin(inner) is list or inner is list:
                raise _Unsupported(f"{annotations.describe(annotation)} (a list cannot hold lists)")
        elif inner in (list, typing.List):
            raise _Unsupported("list without an element type, as in list[str],")
        literal = None
        if typing.get_origin(inner) is typing.Literal:
            literal = list(typing.get_args(inner))
            inner = type(literal[0])
        kind = _scalar(inner)
        if kind is None:
            raise _Unsupported(annotations.describe(annotation))
        return kind, many, optional, literal

    def _judge(self, kind: Optional[Kind], many: bool, optional: bool, literal: Optional[List[Any]]) -> None:
        info, name = self.info, self.name
        choices = self._choices(kind, many, literal)
        self._check_bounds(kind)
        default = info.default
        if isinstance(default, enum.Enum):
            default = self._enum_value(default, kind)
        if default is None and not optional and kind is not None:
            # The common way to write "may be left out" before Optional was taken; refusing it helps nobody.
            self.notices.append(f"input {name}: default=None, so it is taken as Optional[{kind.name}]")
            optional = True
        if default is not MISSING and default is not None:
            self._check_default(default, kind, many, choices)
        if self.problems or kind is None:
            return
        if many and isinstance(default, (list, tuple)):
            default = [item.value if isinstance(item, enum.Enum) else item for item in default]
        required = default is MISSING and not optional
        self.field = Field(
            name,
            kind,
            many=many,
            optional=optional,
            required=required,
            default=None if default is MISSING else default,
            rules=Rules(info.ge, info.le, info.min_length, info.max_length, info.regex, choices),
            description=info.description,
            deprecated=bool(info.deprecated),
        )

    def _enum_value(self, member: Any, kind: Optional[Kind]) -> Any:
        if kind is not None and not isinstance(member.value, kind.accepts):
            return member.value
        if kind is not None and not isinstance(member, kind.accepts):
            self._problem(
                f"enum {type(member).__name__} is used as {kind.name} but does not extend it: {self.name}"
            )
        return member.value

    def _choices(self, kind: Optional[Kind], many: bool, literal: Optional[List[Any]]) -> Optional[List[Any]]:
        info, name = self.info, self.name
        given = info.choices if info.choices is not None else literal
        if given is None:
            return None
        if kind is not None and kind not in (STR, INT):
            self._problem(f"incompatible type for choices: {name}: {kind.name} (they are for str and int)")
            return None
        if len(given) < 2 and literal is None:
            self._problem(f"choices={given!r} must have at least 2 elements: {name}")
        if info.ge is not None or info.le is not None:
            self._problem(f"choices and ge/le are mutually exclusive: {name}")
        if info.min_length is not None or info.max_length is not None:
            self._problem(f"choices and min_length/max_length are mutually exclusive: {name}")
        if info.regex is not None:
            self._problem(f"choices and regex are mutually exclusive: {name}")
        if kind is None:
            return given
        values = []
        for choice in given:
            if isinstance(choice, enum.Enum):
                choice = self._enum_value(choice, kind)
            if not isinstance(choice, kind.accepts) or isinstance(choice, bool):
                self._problem(
                    f"not all choices have the type of the input: {name}: {kind.name} (see {choice!r})"
                )
                break
            values.append(choice)
        return values

    def _check_bounds(self, kind: Optional[Kind]) -> None:
        info, name = self.info, self.name
        if info.ge is not None or info.le is not None:
            for word, bound in (("ge", info.ge), ("le", info.le)):
                if bound is not None and not _is_number(bound):
                    self._problem(f"{word}={bound!r} is not a number: {name}")
            if kind is not None and kind not in (INT, FLOAT):
                self._problem(
                    f"incompatible type for ge/le: {name}: {kind.name} (they are for int and float)"
                )
            elif _exceeds(info.ge, info.le):
                self._problem(f"ge={info.ge} is greater than le={info.le}: {name}")
        if info.min_length is not None or info.max_length is not None:
            for word, bound in (("min_length", info.min_length), ("max_length", info.max_length)):
                if bound is not None and (type(bound) is not int or bound < 0):
                    self._problem(f"{word}={bound!r} is not a count: {name}")
            if kind is not None and kind is not STR:
                self._problem(
                    f"incompatible type for min_length/max_length: {name}: {kind.name} (they are for str)"
                )
            elif _exceeds(info.min_length, info.max_length):
                self._problem(
                    f"min_length={info.min_length} is greater than max_length={info.max_length}: {name}"
                )
        if info.regex is not None:
            if kind is not None and kind is not STR:
                self._problem(f"incompatible type for regex: {name}: {kind.name} (it is for str)")
            try:
                re.compile(info.regex)
            except (re.error, TypeError) as error:
                self._problem(f"regex={info.regex!r} is not a regular expression: {error}: {name}")

    def _check_default(
        self, default: Any, kind: Optional[Kind], many: bool, choices: Optional[List[Any]]
    ) -> None:
        name = self.name
        elements = [default]
        if many:
            if not isinstance(default, (list, tuple)):
                self._problem(f"default={_shown(default, kind)} is not a list: {name}")
                return
            elements = list(default)
        for element in elements:
            if many and isinstance(element, enum.Enum):
                element = self._enum_value(element, kind)
            shown = _shown(element, kind)
            if kind is not None and not _has_type(element, kind):
                self._problem(f"default={shown} is not of type {kind.name}: {name}")
            for rule in self._broken(element, choices):
                self._problem(f"default={shown} conflicts with {rule}: {name}")

    def _broken(self, value: Any, choices: Optional[List[Any]]) -> List[str]:
        """The rules that a default breaks, as they are written."""
        info = self.info
        broken = []
        bounds = [
            f"{word}={bound}" for word, bound in (("ge", info.ge), ("le", info.le)) if _is_number(bound)
        ]
        if bounds and not _is_number(value):
            broken.append(f"{', '.join(bounds)}: it is not a number")
        elif bounds:
            if _is_number(info.ge) and value < info.ge:
                broken.append(f"ge={info.ge}")
            if _is_number(info.le) and value > info.le:
                broken.append(f"le={info.le}")
        if isinstance(value, str):
            if type(info.min_length) is int and len(value) < info.min_length:
                broken.append(f"min_length={info.min_length}")
            if type(info.max_length) is int and len(value) > info.max_length:
                broken.append(f"max_length={info.max_length}")
            if info.regex is not None and not _matches(info.regex, value):
                broken.append(f"regex={info.regex!r}: it does not match")
        if choices and value not in choices:
            broken.append(f"choices={choices!r}: it is none of them")
        return broken


_Shape = Tuple[Optional[Kind], bool, bool, Optional[List[Any]]]
_NO_SHAPE: _Shape = (None, False, False, None)


class _Unsupported(Exception):
    pass


def _scalar(annotation: Any) -> Optional[Kind]:
    try:
        kind = _SCALARS.get(annotation)
    except TypeError:  # not hashable: nothing that we know
        return None
    if kind is None and isinstance(annotation, type) and issubclass(annotation, os.PathLike):
        return path_kind(annotation)
    return kind


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _exceeds(low: Any, high: Any) -> bool:
    return _is_number(low) and _is_number(high) and bool(low > high)


def _has_type(value: Any, kind: Kind) -> bool:
    if isinstance(value, bool):
        return kind is BOOL
    return isinstance(value, kind.accepts)


def _matches(regex: Any, value: str) -> bool:
    try:
        return re.search(regex, value) is not None
    except (re.error, TypeError):
        return True  # a broken pattern is reported as such


def _shown(value: Any, kind: Optional[Kind]) -> str:
    return repr(Secret.MASK) if kind is SECRET or isinstance(value, Secret) else repr(value)
