"""JSON bodies of changes, read field by field so that a refusal can name each one."""

from typing import Any, TypeVar

import msgspec

from edge.errors import InvalidField, Problem, invalid_input

Body = TypeVar("Body")


def parse(kind: type[Body], body: bytes) -> Body:
    """A body of this struct. Raises Problem: ``bad_request`` for what is no JSON, else 422 by field."""
    try:
        fields = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem("bad_request", "The request body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise invalid_input(InvalidField("invalid_type", "", "The request body must be a JSON object"))
    if wrong := _wrong(kind, fields):
        raise invalid_input(*wrong)
    return msgspec.convert(fields, kind)


def _wrong(kind: type[Any], fields: dict[str, Any]) -> list[InvalidField]:
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    found = [
        InvalidField("additional_property_not_allowed", name, f"Additional property {name} is not allowed")
        for name in fields
        if name not in known
    ]
    for name, field in known.items():
        if name not in fields:
            if field.required:
                found.append(InvalidField("required", "", f"{name} is required"))
            continue
        try:
            msgspec.convert(fields[name], field.type)
        except msgspec.ValidationError as error:
            found.append(InvalidField("invalid_type", name, str(error)))
    return found
