"""The OpenAPI document of a server of procedures: of a request all is known but what its input holds."""

from typing import Any

import msgspec


def _answers(*more: tuple[str, str]) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/PredictionResponse"}
    found = {
        "200": {"description": "it has ended", "content": {"application/json": {"schema": schema}}},
        "202": {"description": "it goes on", "content": {"application/json": {"schema": schema}}},
    }
    return {**found, **{code: {"description": what} for code, what in more}}


_BODY = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PredictionRequest"}}},
}
_ID = {"name": "prediction_id", "in": "path", "required": True, "schema": {"type": "string"}}
_REFUSALS = (("409", "no room"), ("422", "a field is wrong"), ("503", "the server is shutting down"))
_TEXT: dict[str, Any] = {"type": "string"}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time", "nullable": True}
_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}

DOCUMENT = msgspec.json.encode(
    {
        "openapi": "3.0.2",
        "info": {"title": "Cog procedures", "version": "0.1.0"},
        "paths": {
            "/procedures": {
                "post": {"summary": "Run", "requestBody": _BODY, "responses": _answers(*_REFUSALS)}
            },
            "/procedures/{prediction_id}": {
                "put": {
                    "summary": "Run under an id",
                    "parameters": [_ID],
                    "requestBody": _BODY,
                    "responses": _answers(*_REFUSALS),
                },
                "get": {
                    "summary": "Look up",
                    "parameters": [_ID],
                    "responses": _answers(("404", "not there")),
                },
            },
            "/procedures/{prediction_id}/cancel": {
                "post": {
                    "summary": "Cancel",
                    "parameters": [_ID],
                    "responses": {"200": {"description": "asked"}, "404": {"description": "not running"}},
                }
            },
            "/health-check": {"get": {"summary": "State", "responses": {"200": {"description": "always"}}}},
            "/shutdown": {"post": {"summary": "Leave", "responses": {"200": {"description": "asked"}}}},
        },
        "components": {
            "schemas": {
                "PredictionRequest": {
                    "type": "object",
                    "required": ["context"],
                    "properties": {
                        "input": _OBJECT,
                        "id": _TEXT,
                        "created_at": _TIME,
                        "context": {
                            "type": "object",
                            "required": ["procedure_source_url"],
                            "additionalProperties": _TEXT,
                            "properties": {
                                "procedure_source_url": {
                                    "type": "string",
                                    "format": "uri",
                                    "description": "file:///folder, or http(s)://… of a .tar.gz or .zip",
                                },
                                "replicate_api_token": _TEXT,
                            },
                        },
                        "webhook": {"type": "string", "format": "uri"},
                        "webhook_events_filter": {
                            "type": "array",
                            "items": {"type": "string", "enum": ["start", "output", "logs", "completed"]},
                        },
                        "output_file_prefix": {"type": "string", "format": "uri"},
                    },
                },
                "PredictionResponse": {
                    "type": "object",
                    "properties": {
                        "id": _TEXT,
                        "status": {
                            "type": "string",
                            "enum": ["starting", "processing", "succeeded", "failed", "canceled"],
                        },
                        "input": _OBJECT,
                        "output": {},
                        "error": {"type": "string", "nullable": True},
                        "logs": _TEXT,
                        "metrics": _OBJECT,
                        "created_at": _TIME,
                        "started_at": _TIME,
                        "completed_at": _TIME,
                        "version": {"type": "string", "nullable": True},
                    },
                },
            }
        },
    }
)
