"""Shapes of classes with fields: dataclasses, ``BaseModel``, ``TypedDict``, attrs, pydantic, and whatever an
author's own coder knows.
"""

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from cog.fields import MISSING

from coglet.encoding import bad, encode_any, encode_mapping, fields_of, mismatch
from coglet.files import Files
from coglet.shapes import ANY, BadValue, Schema, Shape, kind_of


class Member(NamedTuple):
    """One field of a class."""

    shape: Shape
    nullable: bool
    default: Any = MISSING
    """As JSON, when it is simple enough to be shown; MISSING when there is none to be shown."""
    has_default: bool = False


class Record(Shape):
    """A class of named fields. ``make`` builds one from those that were given and the nullable others."""

    exact = (dict,)

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        self.name = name
        self._make = make
        self.members: Dict[str, Member] = {}
        """Filled once all of them were read: a class may refer to itself."""
        self.required: List[str] = []

    def schema(self) -> Schema:
        properties: Schema = {}
        for name, member in self.members.items():
            properties[name] = {**member.shape.schema(), "title": name.replace("_", " ").title()}
            if member.default is not MISSING:
                properties[name]["default"] = member.default
        found: Schema = {"type": "object", "properties": properties}
        if self.required:
            found["required"] = list(self.required)
        return found

    def decode(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise BadValue(f"must be an object, not {kind_of(value)}")
        arguments: Dict[str, Any] = {}
        for name, member in self.members.items():
            if name in value:
                try:
                    arguments[name] = member.shape.decode(value[name])
                except BadValue as error:
                    raise BadValue(f"field {name} {error}") from None
            elif member.has_default:
                continue
            elif not member.nullable:
                raise BadValue(f"field {name} is required")
            else:
                arguments[name] = None
        try:
            return self._make(**arguments)
        except (ValueError, TypeError) as error:
            raise BadValue(f"is not taken by {self.name}: {error}") from None

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        fields = fields_of(value)
        if fields is None:
            raise mismatch(pointer, self.name, value)
        for name in self.required:
            if name not in fields:
                raise bad(f"{pointer}/{name}", "is missing")

        def encode(key: Any, each: Any, place: str) -> Any:
            member = self.members.get(key)
            if member is None:
                return encode_any(each, place, files)
            if each is None and not member.nullable and member.shape is not ANY:
                raise mismatch(place, "a value", None)
            return member.shape.encode(each, place, files)

        return encode_mapping(fields, pointer, encode)

    def plain(self, default: Any) -> Any:
        fields = fields_of(default)
        if fields is None:
            raise BadValue(f"is not of type {self.name}")
        return {
            name: self.members[name].shape.plain(each)
            for name, each in fields.items()
            if name in self.members
        }

    def secrets(self, value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, member in self.members.items():
                if name in value:
                    yield from member.shape.secrets(value[name])

    def holds_secrets(self) -> bool:
        return any(member.shape.holds_secrets() for member in self.members.values())


class Again(Shape):
    """A class inside itself: one level of its schema is enough."""

    exact = (dict,)

    def __init__(self, record: Record) -> None:
        self._record = record
        self.name = record.name
        self.decode = record.decode  # type: ignore[method-assign]
        self.encode = record.encode  # type: ignore[method-assign]
        self.plain = record.plain  # type: ignore[method-assign]
        self.secrets = record.secrets  # type: ignore[method-assign]

    def schema(self) -> Schema:
        return {"type": "object"}


class PydanticModel(Shape):
    """A pydantic model of the author's own pydantic, first or second version: it judges for itself."""

    exact = (dict,)

    def __init__(self, cls: Any) -> None:
        self.name = cls.__name__
        self._cls = cls
        self._described = self._describe()

    def schema(self) -> Schema:
        return dict(self._described)

    def secrets(self, value: Any) -> Iterator[str]:
        return _described_secrets(value, self._described)

    def holds_secrets(self) -> bool:
        return _describes_secrets(self._described)

    def _describe(self) -> Schema:
        make = getattr(self._cls, "model_json_schema", None) or self._cls.schema
        try:
            found = make()
        except Exception:  # a field of a type that pydantic cannot describe
            return {"type": "object"}
        definitions = {**found.pop("$defs", {}), **found.pop("definitions", {})}
        inlined: Schema = _inlined(found, definitions, ())
        inlined.pop("title", None)
        return inlined

    def decode(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise BadValue(f"must be an object, not {kind_of(value)}")
        validate = getattr(self._cls, "model_validate", None) or self._cls.parse_obj
        try:
            return validate(value)
        except ValueError as error:
            raise BadValue(_reasons(error)) from None

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        if isinstance(value, dict):
            try:
                value = self.decode(value)
            except BadValue as error:
                raise bad(pointer, str(error)) from None
        if not isinstance(value, self._cls):
            raise mismatch(pointer, self.name, value)
        return encode_any(value, pointer, files)

    def plain(self, default: Any) -> Any:
        if not isinstance(default, (dict, self._cls)):
            raise BadValue(f"is not of type {self.name}")
        return fields_of(default)


def _inlined(schema: Any, definitions: Dict[str, Any], within: Any) -> Any:
    """The same without references, and with ``nullable`` as OpenAPI 3.0 has it."""
    if isinstance(schema, list):
        return [_inlined(each, definitions, within) for each in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if name in within or name not in definitions:
            return {"type": "object"}
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _inlined({**definitions[name], **rest}, definitions, (*within, name))
    found = {key: _inlined(value, definitions, within) for key, value in schema.items()}
    if found.get("format") in ("path", "file-path"):
        found["format"] = "uri"  # a file of the client's, never one that it names on this machine
    options = found.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        others = [option for option in options if option != {"type": "null"}]
        del found["anyOf"]
        found.update(others[0] if len(others) == 1 else {"anyOf": others}, nullable=True)
    return found


def _describes_secrets(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_describes_secrets, schema))
    if not isinstance(schema, dict):
        return False
    return schema.get("format") == "password" or any(map(_describes_secrets, schema.values()))


def _described_secrets(value: Any, schema: Any) -> Iterator[str]:
    """The texts of a JSON value that its schema calls passwords."""
    if not isinstance(schema, dict):
        return
    for option in schema.get("anyOf", ()):
        yield from _described_secrets(value, option)
    if isinstance(value, str) and schema.get("format") == "password":
        yield value
    elif isinstance(value, list):
        for element in value:
            yield from _described_secrets(element, schema.get("items"))
    elif isinstance(value, dict):
        members = schema.get("properties", {})
        for name, member in value.items():
            yield from _described_secrets(member, members.get(name, schema.get("additionalProperties")))


def _reasons(error: Any) -> str:
    """What pydantic says, without the values that it would show."""
    try:
        found = error.errors(include_input=False, include_url=False)
    except Exception:
        found = error.errors() if hasattr(error, "errors") else [{"loc": (), "msg": "is not accepted"}]
    parts = []
    for each in found:
        place = "".join(f"field {part} " for part in each["loc"])
        parts.append(f"{place}{each['msg'][:1].lower()}{each['msg'][1:]}")
    return "; ".join(parts)


class Coded(Shape):
    """A type of a coder that the author registered; it makes JSON objects of its values and back."""

    exact = (dict,)

    def __init__(self, name: str, coder: Any, cls: Optional[type] = None) -> None:
        self.name = name
        self._coder = coder
        self._cls = cls

    def schema(self) -> Schema:
        return {"type": "object"}

    def decode(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise BadValue(f"must be an object, not {kind_of(value)}")
        try:
            return self._coder.decode(value)
        except (ValueError, TypeError, KeyError, AssertionError):
            raise BadValue(f"is not taken by the coder of {self.name}") from None

    def encode(self, value: Any, pointer: str, files: Files) -> Any:
        if self._cls is not None and not isinstance(value, self._cls):
            raise mismatch(pointer, self.name, value)
        return encode_any(self._coder.encode(value), pointer, files)

    def plain(self, default: Any) -> Any:
        return default if isinstance(default, dict) else self._coder.encode(default)
