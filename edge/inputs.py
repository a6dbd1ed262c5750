"""A version's schema, and what it says of an input. Pure.

Only what the runner would refuse for certain is refused here: it takes ``"5"`` for 5, so that passes, and
what this subset of JSON Schema does not know is left to it. No message repeats a value: it may be a secret.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from edge.errors import InvalidField

MASK = "**********"
WEIGHTS_INPUT = "replicate_weights"
"""Cog's name of the input by which a model is given weights."""
_MAX_ITEM_ERRORS = 10
_REF = "#/components/schemas/"
_URL = re.compile(r"(?:https?://|data:)", re.IGNORECASE)
_TRUTHS = frozenset({"0", "1", "true", "false", "yes", "no", "on", "off"})

Schema = Mapping[str, Any]


class VersionSchema:
    """What the edge needs to know of a version's OpenAPI document. Broken documents know nothing."""

    __slots__ = (
        "_properties",
        "_required",
        "_schemas",
        "files",
        "secrets",
        "streams",
        "streams_files",
        "takes_weights",
        "training",
    )

    def __init__(self, document: Mapping[str, Any]) -> None:
        schemas = _mapping(_mapping(document.get("components")).get("schemas"))
        inputs = _mapping(schemas.get("Input"))
        output = _mapping(schemas.get("Output"))
        self._schemas = schemas
        self._properties = {
            name: _resolved(_mapping(rule), schemas)
            for name, rule in _mapping(inputs.get("properties")).items()
        }
        required = inputs.get("required")
        self._required = tuple(required) if isinstance(required, list) else ()
        self.secrets = frozenset(name for name, rule in self._properties.items() if _holds(rule, _is_secret))
        self.files = frozenset(name for name, rule in self._properties.items() if _holds(rule, _is_file))
        item = _resolved(_mapping(output.get("items", output)), schemas)
        self.streams_files = _is_file(item)
        self.streams = self.streams_files or output.get("x-cog-array-type") == "iterator"
        self.takes_weights = False
        """Of trainings: what was trained has an input for their weights."""
        self.training = _training(schemas)
        """What it says of trainings; None when nothing trains it."""

    @property
    def properties(self) -> Mapping[str, Schema]:
        """The rule of each input by name, with its references folded in."""
        return self._properties

    @property
    def required(self) -> tuple[str, ...]:
        """The names of the inputs that there must be."""
        return self._required

    def refused(self, value: Mapping[str, Any]) -> tuple[InvalidField, ...]:
        """Every field of this input that cannot be right; empty when the runner may have it."""
        found = [
            InvalidField("required", "input", f"{name} is required")
            for name in self._required
            if name not in value
        ]
        for name, rule in self._properties.items():
            if name in value:
                found.extend(_refused(f"input.{name}", value[name], rule, self._schemas))
        return tuple(found)

    def masked(self, value: bytes) -> bytes:
        """An input as it may be shown: secrets are masked."""
        if not self.secrets:
            return value
        shown = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        for name in self.secrets & shown.keys():
            masked = _masked(msgspec.json.decode(shown[name]), self._properties[name])
            shown[name] = msgspec.Raw(msgspec.json.encode(masked))
        return msgspec.json.encode(shown)


def _training(schemas: Schema) -> "VersionSchema | None":
    if not isinstance(schemas.get("TrainingInput"), dict):
        return None
    rest = {name: schema for name, schema in schemas.items() if name != "TrainingInput"}
    inner = {**rest, "Input": schemas["TrainingInput"], "Output": {}}
    training = VersionSchema({"components": {"schemas": inner}})
    inputs = _mapping(_mapping(schemas.get("Input")).get("properties"))
    training.takes_weights = _holds(_resolved(_mapping(inputs.get(WEIGHTS_INPUT)), schemas), _is_file)
    return training


class _Forgotten(VersionSchema):
    """Of a version that nothing is known of any more: any of its inputs may have been a secret."""

    __slots__ = ()

    def masked(self, value: bytes) -> bytes:
        shown = msgspec.json.decode(value, type=dict[str, Any])
        return msgspec.json.encode({name: _mask(item) for name, item in shown.items()})


@lru_cache(maxsize=1000)
def version_schema(openapi_schema: bytes) -> VersionSchema:
    """The schema of a version, parsed once."""
    try:
        document = msgspec.json.decode(openapi_schema)
    except msgspec.DecodeError:
        document = None
    return VersionSchema(_mapping(document))


def _refused(field: str, value: Any, rule: Schema, schemas: Schema) -> Iterator[InvalidField]:
    if value is None:
        if not rule.get("nullable") and "type" in rule:
            yield _wrong_type(field, rule["type"], value)
        return
    if isinstance(rule.get("anyOf"), list):
        options = [_resolved(_mapping(option), schemas) for option in rule["anyOf"]]
        if options and all(any(_refused(field, value, option, schemas)) for option in options):
            yield InvalidField("number_any_of", field, "Must validate at least one schema (anyOf)")
        return
    kind = rule.get("type")
    if kind == "array":
        yield from _refused_items(field, value, rule, schemas)
        return
    if kind not in _CONVERSIONS:
        return
    converted = _CONVERSIONS[kind](value)
    if converted is None:
        yield _wrong_type(field, kind, value)
        return
    yield from _out_of_bounds(field, converted, rule)


def _refused_items(field: str, value: Any, rule: Schema, schemas: Schema) -> Iterator[InvalidField]:
    if not isinstance(value, list):
        yield _wrong_type(field, "array", value)
        return
    # Cog writes an element's bounds on the list itself.
    bounds = {key: rule[key] for key in _BOUNDS if key in rule}
    item_rule = {**_resolved(_mapping(rule.get("items")), schemas), **bounds}
    errors = 0
    for index, item in enumerate(value):
        for error in _refused(f"{field}.{index}", item, item_rule, schemas):
            yield error
            errors += 1
            if errors == _MAX_ITEM_ERRORS:
                return


