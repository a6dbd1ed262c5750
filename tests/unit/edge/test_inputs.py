"""What a schema says of an input."""

from typing import Any

import msgspec
import pytest

from edge import inputs
from edge.creation import input_of
from edge.errors import Problem
from edge.inputs import VersionSchema, version_schema
from edge.schemas import parse_create


def schema(**properties: Any) -> VersionSchema:
    enum = {"type": "integer", "enum": [1, 2, 3]}
    schemas = {"Input": {"type": "object", "properties": properties}, "pick": enum}
    return VersionSchema({"components": {"schemas": schemas}})


def refused(rule: dict[str, Any], value: Any) -> list[tuple[str, str]]:
    return [(field.type, field.field) for field in schema(x=rule).refused({"x": value})]


PICK = {"allOf": [{"$ref": "#/components/schemas/pick"}]}


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ({"type": "integer"}, [1, -1, 5.0, "5", " 7 ", "5.0", True, 10**30]),
        ({"type": "number"}, [1, 1.5, "1e3", False]),
        ({"type": "boolean"}, [True, 0, 1, 1.0, "true", "No", "ON"]),
        ({"type": "string"}, ["", "x"]),
        ({"type": "string", "nullable": True}, [None, "x"]),
        ({"type": "string", "format": "uri"}, ["https://a/b", "HTTP://a", "data:,x"]),
        ({"type": "integer", "minimum": 1.0, "maximum": 3.0}, [1, 3, "2"]),
        ({"type": "string", "minLength": 1, "maxLength": 2}, ["a", "ab"]),
        ({"type": "string", "pattern": "b+"}, ["abc"]),
        (PICK, [1, "2", 3.0]),
        ({"type": "array", "items": {"type": "integer"}, "minimum": 2.0}, [[], [2, "3"]]),
        ({"type": "object"}, [{}, [], 1, "x"]),
        ({}, [None, 1, {}]),
        ({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, [1, "true"]),
    ],
)
def test_what_the_runner_would_take_passes(rule: dict[str, Any], values: list[Any]) -> None:
    for value in values:
        assert refused(rule, value) == [], value


