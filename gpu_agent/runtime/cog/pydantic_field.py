"""Our types as fields of models of the author's own pydantic."""

from typing import Any, Dict, Iterator


class PydanticField:
    """What the first and the second version of pydantic ask a class for. Imports neither: schemas are dicts.

    A class has ``validate``, which raises ``ValueError``.
    """

    __slots__ = ()

    _json_schema: Dict[str, Any] = {}
    _is_text_in_json = True

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Dict[str, Any]:
        validate = {"type": "no-info", "function": cls.validate}  # type: ignore[attr-defined]
        schema: Dict[str, Any] = {"type": "function-plain", "function": validate}
        if cls._is_text_in_json:
            schema["serialization"] = {"type": "to-string", "when_used": "json-unless-none"}
        return schema

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> Dict[str, Any]:
        return dict(cls._json_schema)

    @classmethod
    def __get_validators__(cls) -> Iterator[Any]:
        yield cls.validate  # type: ignore[attr-defined]

    @classmethod
    def __modify_schema__(cls, field_schema: Dict[str, Any]) -> None:
        field_schema.update(cls._json_schema)
