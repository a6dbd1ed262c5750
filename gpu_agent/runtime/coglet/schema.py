"""The OpenAPI document of a model, in the shape that Cog's clients know."""

from typing import Any, Dict

from coglet.signature import Signature, input_schema

_REFERENCE = "#/components/schemas/"


def openapi(signature: Signature) -> Dict[str, Any]:
    """The document; ``components.schemas`` has Input, Output and one schema for each input with choices."""
    schemas: Dict[str, Any] = {
        "HTTPValidationError": {
            "properties": {
                "detail": {"items": _ref("ValidationError"), "title": "Detail", "type": "array"},
            },
            "title": "HTTPValidationError",
            "type": "object",
        },
        "Input": input_schema(signature),
        "Output": signature.output.schema(),
        "PredictionRequest": _request(),
        "PredictionResponse": _response(),
        "Status": _enumeration("Status", "starting", "processing", "succeeded", "canceled", "failed"),
        "ValidationError": {
            "properties": {
                "loc": {
                    "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                    "title": "Location",
                    "type": "array",
                },
                "msg": {"title": "Message", "type": "string"},
                "type": {"title": "Error Type", "type": "string"},
            },
            "required": ["loc", "msg", "type"],
            "title": "ValidationError",
            "type": "object",
        },
        "WebhookEvent": _enumeration("WebhookEvent", "start", "output", "logs", "completed"),
    }
    for field in signature.fields:
        choices = field.choices_schema()
        if choices is not None:
            schemas[field.name] = choices
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "paths": _paths(),
        "components": {"schemas": schemas},
    }


def _ref(name: str) -> Dict[str, Any]:
    return {"$ref": _REFERENCE + name}


def _enumeration(title: str, *values: str) -> Dict[str, Any]:
    return {"description": "An enumeration.", "enum": list(values), "title": title, "type": "string"}


def _request() -> Dict[str, Any]:
    return {
        "properties": {
            "context": {
                "additionalProperties": {"type": "string"},
                "nullable": True,
                "title": "Context",
                "type": "object",
            },
            "created_at": {"format": "date-time", "nullable": True, "title": "Created At", "type": "string"},
            "id": {"nullable": True, "title": "Id", "type": "string"},
            "input": {"allOf": [_ref("Input")], "nullable": True, "title": "Input"},
            "output_file_prefix": {"nullable": True, "title": "Output File Prefix", "type": "string"},
            "webhook": {
                "format": "uri",
                "maxLength": 65536,
                "minLength": 1,
                "nullable": True,
                "title": "Webhook",
                "type": "string",
            },
            "webhook_events_filter": {
                "default": ["start", "output", "logs", "completed"],
                "items": _ref("WebhookEvent"),
                "nullable": True,
                "title": "Webhook Events Filter",
                "type": "array",
            },
        },
        "title": "PredictionRequest",
        "type": "object",
    }


def _response() -> Dict[str, Any]:
    def time(title: str) -> Dict[str, Any]:
        return {"format": "date-time", "nullable": True, "title": title, "type": "string"}

    return {
        "properties": {
            "completed_at": time("Completed At"),
            "created_at": time("Created At"),
            "error": {"nullable": True, "title": "Error", "type": "string"},
            "id": {"nullable": True, "title": "Id", "type": "string"},
            "input": {"allOf": [_ref("Input")], "nullable": True, "title": "Input"},
            "logs": {"default": "", "title": "Logs", "type": "string"},
            "metrics": {"additionalProperties": True, "nullable": True, "title": "Metrics", "type": "object"},
            "output": _ref("Output"),
            "started_at": time("Started At"),
            "status": _ref("Status"),
            "version": {"nullable": True, "title": "Version", "type": "string"},
        },
        "title": "PredictionResponse",
        "type": "object",
    }


def _content(schema: Dict[str, Any]) -> Dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _responses(schema: Dict[str, Any], checked: bool = False) -> Dict[str, Any]:
    found = {"200": {"content": _content(schema), "description": "Successful Response"}}
    if checked:
        found["422"] = {"content": _content(_ref("HTTPValidationError")), "description": "Validation Error"}
    return found


def _paths() -> Dict[str, Any]:
    prefer = {
        "in": "header",
        "name": "prefer",
        "required": False,
        "schema": {"title": "Prefer", "type": "string"},
    }
    prediction_id = {
        "in": "path",
        "name": "prediction_id",
        "required": True,
        "schema": {"title": "Prediction ID", "type": "string"},
    }
    prediction = _responses(_ref("PredictionResponse"), checked=True)
    return {
        "/": {
            "get": {
                "operationId": "root__get",
                "responses": _responses({"title": "Response Root  Get"}),
                "summary": "Root",
            }
        },
        "/health-check": {
            "get": {
                "operationId": "healthcheck_health_check_get",
                "responses": _responses({"title": "Response Healthcheck Health Check Get"}),
                "summary": "Healthcheck",
            }
        },
        "/predictions": {
            "post": {
                "description": "Run a single prediction on the model",
                "operationId": "predict_predictions_post",
                "parameters": [prefer],
                "requestBody": {"content": _content(_ref("PredictionRequest"))},
                "responses": prediction,
                "summary": "Predict",
            }
        },
        "/predictions/{prediction_id}": {
            "put": {
                "description": "Run a single prediction on the model (idempotent creation).",
                "operationId": "predict_idempotent_predictions__prediction_id__put",
                "parameters": [prediction_id, prefer],
                "requestBody": {
                    "content": _content(
                        {"allOf": [_ref("PredictionRequest")], "title": "Prediction Request"}
                    ),
                    "required": True,
                },
                "responses": prediction,
                "summary": "Predict Idempotent",
            }
        },
        "/predictions/{prediction_id}/cancel": {
            "post": {
                "description": "Cancel a running prediction",
                "operationId": "cancel_predictions__prediction_id__cancel_post",
                "parameters": [prediction_id],
                "responses": _responses(
                    {"title": "Response Cancel Predictions  Prediction Id  Cancel Post"}, True
                ),
                "summary": "Cancel",
            }
        },
        "/shutdown": {
            "post": {
                "operationId": "start_shutdown_shutdown_post",
                "responses": _responses({"title": "Response Start Shutdown Shutdown Post"}),
                "summary": "Start Shutdown",
            }
        },
    }