@pytest.mark.parametrize(
    ("rule", "value", "kind", "field"),
    [
        ({"type": "integer"}, 5.5, "invalid_type", "input.x"),
        ({"type": "integer"}, "five", "invalid_type", "input.x"),
        ({"type": "integer"}, None, "invalid_type", "input.x"),
        ({"type": "integer"}, [], "invalid_type", "input.x"),
        ({"type": "number"}, "nan", "invalid_type", "input.x"),
        ({"type": "boolean"}, "maybe", "invalid_type", "input.x"),
        ({"type": "boolean"}, 2, "invalid_type", "input.x"),
        ({"type": "string"}, 5, "invalid_type", "input.x"),
        ({"type": "string", "format": "uri"}, "/etc/passwd", "format", "input.x"),
        ({"type": "integer", "minimum": 1.0}, 0, "number_gte", "input.x"),
        ({"type": "integer", "maximum": 3.0}, "4", "number_lte", "input.x"),
        ({"type": "string", "minLength": 1}, "", "string_gte", "input.x"),
        ({"type": "string", "maxLength": 2}, "abc", "string_lte", "input.x"),
        ({"type": "string", "pattern": "^b+$"}, "abc", "pattern", "input.x"),
        (PICK, 4, "enum", "input.x"),
        (PICK, "x", "invalid_type", "input.x"),
        ({"type": "array", "items": {"type": "integer"}}, 1, "invalid_type", "input.x"),
        ({"type": "array", "items": {"type": "integer"}}, [1, "x"], "invalid_type", "input.x.1"),
        ({"type": "array", "items": {"type": "integer"}, "minimum": 2.0}, [3, 1], "number_gte", "input.x.1"),
        ({"type": "array", "items": PICK}, [1, 9], "enum", "input.x.1"),
        ({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, "x", "number_any_of", "input.x"),
    ],
)
def test_what_the_runner_would_refuse_is_refused(
    rule: dict[str, Any], value: Any, kind: str, field: str
) -> None:
    assert refused(rule, value) == [(kind, field)]


def test_a_long_list_of_mistakes_is_cut() -> None:
    assert len(refused({"type": "array", "items": {"type": "integer"}}, ["x"] * 1000)) == 10


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)*b", "a*a*a*b", r"(.)\1", "(", "(?P<n>a)(?P=n)"])
def test_costly_patterns_are_left_to_the_runner(pattern: str) -> None:
    assert refused({"type": "string", "pattern": pattern}, "a" * 60) == []


def test_values_are_never_in_the_message() -> None:
    rules = schema(key={"type": "string", "format": "password", "maxLength": 3}, n=PICK)
    for field in rules.refused({"key": "hunter2", "n": 987654}):
        assert "hunter2" not in field.description
        assert "987654" not in field.description


def test_secrets_are_masked_in_lists_too() -> None:
    secret = {"type": "string", "format": "password"}
    rules = schema(one=secret, many={"type": "array", "items": secret}, none=secret, plain={"type": "string"})
    shown = rules.masked(b'{"one": "a", "many": ["b", "c"], "none": null, "plain": "d", "other": 1e400}')
    assert shown == (
        b'{"one":"**********","many":["**********","**********"],"none":null,"plain":"d","other":1e400}'
    )


def test_secrets_are_masked_at_any_depth() -> None:
    secret = {"type": "string", "format": "password"}
    login = {"type": "object", "properties": {"user": {"type": "string"}, "password": secret}}
    rules = schema(
        logins={"type": "array", "items": login},
        keys={"type": "object", "additionalProperties": secret},
        either={"anyOf": [{"type": "integer"}, login]},
    )
    shown = rules.masked(
        b'{"logins": [{"user": "u", "password": "p"}], "keys": {"a": "k"}, "either": {"password": "q"}}'
    )
    assert msgspec.json.decode(shown) == {
        "logins": [{"user": "u", "password": "**********"}],
        "keys": {"a": "**********"},
        "either": {"password": "**********"},
    }


def test_files_are_known_at_any_depth() -> None:
    file = {"type": "string", "format": "uri"}
    rules = schema(
        a={"type": "object", "properties": {"f": file}},
        b={"anyOf": [file, {"type": "array"}]},
        c={"type": "string"},
    )
    assert rules.files == {"a", "b"}


def test_what_has_no_secrets_is_shown_as_it_was_sent() -> None:
    assert schema(a={"type": "string"}).masked(b'{ "a":1 }') == b'{ "a":1 }'


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"x",
        b"[]",
        b"{}",
        b'{"components": 1}',
        b'{"components": {"schemas": {"Input": {"properties": [1]}}}}',
    ],
)
def test_a_broken_document_refuses_nothing(document: bytes) -> None:
    assert version_schema(document).refused({"x": 1}) == ()


def test_references_in_a_circle_end() -> None:
    circle = {"$ref": "#/components/schemas/a"}
    rules = VersionSchema({"components": {"schemas": {"Input": {"properties": {"x": circle}}, "a": circle}}})
    assert rules.refused({"x": 1}) == ()


def test_iterators_stream_and_files_are_known() -> None:
    output = {"type": "array", "x-cog-array-type": "iterator"}
    image = {"type": "string", "format": "uri"}
    document = {
        "components": {
            "schemas": {"Output": output, "Input": {"properties": {"a": image, "b": {"type": "string"}}}}
        }
    }
    rules = version_schema(msgspec.json.encode(document))
    assert (rules.streams, rules.files) == (True, {"a"})


def test_a_schema_is_read_in_a_few_steps_however_many_inputs_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0

    def counted(value: object) -> Any:
        nonlocal steps
        steps += 1
        return value if isinstance(value, dict) else {}

    monkeypatch.setattr(inputs, "_mapping", counted)
    properties = {f"p{number}": {"type": "string"} for number in range(50)}
    VersionSchema({"components": {"schemas": {"Input": {"properties": properties}}}})
    assert 50 < steps < 5000


def test_a_client_that_sends_itself_is_refused_without_repeating_its_token() -> None:
    itself = {"auth": "secret", "userAgent": "x", "baseUrl": "y", "fileEncodingStrategy": "data-uri"}
    body = parse_create(msgspec.json.encode({"input": {**itself, "useFileOutput": True}}))
    with pytest.raises(Problem) as refused:
        input_of(body, 100)
    assert b"fileEncodingStrategy" in refused.value.body()
    assert b"secret" not in refused.value.body()
    assert input_of(parse_create(b'{"input": {"auth": "a", "baseUrl": "b"}}'), 100).value
