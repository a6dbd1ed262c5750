"""One command's argument list: an argparse parser made from its settings, with clear one-line errors."""

import argparse
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Never, TypeVar

from edge.exits import CommandFailed, ExitCode
from edge.options import BadOption, Option, build, nearest, options_of

Settings = TypeVar("Settings")


def parse(
    settings: type[Settings], program: str, about: str, arguments: Sequence[str], environ: Mapping[str, str]
) -> Settings:
    """The settings from the arguments and the environment. ``--help`` prints and exits.

    Raises CommandFailed with exit code 2 for anything that cannot be used.
    """
    options = options_of(settings)
    parser = parser_of(options, program, about)
    namespace, rest = parser.parse_known_args(list(arguments))
    if rest:
        parser.error(_unexpected(rest, options))
    given = {option.name: texts for option in options if (texts := _texts(namespace, option))}
    try:
        return build(settings, given, environ)
    except BadOption as error:
        raise CommandFailed(str(error), ExitCode.USAGE, f"see {program} --help") from None


def parser_of(options: Sequence[Option], program: str, about: str) -> argparse.ArgumentParser:
    """The parser of one command; every value is kept as text and read by ``Option.parse``."""
    positionals = "".join(f" {option.usage}" for option in options if option.positional)
    parser = _Parser(
        prog=program,
        usage=f"{program}{positionals} [options]",
        description=about,
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    named = parser.add_argument_group("Arguments")
    general = parser.add_argument_group("Options")
    groups = {"": general}
    for option in options:
        group = groups.get(option.group)
        if group is None:
            group = groups[option.group] = parser.add_argument_group(option.group)
        if option.positional:
            count = "*" if option.kind == "list" else "?"
            named.add_argument(option.name, nargs=count, metavar=option.metavar, help=_help(option))
        elif option.kind == "flag":
            group.add_argument(f"--{option.name}", action="append_const", const="on", help=_help(option))
            group.add_argument(
                f"--no-{option.name}",
                dest=option.name.replace("-", "_"),
                action="append_const",
                const="off",
                help=argparse.SUPPRESS if not option.default else f"turn --{option.name} off",
            )
        else:
            group.add_argument(*option.flags, action="append", metavar=option.metavar, help=_help(option))
    general.add_argument("-h", "--help", action="help", help="show this text and exit")
    return parser


def _texts(namespace: argparse.Namespace, option: Option) -> Sequence[str]:
    name = option.name if option.positional else option.name.replace("-", "_")
    found: Any = getattr(namespace, name)
    if found is None:
        return ()
    return [found] if isinstance(found, str) else found


def _help(option: Option) -> str:
    if option.hidden:
        return argparse.SUPPRESS
    facts = []
    if option.required and not option.positional:
        facts.append("needed")
    elif option.default_text:
        facts.append(f"default {option.default_text}")
    if option.kind == "list":
        facts.append("may be repeated")
        if option.choices:
            facts.append(f"of {', '.join(option.choices)}")
    if option.variables:
        facts.append(" or ".join(option.variables))
    return (f"{option.help} [{'; '.join(facts)}]" if facts else option.help).replace("%", "%%")


def _unexpected(rest: Sequence[str], options: Sequence[Option]) -> str:
    word = next((text for text in rest if text.startswith("-")), None)
    if word is None:
        return f"unexpected argument {rest[0]!r}"
    match = nearest(
        word.partition("=")[0], [option.flag for option in options if not option.hidden] + ["--help"]
    )
    return f"there is no option {word.partition('=')[0]}" + (f" (did you mean {match}?)" if match else "")


_ARGPARSE = (
    (re.compile(r"argument (?:\S+/)?(\S+): expected one argument"), r"\1 needs a value"),
    (re.compile(r"argument (?:\S+/)?(\S+): ignored explicit argument .*"), r"\1 takes no value"),
)
"""What argparse says, and how we say it."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        for theirs, ours in _ARGPARSE:
            message = theirs.sub(ours, message)
        raise CommandFailed(message, ExitCode.USAGE, f"see {self.prog} --help")


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str, **rest: Any) -> None:
        width = min(100, shutil.get_terminal_size().columns) - 2
        super().__init__(prog, max_help_position=28, width=width, **rest)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)  # options stay whole
