"""The inputs of a prediction as a person writes them on a command line, read by the model's schema.

-i n=3  -i on=true  -i sizes=[1,2]  -i tag=a -i tag=b  -i box={"x":1}      by the type of the input
-i image=@cat.png  -i image=@-                  a file; of any other input, the text that the file has
-i name=@@handle                                a text that begins with @
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.commands.predicting.values import BadValue, OnDisk, Rule, Source, kind_of, value_of
from edge.errors import InvalidField
from edge.exits import CommandFailed, ExitCode
from edge.inputs import VersionSchema
from edge.options import nearest

SHOWN = 60
"""Characters of a default."""
_STANDS_FOR_A_FILE = "data:,"


def read_inputs(texts: Sequence[str], document: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """The input that ``KEY=VALUE`` texts make, files as ``OnDisk``; standard input is kept in ``folder``.

    Without a document nothing can be checked, and values are what they look like. Raises CommandFailed, with
    every problem and the inputs that there are in one line.
    """
    schema = VersionSchema(document or {})
    given = _by_key(texts)
    rules, others = _rules(schema, document)
    problems = []
    value: dict[str, Any] = {}
    source = Source(folder)
    for key, written in given.items():
        rule = rules.get(key)
        if rule is None and not others:
            match = nearest(key, rules)
            problems.append(f"there is no input {key!r}" + (f" (did you mean {match}?)" if match else ""))
            continue
        try:
            value[key] = value_of(rule or {}, written, source)
        except BadValue as error:
            problems.append(f"input {key} {error}")
    if not problems:
        problems = list(map(_told, schema.refused(as_json(value, lambda _: _STANDS_FOR_A_FILE))))
    if problems:
        there = "; ".join(described(name, rule, schema) for name, rule in rules.items())
        raise CommandFailed("; ".join(problems), ExitCode.USAGE, f"inputs: {there}" if there else "")
    return value


def as_json(value: Any, of_file: Callable[[str], Any]) -> Any:
    """The value with something else in the place of each file."""
    if isinstance(value, OnDisk):
        return of_file(value)
    if isinstance(value, dict):
        return {key: as_json(member, of_file) for key, member in value.items()}
    if isinstance(value, list):
        return [as_json(item, of_file) for item in value]
    return value


def described(name: str, rule: Rule, schema: VersionSchema) -> str:
    """An input in a few words: ``n integer 1..4 = 1``; ``needed`` when there must be one."""
    words = [name, kind_of(rule)]
    low, high = rule.get("minimum"), rule.get("maximum")
    if low is not None or high is not None:
        words.append("..".join("" if bound is None else f"{bound:g}" for bound in (low, high)))
    if name in schema.required:
        words.append("needed")
    elif rule.get("default") is not None:
        default = json.dumps(rule["default"], ensure_ascii=False)
        words.append(f"= {default if len(default) <= SHOWN else default[:SHOWN] + '...'}")
    return " ".join(words)


def _told(refused: InvalidField) -> str:
    if refused.field == "input":
        return f"input {refused.description}"
    text = refused.description.removeprefix(f"{refused.field} ")
    return f"{refused.field.replace('input.', 'input ', 1)}: {text[:1].lower()}{text[1:]}"


def _rules(schema: VersionSchema, document: Mapping[str, Any] | None) -> tuple[dict[str, Rule], bool]:
    """The rules in their author's order, and whether there may be inputs of other names."""
    order = sorted(schema.properties.items(), key=lambda item: item[1].get("x-order", 0))
    if document is None:
        return {}, True
    inputs = document.get("components", {}).get("schemas", {}).get("Input", {})
    return dict(order), bool(inputs.get("additionalProperties"))


def _by_key(texts: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise CommandFailed(f"-i {key}: expected KEY=VALUE", ExitCode.USAGE)
        found.setdefault(key.strip(), []).append(value)
    return found
