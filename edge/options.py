"""Turns frozen settings dataclasses into command line options and environment variables, and back.

A field ``queue_length`` is ``--queue-length`` and ``COGFLARE_QUEUE_LENGTH``; the command line wins over the
environment, which wins over the default. A field whose type is itself a settings dataclass is a group of
options. Metadata of a field:

``help``        one line, required
``option``      the option's name where it is not the field's (``models`` is ``--model``)
``variable``    the environment variable without its prefix, where another command's option has the same name
``positional``  an argument instead of an option; the environment cannot give it
``short``       one letter that stands for the option, too
``minimum``, ``maximum``   bounds of a number (default: counts from 1, the rest from 0)
``choices``     the values that are allowed
``metavar``     what stands for the value in help
``hidden``      works, but help and reference do not show it: for measuring, not for use
``also``        a variable of another program that is read when ours is not set
``separator``   of several values in an environment variable or after one option (default ``,``); when it
                is empty a text is one value, as it stands

Units come from names: ``_s`` reads ``90``, ``5m`` or ``250ms``; ``_bytes`` reads ``1048576`` or ``8MiB``.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Never, TypeVar

from edge.quantities import format_duration, format_size, parse_duration, parse_size

PREFIX = "COGFLARE_"

Settings = TypeVar("Settings")
Kind = Literal["text", "path", "flag", "count", "number", "size", "duration", "list"]


class BadOption(Exception):
    """A value that cannot be used. The message names the option or the variable."""


@dataclass(frozen=True)
class Option:
    """One field of a settings dataclass, as the command line and the environment know it."""

    name: str
    path: tuple[str, ...]
    group: str
    kind: Kind
    help: str
    default: Any
    required: bool = False
    positional: bool = False
    short: str = ""
    hidden: bool = False
    choices: tuple[str, ...] = ()
    value_name: str = ""
    minimum: float = 0
    maximum: float | None = None
    separator: str = ","
    also: str = ""
    variable: str = ""

    @property
    def flag(self) -> str:
        return self.name if self.positional else f"--{self.name}"

    @property
    def flags(self) -> tuple[str, ...]:
        """Every way to write the option, the short one first."""
        return (f"-{self.short}", self.flag) if self.short else (self.flag,)

    @property
    def environment(self) -> str:
        """The variable's name; empty for an argument."""
        return "" if self.positional else PREFIX + (self.variable or self.name.upper().replace("-", "_"))

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable that is read for it, the first one that is set counts."""
        return tuple(filter(None, (self.environment, self.also)))

    @property
    def usage(self) -> str:
        """How an argument is written where a command is shown."""
        shown = f"{self.metavar}..." if self.kind == "list" else self.metavar
        return shown if self.required else f"[{shown}]"

    @property
    def metavar(self) -> str:
        if self.choices and self.kind != "list":
            return "{" + ",".join(self.choices) + "}"
        if self.value_name:
            return self.value_name
        if self.positional:
            return self.name.upper()
        names = {"count": "N", "number": "N", "size": "SIZE", "duration": "TIME", "path": "PATH"}
        return names.get(self.kind) or self.name.rpartition("-")[2].upper()

    @property
    def default_text(self) -> str:
        """The default with its unit, as help pages and the reference show it; empty for none."""
        if self.required or self.default is None or self.default == ():
            return ""
        if self.kind == "flag":
            return "on" if self.default else "off"
        if self.kind == "size":
            return format_size(self.default)
        if self.kind == "duration":
            return format_duration(self.default)
        if self.kind == "list":
            return self.separator.join(self.default)
        return str(self.default)

    def parse(self, text: str, source: str) -> Any:
        """The value in ``text``. Raises BadOption, which names ``source``."""
        try:
            return self._value(text)
        except ValueError as error:
            raise BadOption(f"{source}: {error}") from None

    def _value(self, text: str) -> Any:
        if self.kind == "flag":
            return _switch(text)
        if self.kind == "list":
            if not self.separator:
                return (self._chosen(text),)
            parts = text.split(self.separator)
            return tuple(self._chosen(part.strip()) for part in parts if part.strip())
        if self.kind == "path":
            if not text:
                raise ValueError("needs a path")
            return Path(text).expanduser()
        if self.kind == "text":
            return self._chosen(text)
        return self._bounded(_number(self.kind, text))

    def _chosen(self, text: str) -> str:
        if self.choices and text not in self.choices:
            if text.lower() in self.choices:
                return text.lower()
            raise ValueError(
                f"{text!r} is none of {', '.join(self.choices)}{_did_you_mean(text, self.choices)}"
            )
        return text

    def _bounded(self, value: float) -> float:
        if value < self.minimum:
            raise ValueError(f"{self._shown(value)} is below {self._shown(self.minimum)}")
        if self.maximum is not None and value > self.maximum:
            raise ValueError(f"{self._shown(value)} is above {self._shown(self.maximum)}")
        return value

    def _shown(self, value: float) -> str:
        if self.kind == "duration":
            return format_duration(value)
        return format_size(int(value)) if self.kind == "size" else f"{value:g}"


def options_of(settings: type[Any]) -> list[Option]:
    """Every option of a settings dataclass, nested groups included, in the order of its fields."""
    found = list(_walk(settings, (), ""))
    names = [option.name for option in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise TypeError(f"{settings.__name__} has two options named {', '.join(sorted(twice))}")
    return found


def build(
    settings: type[Settings], given: Mapping[str, Sequence[str]], environ: Mapping[str, str]
) -> Settings:
    """The settings from what the command line gave (option name -> its texts) and the environment.

    An empty variable counts as not set. Raises BadOption.
    """
    values: dict[tuple[str, ...], Any] = {}
    for option in options_of(settings):
        if option.name in given:
            values[option.path] = _from_command_line(option, given[option.name])
        elif variable := next(filter(environ.get, option.variables), ""):
            values[option.path] = option.parse(environ[variable], variable)
        elif option.required:
            raise BadOption(f"{_wanted(option)} is needed: {option.help}")
        elif isinstance(option.default, Path):
            values[option.path] = option.default.expanduser()
    return typing.cast(Settings, _assemble(settings, values, ()))


def unknown_variables(environ: Mapping[str, str], known: Iterable[str]) -> list[str]:
    """A warning for each COGFLARE_ variable that no option reads, with the nearest that one does."""
    names = set(known)
    return [
        f"{name} is not a setting and is ignored{_did_you_mean(name, names)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in names
    ]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was probably meant to be."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    match = nearest(word, known)
    return f" (did you mean {match}?)" if match else ""


def _walk(settings: type[Any], path: tuple[str, ...], group: str) -> Iterable[Option]:
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _walk(typing.cast(type[Any], hint), (*path, field.name), field.metadata["help"])
        elif field.init and "help" in field.metadata:
            yield _option(field, hint, (*path, field.name), group)


def _option(field: "dataclasses.Field[Any]", hint: Any, path: tuple[str, ...], group: str) -> Option:
    plain = _without_none(hint)
    kind = _kind(field.name, plain)
    metadata = field.metadata
    default: Any = None
    required = False
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    else:
        required = True
    choices = metadata.get("choices", typing.get_args(plain) if typing.get_origin(plain) is Literal else ())
    return Option(
        name=metadata.get("option", field.name).replace("_", "-"),
        path=path,
        group=group,
        kind=kind,
        help=metadata["help"],
        default=default,
        required=required,
        positional=metadata.get("positional", False),
        short=metadata.get("short", ""),
        hidden=metadata.get("hidden", False),
        choices=tuple(choices),
        value_name=metadata.get("metavar", ""),
        minimum=metadata.get("minimum", 1 if kind in ("count", "size") else 0),
        maximum=metadata.get("maximum"),
        separator=metadata.get("separator", ","),
        also=metadata.get("also", ""),
        variable=metadata.get("variable", ""),
    )


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    if len(members) != 1:
        raise TypeError(f"a setting cannot be of type {hint}")
    return members[0]


def _kind(name: str, hint: Any) -> Kind:
    if hint is bool:
        return "flag"
    if hint is int:
        return "size" if name.endswith("_bytes") else "count"
    if hint is float:
        return "duration" if name.endswith("_s") else "number"
    if hint is Path:
        return "path"
    if hint is str or typing.get_origin(hint) is Literal:
        return "text"
    if typing.get_origin(hint) is tuple:
        return "list"
    raise TypeError(f"a setting cannot be of type {hint}")


def _wanted(option: Option) -> str:
    return option.metavar if option.positional else f"{option.flag} or {option.environment}"


def _from_command_line(option: Option, texts: Sequence[str]) -> Any:
    if option.kind == "list":
        return tuple(part for text in texts for part in option.parse(text, option.flag))
    return option.parse(texts[-1], option.flag)


def _assemble(settings: type[Any], values: Mapping[tuple[str, ...], Any], path: tuple[str, ...]) -> Any:
    hints = typing.get_type_hints(settings)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        where = (*path, field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            arguments[field.name] = _assemble(typing.cast(type[Any], hints[field.name]), values, where)
        elif where in values:
            arguments[field.name] = values[where]
    return settings(**arguments)


def _number(kind: Kind, text: str) -> float:
    if kind == "size":
        return parse_size(text)
    if kind == "duration":
        return parse_duration(text)
    try:
        value = int(text) if kind == "count" else float(text)
    except ValueError:
        _refuse(text, "a whole number" if kind == "count" else "a number")
    if value - value != 0:  # infinity and not-a-number
        _refuse(text, "a number")
    return value


def _switch(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off"):
        return False
    return _refuse(text, "on or off")


def _refuse(text: str, wanted: str) -> Never:
    raise ValueError(f"{text!r} is not {wanted}")
