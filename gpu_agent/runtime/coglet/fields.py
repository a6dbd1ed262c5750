"""Judges one parameter of ``predict``: its annotation, its ``Input`` and whether the two agree."""

from typing import Any, Dict, List, Optional

from cog.fields import MISSING, FieldInfo
from cog.types import Secret

from coglet import annotations
from coglet.constraints import bound_problems, broken_rules, enum_value, read_choices
from coglet.containers import ListOf, Nullable, OneOf
from coglet.inputs import Field, Ruled, Rules
from coglet.reading import Reader, Unsupported
from coglet.shapes import Anything, BadValue, Shape

TAKEN = (
    "str, int, float, bool, Path, File, Secret, Any, dict, a list, set or tuple, Optional, Union, Literal,"
    " an Enum of str or int, a dataclass, TypedDict, BaseModel or pydantic model, or Annotated[T, Opaque]"
)


class FieldJudge:
    """Reads one parameter. ``problems`` has every rule it breaks; ``notices`` what the author should know."""

    def __init__(self, name: str, annotation: Any, default: Any, names: Dict[str, Any]) -> None:
        self.name = name
        self.info = default if isinstance(default, FieldInfo) else FieldInfo(default)
        self.problems: List[str] = []
        self.notices: List[str] = []
        self.field: Optional[Field] = None
        """None when there are problems."""
        self._judge(self._read(annotation, names))
        self.problems = list(dict.fromkeys(self.problems))

    def _read(self, annotation: Any, names: Dict[str, Any]) -> Optional[Shape]:
        name = self.name
        if annotation is MISSING:
            self.problems.append(f"missing type annotation for input {name}, as in `{name}: str`")
            return None
        try:
            return Reader(names, taking=True).read(annotation)
        except annotations.Unresolvable as error:
            self.problems.append(f"input {name}: {error}")
        except Unsupported as error:
            self.problems.append(f"unsupported type {error} for input {name}; an input may be {TAKEN}")
        return None

    def _judge(self, shape: Optional[Shape]) -> None:
        info, name = self.info, self.name
        core = shape.inner if isinstance(shape, Nullable) else shape
        kind = _element(core)
        choices, problems = read_choices(name, info, kind)
        self.problems += problems
        self.problems += bound_problems(name, info, kind)
        default = self._default()
        optional = isinstance(shape, Nullable) or default is None
        if optional and shape is core and core is not None and not isinstance(core, Anything):
            # The common way to write "may be left out" before Optional was taken; refusing it helps nobody.
            self.notices.append(f"input {name}: default=None, so it is taken as Optional[{core.name}]")
        if default is not MISSING and default is not None:
            default = self._check_default(default, core, kind, choices)
        if self.problems or core is None or kind is None:
            return
        if isinstance(kind, OneOf):
            kind, choices = kind.only(choices), None
            core = _with_element(core, kind)
        rules = Rules(info.ge, info.le, info.min_length, info.max_length, info.regex, choices)
        factory = info.default_factory
        self.field = Field(
            name,
            _with_element(core, Ruled(kind, rules)) if rules else core,
            many=type(core) is ListOf,
            optional=optional,
            required=default is MISSING and factory is None and not isinstance(shape, Nullable),
            default=None if default is MISSING or factory is not None else default,
            make_default=factory,
            rules=rules,
            choices=_choices_schema(name, kind, choices),
            description=info.description,
            deprecated=bool(info.deprecated),
            accept=",".join(info.accept) if isinstance(info.accept, list) else info.accept,
        )

    def _default(self) -> Any:
        """The default; of a factory the first one, as it is better told now that it does not fit."""
        info, name = self.info, self.name
        if info.default_factory is None:
            return info.default
        if info.default is not MISSING:
            self.problems.append(f"default and default_factory are mutually exclusive: {name}")
        elif not callable(info.default_factory):
            self.problems.append(f"default_factory={info.default_factory!r} is not a function: {name}")
        else:
            return info.default_factory()
        return MISSING

    def _check_default(
        self, default: Any, core: Optional[Shape], kind: Optional[Shape], choices: Optional[List[Any]]
    ) -> Any:
        """The default as JSON."""
        name, many = self.name, type(core) is ListOf
        if many and not isinstance(default, (list, tuple)):
            self.problems.append(f"default={_shown(default, core)} is not a list: {name}")
            return default
        plain = []
        for element in default if many else [default]:
            value, problems = enum_value(name, element, kind)
            self.problems += problems
            shown = _shown(value, core)
            try:
                value = value if kind is None else kind.plain(value)
            except BadValue as error:
                self.problems.append(f"default={shown} {error}: {name}")
            for rule in broken_rules(value, self.info, choices):
                self.problems.append(f"default={shown} conflicts with {rule}: {name}")
            plain.append(value)
        return plain if many else plain[0]


def _element(core: Optional[Shape]) -> Optional[Shape]:
    """What the rules of an input are for: the elements of a list, else the value itself."""
    inner = core.inner if isinstance(core, ListOf) and type(core) is ListOf else core
    return inner.inner if isinstance(inner, Nullable) and inner is not core else inner


def _with_element(core: Shape, element: Shape) -> Shape:
    """The same shape with another element."""
    if type(core) is not ListOf:
        return element
    return ListOf(Nullable(element) if isinstance(core.inner, Nullable) else element)


def _choices_schema(name: str, kind: Shape, choices: Optional[List[Any]]) -> Optional[Dict[str, Any]]:
    """The schema of an Enum's, a Literal's or ``Input``'s choices, as Cog's documents have it."""
    if choices is not None:
        found = {**kind.schema(), "enum": choices}
    elif isinstance(kind, OneOf):
        found = kind.schema()
    else:
        return None
    return {**found, "title": name, "description": "An enumeration."}


def _shown(value: Any, core: Optional[Shape]) -> str:
    secret = isinstance(value, Secret) or (core is not None and core.holds_secrets())
    return repr(Secret.MASK) if secret else repr(value)
