"""Texts of a command line as values, each read by the rule of its input."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Never

Rule = Mapping[str, Any]

_URL = re.compile(r"(?:https?://|data:)", re.IGNORECASE)
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


class OnDisk(str):
    """The absolute path of a file that is an input."""


class BadValue(Exception):
    """The value does not fit; the text says what would, and never shows the value: it may be a secret."""


def kind_of(rule: Rule) -> str:
    """What a value may be, in a word or two."""
    if isinstance(rule.get("enum"), list):
        return "|".join(map(str, rule["enum"]))
    if rule.get("type") == "array":
        items = rule.get("items")
        return f"list of {kind_of(items)}" if isinstance(items, dict) else "list"
    if isinstance(rule.get("anyOf"), list):
        return " or ".join(kind_of(option) for option in rule["anyOf"] if isinstance(option, dict))
    if _is_file(rule):
        return "file"
    return "secret" if rule.get("format") == "password" else str(rule.get("type", "any"))


class Source:
    """Where ``@`` leads. Standard input can be had once, and is kept in a folder when it is a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken = False

    def path(self, word: str) -> OnDisk:
        if word == "-":
            path = self._folder / "stdin"
            path.write_bytes(self._standard_input())
            return OnDisk(path.absolute())
        path = Path(word).expanduser()
        if not path.is_file():
            raise BadValue(f"is @{word}, and there is no such file")
        return OnDisk(path.absolute())

    def text(self, word: str) -> str:
        try:
            data = self._standard_input() if word == "-" else Path(word).expanduser().read_bytes()
            return data.decode()
        except OSError as error:
            reason = f"is @{word}, which cannot be read: {error.strerror}"
            raise BadValue(f"{reason}; write @@ for a text that begins with @") from None
        except UnicodeDecodeError:
            raise BadValue(f"is @{word}, which is no text in UTF-8") from None

    def _standard_input(self) -> bytes:
        if self._taken:
            raise BadValue("is @-, and standard input was taken already")
        self._taken = True
        return sys.stdin.buffer.read()


def value_of(rule: Rule, texts: Sequence[str], source: Source) -> Any:
    """The value of an input that was given these texts. Raises ``BadValue``."""
    if rule.get("type") == "array":
        return _list(rule, texts, source)
    if len(texts) > 1:
        raise BadValue("is given more than once, and takes one value")
    return _one(rule, texts[0], source)


def _list(rule: Rule, texts: Sequence[str], source: Source) -> Any:
    """One text may be the whole list, as JSON; else each is an element."""
    items = rule.get("items")
    items = items if isinstance(items, dict) else {}
    if len(texts) > 1:
        return [_one(items, text, source) for text in texts]
    text = texts[0]
    if text.startswith("@") and not text.startswith("@@") and not _takes_files(items):
        text = source.text(text[1:])
    if text == "null" and rule.get("nullable"):
        return None
    if text.lstrip().startswith("["):
        try:
            return _json(text, list, "a list")
        except BadValue:
            if items.get("type") != "string":
                raise
    return [_one(items, text, source)]


def _one(rule: Rule, text: str, source: Source) -> Any:
    if text.startswith("@@"):
        return _plain(rule, text[1:])
    if not text.startswith("@"):
        return _plain(rule, text)
    if _takes_files(rule):
        return source.path(text[1:])
    if rule.get("format") != "password":
        return _plain(rule, source.text(text[1:]))
    try:
        # An editor ends a file with a line end, which no key has.
        return source.text(text[1:]).rstrip("\r\n")
    except BadValue:
        raise BadValue("begins with @, and is no text file: write @@ if the secret itself does") from None


def _plain(rule: Rule, text: str) -> Any:
    """The value of a text that stands for itself."""
    options = rule.get("anyOf")
    if isinstance(options, list):
        return _first_that_fits([option for option in options if isinstance(option, dict)], text)
    kind = rule.get("type")
    if rule.get("nullable") and text == "null" and (kind != "string" or _is_file(rule)):
        return None
    if kind == "string":
        if _is_file(rule) and not _URL.match(text):
            raise BadValue("is a file: write @PATH, or an http, https or data URL")
        return text
    return _READERS.get(str(kind), _guessed)(text)


def _first_that_fits(options: Sequence[Rule], text: str) -> Any:
    """A string takes anything, so it is asked last."""
    for option in sorted(options, key=lambda option: option.get("type") == "string"):
        try:
            return _plain(option, text)
        except BadValue:
            continue
    raise BadValue(f"must be {kind_of({'anyOf': options})}")


def _integer(text: str) -> int:
    number = _number(text, "an integer")
    if isinstance(number, float) and not number.is_integer():
        raise BadValue("must be an integer, not a fraction")
    return int(number)


def _number(text: str, expected: str = "a number") -> int | float:
    text = text.strip()
    try:
        if re.fullmatch(r"[+-]?[0-9]{1,4000}", text, re.ASCII):
            return int(text)
        number = float(text)
    except ValueError:
        raise BadValue(f"must be {expected}") from None
    if "_" in text or number - number != 0:
        raise BadValue(f"must be {expected}")
    return number


def _boolean(text: str) -> bool:
    found = _BOOLEANS.get(text.strip().lower())
    if found is None:
        raise BadValue("must be true or false")
    return found


def _json(text: str, kind: type, what: str) -> Any:
    try:
        value = _loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise BadValue(f"must be {what}, as JSON")
    return value


def _guessed(text: str) -> Any:
    """Where any JSON may be: what is none is a text."""
    try:
        return _loads(text)
    except ValueError:
        return text


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=_no_number)


def _no_number(word: str) -> Never:
    raise ValueError(f"{word} is not JSON")


_READERS: dict[str, Callable[[str], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "object": lambda text: _json(text, dict, "an object"),
    "array": lambda text: _json(text, list, "a list"),
}


def _is_file(rule: Rule) -> bool:
    return rule.get("format") == "uri"


def _takes_files(rule: Rule) -> bool:
    options = rule.get("anyOf")
    return _is_file(rule) or (isinstance(options, list) and any(map(_takes_files, options)))