def _out_of_bounds(field: str, value: Any, rule: Schema) -> Iterator[InvalidField]:
    choices = rule.get("enum")
    if isinstance(choices, list) and value not in choices:
        listed = ", ".join(msgspec.json.encode(choice).decode() for choice in choices)
        yield InvalidField("enum", field, f"{field} must be one of the following: {listed}")
        return
    if isinstance(value, int | float) and not isinstance(value, bool):
        if _number(rule.get("minimum")) and value < rule["minimum"]:
            yield InvalidField(
                "number_gte", field, f"Must be greater than or equal to {_plain(rule['minimum'])}"
            )
        if _number(rule.get("maximum")) and value > rule["maximum"]:
            yield InvalidField(
                "number_lte", field, f"Must be less than or equal to {_plain(rule['maximum'])}"
            )
    if isinstance(value, str):
        if _number(rule.get("minLength")) and len(value) < rule["minLength"]:
            yield InvalidField(
                "string_gte", field, f"String length must be greater than or equal to {rule['minLength']}"
            )
        if _number(rule.get("maxLength")) and len(value) > rule["maxLength"]:
            yield InvalidField(
                "string_lte", field, f"String length must be less than or equal to {rule['maxLength']}"
            )
        if isinstance(rule.get("pattern"), str) and _mismatch(rule["pattern"], value):
            yield InvalidField("pattern", field, f"Does not match pattern '{rule['pattern']}'")
        if rule.get("format") == "uri" and not _URL.match(value):
            yield InvalidField("format", field, "Must be an http(s) or data URL")


_BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "pattern")


def _integer(value: Any) -> int | None:
    if isinstance(value, int):
        return int(value)
    number = _float(value)
    return int(number) if number is not None and number.is_integer() else None


def _float(value: Any) -> float | None:
    if not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return True if value.lower() in _TRUTHS else None
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": _float,
    "boolean": _boolean,
    "string": _string,
}
"""Schema type -> the value as the runner would take it, or None. Other types are the runner's business."""


def _wrong_type(field: str, expected: Any, value: Any) -> InvalidField:
    return InvalidField("invalid_type", field, f"Invalid type. Expected: {expected}, given: {_type(value)}")


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "unknown")


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """The pattern, or None when matching it could take long: a quantified group, a back-reference, several
    unbounded quantifiers. The loop cannot interrupt a match; the runner has a process of its own for that."""
    plain = re.sub(r"\\\\", "", pattern)
    unbounded = re.findall(r"(?<!\\)[*+]|(?<!\\)\{\d*,\}", plain)
    if re.search(r"(?<!\\)\)[*+{?]|\\[1-9]|\(\?P=", plain) or len(unbounded) > 2:
        return None
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _mismatch(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern) if len(value) <= 200 else None
    return compiled is not None and compiled.search(value) is None


def _resolved(rule: Schema, schemas: Schema, depth: int = 0) -> dict[str, Any]:
    """The rule with its ``$ref`` and ``allOf`` folded in; the rule's own keys win."""
    merged: dict[str, Any] = {}
    every = rule.get("allOf")
    more = (_mapping(part) for part in every) if isinstance(every, list) else ()
    parts = [rule, *more] if depth < 8 else []
    for part in parts:
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith(_REF):
            merged.update(_resolved(_mapping(schemas.get(reference[len(_REF) :])), schemas, depth + 1))
    merged.update((key, value) for key, value in rule.items() if key not in ("allOf", "$ref"))
    return merged


def _is_secret(rule: Schema) -> bool:
    return bool(rule.get("format") == "password" or rule.get("x-cog-secret"))


def _is_file(rule: Schema) -> bool:
    return rule.get("format") == "uri"


def _holds(rule: Schema, test: Callable[[Schema], bool], depth: int = 0) -> bool:
    """Whether something of this kind may be in a value, at any depth."""
    return test(rule) or (depth < 16 and any(_holds(part, test, depth + 1) for part in _parts(rule)))


def _parts(rule: Schema) -> Iterator[Schema]:
    """The rules inside a rule."""
    parts = [rule.get("items"), rule.get("additionalProperties"), *_mapping(rule.get("properties")).values()]
    for word in ("anyOf", "oneOf", "allOf"):
        parts += rule.get(word) or ()
    # Without the empty ones: each of those would have two empty parts of its own, and so on.
    yield from filter(None, map(_mapping, parts))


def _masked(value: Any, rule: Schema) -> Any:
    """The value without its secrets. What is in the place of one is masked whatever it is."""
    if _is_secret(rule):
        return _mask(value)
    for word in ("anyOf", "oneOf", "allOf"):
        for option in rule.get(word) or ():
            value = _masked(value, _mapping(option))
    if isinstance(value, list):
        return [_masked(item, _mapping(rule.get("items"))) for item in value]
    if isinstance(value, dict):
        named, other = _mapping(rule.get("properties")), _mapping(rule.get("additionalProperties"))
        return {name: _masked(member, _mapping(named.get(name, other))) for name, member in value.items()}
    return value


def _mask(value: Any) -> Any:
    if isinstance(value, list):
        return [_mask(item) for item in value]
    return None if value is None else MASK


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(number: float) -> str:
    return f"{number:g}" if abs(number) < 1e6 else str(number)


FORGOTTEN: VersionSchema = _Forgotten({})
