"""What a model's schema declares to be in an input, at any depth: files to fetch, secrets to hide."""

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

Rule = Mapping[str, Any]
Place = tuple[Any, Any]
"""A list or an object, and the index or name of a text in it."""


class Declared:
    """The inputs of one OpenAPI document. One that is broken declares nothing."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        schemas = document.get("components", {}).get("schemas", {})
        self._undeclared = not {"Input", "TrainingInput"} & schemas.keys()
        properties = schemas.get("Input", schemas.get("TrainingInput", {})).get("properties", {})
        rules = {name: rule for name, rule in properties.items() if isinstance(rule, dict)}
        self._files = {name: rule for name, rule in rules.items() if _holds(rule, _is_file)}
        self._secrets = {name: rule for name, rule in rules.items() if _holds(rule, _is_secret)}
        self._default_files = {
            name: rule["default"] for name, rule in self._files.items() if rule.get("default") is not None
        }

    def with_files(
        self, given: Mapping[str, Any], known: Collection[str] = ()
    ) -> tuple[dict[str, Any], list[tuple[str, Place]]]:
        """A copy of the input, with the defaults that are URLs of files; and where in it files are named.

        A model that declares no inputs at all may have files anywhere: there the ``known`` URLs are files.
        """
        ready = dict(given)
        if self._undeclared and known:
            ready = copy.deepcopy(ready)
            return ready, [(name, place) for name in ready for place in _known_texts(ready, name, known)]
        for name, default in self._default_files.items():
            if name not in ready and _holds_url(default):
                ready[name] = default
        found: list[tuple[str, Place]] = []
        for name, rule in self._files.items():
            if name in ready:
                ready[name] = copy.deepcopy(ready[name])
                found += [(name, place) for place in _texts(ready, name, rule, _is_file)]
        return ready, found

    def secrets(self, given: Mapping[str, Any]) -> list[str]:
        """The secrets in an input."""
        return [
            holder[key]
            for name, rule in self._secrets.items()
            if name in given
            for holder, key in _texts(given, name, rule, _is_secret)
        ]


Test = Callable[[Rule], bool]


def _is_file(rule: Rule) -> bool:
    return rule.get("format") == "uri" and rule.get("type", "string") == "string"


def _is_secret(rule: Rule) -> bool:
    return bool(rule.get("x-cog-secret") or rule.get("format") == "password")


def _parts(rule: Rule) -> Iterator[Rule]:
    """The rules inside a rule."""
    named = rule.get("properties")
    parts = [rule.get("items"), rule.get("additionalProperties")]
    parts += [*_options(rule), *(named.values() if isinstance(named, dict) else ())]
    return (part for part in parts if isinstance(part, dict))


def _options(rule: Rule) -> Iterator[Rule]:
    for word in ("anyOf", "oneOf", "allOf"):
        yield from (option for option in rule.get(word) or () if isinstance(option, dict))


def _holds(rule: Rule, test: Test) -> bool:
    return test(rule) or any(_holds(part, test) for part in _parts(rule))


def _texts(holder: Any, key: Any, rule: Rule, test: Test) -> Iterator[Place]:
    """Where in ``holder[key]`` there are texts whose rule passes the test."""
    value = holder[key]
    if isinstance(value, str):
        if test(rule):
            yield holder, key
            return
    elif isinstance(value, list):
        items = rule.get("items")
        if isinstance(items, dict):
            for index in range(len(value)):
                yield from _texts(value, index, items, test)
    elif isinstance(value, dict):
        named = rule.get("properties") or {}
        for name in value:
            inner = named.get(name, rule.get("additionalProperties"))
            if isinstance(inner, dict):
                yield from _texts(value, name, inner, test)
    for option in _options(rule):
        found = list(_texts(holder, key, option, test))
        if found:
            yield from found
            return


def _known_texts(holder: Any, key: Any, known: Collection[str]) -> Iterator[Place]:
    """Where in ``holder[key]`` there are texts that are known."""
    value = holder[key]
    if isinstance(value, str):
        if value in known:
            yield holder, key
    elif isinstance(value, dict | list):
        for inner in value if isinstance(value, dict) else range(len(value)):
            yield from _known_texts(value, inner, known)


def _holds_url(default: Any) -> bool:
    if isinstance(default, list):
        return any(map(_holds_url, default))
    return isinstance(default, str) and default.startswith(("http://", "https://", "data:"))
