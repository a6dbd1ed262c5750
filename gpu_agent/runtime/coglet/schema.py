"""The OpenAPI document of a model, in the shape that Cog's clients know."""

from typing import Any, Dict, NamedTuple, Optional

from coglet.signature import Signature

_REFERENCE = "#/components/schemas/"


def openapi(predict: Optional[Signature], train: Optional[Signature] = None) -> Dict[str, Any]:
    """The document of what there is of the two.

    ``components.schemas`` has Input and Output, TrainingInput and TrainingOutput, and one schema for each
    input with choices.
    """
    schemas = _constant_schemas()
    paths = _common_paths()
    for signature, kind in ((predict, _PREDICTION), (train, _TRAINING)):
        if signature is None:
            continue
        _name_choices(signature, schemas, kind)
        schemas[kind.prefix + "Input"] = signature.input_schema(kind.prefix + "Input")
        schemas[kind.prefix + "Output"] = signature.output.schema(kind.prefix + "Output")
        schemas[kind.noun + "Request"] = _request(kind)
        schemas[kind.noun + "Response"] = _response(kind)
        paths.update(_paths(kind, signature.streaming))
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


class _Kind(NamedTuple):
    """The words of predictions and of trainings."""

    noun: str
    verb: str
    prefix: str
    """Of the names of the schemas of input and output."""
    cancel: str


_PREDICTION = _Kind("Prediction", "predict", "", "cancel")
_TRAINING = _Kind("Training", "train", "Training", "cancel_training")


def _name_choices(signature: Signature, schemas: Dict[str, Any], kind: _Kind) -> None:
    """Give the schema of each input's choices its name: the input's own, unless that is another's."""
    for field in signature.fields:
        if field.choices is None:
            continue
        while field.reference in schemas:
            field.reference = f"{kind.noun}_{field.reference}"
        schemas[field.reference] = field.choices


def _constant_schemas() -> Dict[str, Any]:
    return {
        "HTTPValidationError": {
            "properties": {
                "detail": {"items": _ref("ValidationError"), "title": "Detail", "type": "array"},
            },
            "title": "HTTPValidationError",
            "type": "object",
        },
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


def _ref(name: str) -> Dict[str, Any]:
    return {"$ref": _REFERENCE + name}


def _enumeration(title: str, *values: str) -> Dict[str, Any]:
    return {"description": "An enumeration.", "enum": list(values), "title": title, "type": "string"}


def _request(kind: _Kind) -> Dict[str, Any]:
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
            "input": {"allOf": [_ref(kind.prefix + "Input")], "nullable": True, "title": "Input"},
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
        "title": kind.noun + "Request",
        "type": "object",
    }


def _response(kind: _Kind) -> Dict[str, Any]:
    def time(title: str) -> Dict[str, Any]:
        return {"format": "date-time", "nullable": True, "title": title, "type": "string"}

    return {
        "properties": {
            "completed_at": time("Completed At"),
            "created_at": time("Created At"),
            "error": {"nullable": True, "title": "Error", "type": "string"},
            "id": {"nullable": True, "title": "Id", "type": "string"},
            "input": {"allOf": [_ref(kind.prefix + "Input")], "nullable": True, "title": "Input"},
            "logs": {"default": "", "title": "Logs", "type": "string"},
            "metrics": {"additionalProperties": True, "nullable": True, "title": "Metrics", "type": "object"},
            "output": _ref(kind.prefix + "Output"),
            "started_at": time("Started At"),
            "status": _ref("Status"),
            "version": {"nullable": True, "title": "Version", "type": "string"},
        },
        "title": kind.noun + "Response",
        "type": "object",
    }


def _content(schema: Dict[str, Any]) -> Dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _responses(schema: Dict[str, Any], checked: bool = False) -> Dict[str, Any]:
    found = {"200": {"content": _content(schema), "description": "Successful Response"}}
    if checked:
        found["422"] = {"content": _content(_ref("HTTPValidationError")), "description": "Validation Error"}
    return found


def _plain_path(method: str, operation: str, summary: str, title: str) -> Dict[str, Any]:
    return {method: {"operationId": operation, "responses": _responses({"title": title}), "summary": summary}}


def _common_paths() -> Dict[str, Any]:
    return {
        "/": _plain_path("get", "root__get", "Root", "Response Root  Get"),
        "/health-check": _plain_path(
            "get", "healthcheck_health_check_get", "Healthcheck", "Response Healthcheck Health Check Get"
        ),
        "/shutdown": _plain_path(
            "post", "start_shutdown_shutdown_post", "Start Shutdown", "Response Start Shutdown Shutdown Post"
        ),
    }


def _paths(kind: _Kind, streaming: bool) -> Dict[str, Any]:
    """The three routes of predictions, or of trainings."""
    noun, thing = kind.noun, kind.noun.lower()
    each, ident = f"/{thing}s/{{{thing}_id}}", f"{thing}_id"
    prefer = {
        "in": "header",
        "name": "prefer",
        "required": False,
        "schema": {"title": "Prefer", "type": "string"},
    }
    named = {
        "in": "path",
        "name": ident,
        "required": True,
        "schema": {"title": f"{noun} ID", "type": "string"},
    }
    answers = _responses(_ref(noun + "Response"), checked=True)
    what = (
        "Run a single prediction on the model"
        if kind is _PREDICTION
        else "Run a single training of the model"
    )
    create: Dict[str, Any] = {
        "description": what,
        "operationId": f"{kind.verb}_{thing}s_post",
        "parameters": [prefer],
        "requestBody": {"content": _content(_ref(noun + "Request"))},
        "responses": answers,
        "summary": kind.verb.title(),
    }
    if streaming:
        create["x-cog-streaming"] = True
    put = {
        "description": f"{what} (idempotent creation).",
        "operationId": f"{kind.verb}_idempotent_{thing}s__{ident}__put",
        "parameters": [named, prefer],
        "requestBody": {
            "content": _content({"allOf": [_ref(noun + "Request")], "title": f"{noun} Request"}),
            "required": True,
        },
        "responses": answers,
        "summary": f"{kind.verb.title()} Idempotent",
    }
    cancel_words = kind.cancel.replace("_", " ").title()
    operation = f"{kind.cancel}_{thing}s__{ident}__cancel_post"
    cancel = {
        "description": f"Cancel a running {thing}",
        "operationId": operation,
        "parameters": [named],
        "responses": _responses(
            {"title": f"Response {cancel_words} {noun}s  {noun} Id  Cancel Post"}, checked=True
        ),
        "summary": cancel_words,
    }
    return {f"/{thing}s": {"post": create}, each: {"put": put}, f"{each}/cancel": {"post": cancel}}
