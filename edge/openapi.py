"""The OpenAPI document: made of the routes themselves, so that it lists what the router has."""

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from coordinator.prediction import Status
from coordinator.protocol.limits import SEARCH_LENGTH
from edge import schemas
from edge.listing import SOURCES
from edge.metrics.scale import ScalePage
from edge.routes.admin import description as admin
from edge.routes.discovery import LARGEST_SEARCH
from edge.routes.models import DIRECTIONS, SORTING
from edge.routes.usage import FORMATS
from edge.trainings import TrainingBody
from edge.usage import UsageLimitOut, UsageLineOut, UsageOut

_PUBLIC = (
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/",
    "/p/",
    "/files/",
    "/uploads/",
    "/v1/streams/",
    "/v1/files/streams/",
)
_COMPONENTS = {
    "Prediction": schemas.PredictionOut,
    "PredictionRequest": schemas.CreateBody,
    "TrainingRequest": TrainingBody,
    "Batch": schemas.BatchOut,
    "BatchRequest": schemas.BatchBody,
    "Model": schemas.ModelOut,
    "ModelRequest": schemas.ModelBody,
    "ModelChanges": schemas.ModelChanges,
    "Version": schemas.VersionOut,
    "File": schemas.FileOut,
    "Account": schemas.AccountOut,
    "Storage": schemas.StorageOut,
    "Usage": UsageOut,
    "UsageLine": UsageLineOut,
    "UsageLimit": UsageLimitOut,
    "Hardware": schemas.HardwareOut,
    "Deployment": schemas.DeploymentOut,
    "DeploymentRequest": schemas.DeploymentBody,
    "DeploymentChanges": schemas.DeploymentChanges,
    "SearchResult": schemas.SearchOut,
    "Why": schemas.WhyOut,
    "Deliveries": schemas.DeliveriesOut,
    "WebhookSecret": schemas.WebhookSecretOut,
    **admin.COMPONENTS,
    "Scale": ScalePage,
}
_JSON = "application/json"


@lru_cache(maxsize=1)
def document(app: Litestar, base: str) -> dict[str, Any]:
    """The document of an application that clients reach at ``base``."""
    paths: dict[str, dict[str, Any]] = {}
    for path, method, handler in operations(app):
        paths.setdefault(path, {})[method.lower()] = _operation(path, handler)
    _, components = msgspec.json.schema_components(
        list(_COMPONENTS.values()), ref_template="#/components/schemas/{name}"
    )
    names = {kind.__name__: name for name, kind in _COMPONENTS.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cogflare",
            "version": _version(),
            "description": "Replicate's HTTP API, self-hosted.",
        },
        "servers": [{"url": base}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                **{names.get(name, name): _renamed(schema, names) for name, schema in components.items()},
                "Problem": _problem_schema(),
            },
        },
    }


def operations(app: Litestar) -> list[tuple[str, str, HTTPRouteHandler]]:
    """(path template, method, handler) of every route, but what Litestar adds for OPTIONS, and what only the
    workers of 2022 use."""
    found = []
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if handler.include_in_schema is False:
                continue
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                found.append((route.path_format, method, handler))
    return found


def _operation(path: str, handler: HTTPRouteHandler) -> dict[str, Any]:
    name = handler.fn.__name__
    summary = (handler.fn.__doc__ or "").strip()
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {
            **_RESPONSES.get(name, {"200": {"description": "OK"}}),
            "default": {
                "description": "A problem document",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    parameters = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in path.split("/")
        if part.startswith("{")
    ]
    parameters += [
        {
            "name": query,
            "in": "query",
            "required": (name, query) in _REQUIRED_QUERIES,
            "schema": _QUERY_SCHEMAS.get(f"{name} {query}") or _QUERY_SCHEMAS.get(query, {"type": "string"}),
        }
        for query in _QUERIES.get(name, ())
    ]
    if name == "create_batch" or (name.startswith("create_") and name.endswith(("prediction", "training"))):
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}})
    if name.startswith(("create_", "put_")) and name.endswith("prediction"):
        parameters.append({"name": "Prefer", "in": "header", "schema": {"type": "string"}})
    if parameters:
        operation["parameters"] = parameters
    if name in _BODIES:
        operation["requestBody"] = {"required": True, "content": _BODIES[name]}
    if (
        path == "/"
        or any(path.startswith(prefix) for prefix in _PUBLIC if prefix != "/")
        or "download" in path
    ):
        operation["security"] = []
    return operation


def _content(name: str) -> dict[str, Any]:
    return {_JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _answer(status: str, name: str) -> dict[str, Any]:
    return {status: {"description": name, "content": _content(name)}}


def _page(name: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "next": {"type": ["string", "null"]},
            "previous": {"type": ["string", "null"]},
            "results": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
        },
        "required": ["next", "previous", "results"],
    }
    return {"200": {"description": f"A page of {name}", "content": {_JSON: {"schema": schema}}}}


_EVENTS = {"200": {"description": "Events", "content": {"text/event-stream": {}}}}
_RESPONSES: Mapping[str, dict[str, Any]] = {
    "create_prediction": _answer("201", "Prediction"),
    "create_batch": _answer("200", "Batch"),
    "put_prediction": {
        **_answer("201", "Prediction"),
        **_answer("202", "Prediction"),
        **_answer("200", "Prediction"),
    },
    "create_model_prediction": _answer("201", "Prediction"),
    "create_deployment_prediction": _answer("201", "Prediction"),
    "get_prediction": {
        "200": {
            "description": "Prediction, or its events",
            "content": {**_content("Prediction"), "text/event-stream": {}},
        }
    },
    "cancel_prediction": _answer("200", "Prediction"),
    "list_predictions": _page("Prediction"),
    "create_training": _answer("201", "Prediction"),
    "get_training": _answer("200", "Prediction"),
    "cancel_training": _answer("200", "Prediction"),
    "delete_training": {"204": {"description": "Removed"}},
    "list_trainings": _page("Prediction"),
    "list_models": _page("Model"),
    "create_model": _answer("201", "Model"),
    "get_model": _answer("200", "Model"),
    "update_model": _answer("200", "Model"),
    "delete_model": {"204": {"description": "Deleted"}},
    "delete_version": {"202": {"description": "Deleted"}},
    "list_examples": _page("Prediction"),
    "list_versions": _page("Version"),
    "get_version": _answer("200", "Version"),
    "create_deployment": _answer("200", "Deployment"),
    "list_deployments": _page("Deployment"),
    "get_deployment": _answer("200", "Deployment"),
    "update_deployment": _answer("200", "Deployment"),
    "delete_deployment": {"204": {"description": "Deleted"}},
    "create_file": _answer("201", "File"),
    "get_file": _answer("200", "File"),
    "list_files": _page("File"),
    "delete_file": {"204": {"description": "Deleted"}},
    "get_account": _answer("200", "Account"),
    "get_readme": {"200": {"description": "Markdown", "content": {"text/plain": {}}}},
    "list_hardware": {
        "200": {
            "description": "Hardware",
            "content": {
                _JSON: {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Hardware"}}}
            },
        }
    },
    "search": _answer("200", "SearchResult"),
    # There are none, and so none of this name.
    "get_collection": {},
    "list_deliveries": _answer("200", "Deliveries"),
    "redeliver_webhook": _answer("202", "Deliveries"),
    "get_webhook_secret": _answer("200", "WebhookSecret"),
    "delete_prediction": {"204": {"description": "Removed"}},
    "get_storage": _answer("200", "Storage"),
    "get_usage": {
        "200": {
            "description": "Usage",
            "content": {**_content("Usage"), "text/csv": {"schema": {"type": "string"}}},
        }
    },
    "put_stored": {"201": {"description": "Stored"}},
    "stream_prediction": _EVENTS,
    "stream_files": _EVENTS,
    **{name: _answer(*answer) for name, answer in admin.ANSWERS.items()},
    **{name: _page(component) for name, component in admin.PAGES.items()},
    "get_metrics": {"200": {"description": "Prometheus' text format", "content": {"text/plain": {}}}},
    "get_scale": _answer("200", "Scale"),
}
_QUERIES: Mapping[str, tuple[str, ...]] = {
    "list_predictions": ("cursor", "created_after", "created_before", "status", "model", "source"),
    "list_trainings": ("cursor", "created_after", "created_before", "status", "model", "source"),
    "list_models": ("cursor", "query", "sort_by", "sort_direction"),
    "list_versions": ("cursor",),
    "search": ("query", "limit"),
    "list_files": ("cursor",),
    "get_usage": ("group_by", "from", "to", "account", "token", "end_user", "model", "format"),
    "list_deployments": ("cursor",),
    "download_file": ("owner", "expiry", "signature"),
    "get_stored": ("name", "type", "expires", "signature"),
    "put_stored": ("length", "sha256", "type", "expires", "signature", "part", "upload", "start"),
    "get_prediction": ("last_event_id",),
    "stream_prediction": ("last_event_id",),
    "stream_files": ("last_event_id",),
    **admin.QUERIES,
    "get_scale": ("model", "pool"),
}
_REQUIRED_QUERIES = {
    ("search", "query"),
    *(
        (signed, query)
        for signed in ("download_file", "get_stored", "put_stored")
        for query in _QUERIES[signed]
        if query not in ("part", "upload", "start")  # of a part alone
    ),
}
_QUERY_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "created_after": {"type": "string", "format": "date-time"},
    "created_before": {"type": "string", "format": "date-time"},
    "status": {"enum": [status.value for status in Status]},
    "source": {"enum": list(SOURCES)},
    "from": {"type": "string", "format": "date"},
    "to": {"type": "string", "format": "date"},
    "format": {"enum": list(FORMATS)},
    "sort_by": {"enum": list(SORTING)},
    "sort_direction": {"enum": list(DIRECTIONS)},
    "query": {"type": "string", "maxLength": SEARCH_LENGTH},
    "search query": {"type": "string", "maxLength": SEARCH_LENGTH, "pattern": r"\S"},
    "limit": {"type": "integer", "minimum": 1, "maximum": LARGEST_SEARCH},
    **admin.QUERY_SCHEMAS,
}
_FILE_FORM = {
    "type": "object",
    "required": ["content"],
    "properties": {
        "content": {"type": "string", "format": "binary"},
        "filename": {"type": "string"},
        "type": {"type": "string"},
        "metadata": {"type": "object"},
    },
}
_BODIES: Mapping[str, dict[str, Any]] = {
    "create_prediction": _content("PredictionRequest"),
    "create_batch": _content("BatchRequest"),
    "put_prediction": _content("PredictionRequest"),
    "create_model_prediction": _content("PredictionRequest"),
    "create_deployment_prediction": _content("PredictionRequest"),
    "create_training": _content("TrainingRequest"),
    "create_deployment": _content("DeploymentRequest"),
    "update_deployment": _content("DeploymentChanges"),
    "create_model": _content("ModelRequest"),
    "update_model": _content("ModelChanges"),
    "create_file": {"multipart/form-data": {"schema": _FILE_FORM}},
    "put_stored": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    **{name: _content(component) for name, component in admin.BODIES.items()},
}


def _problem_schema() -> dict[str, Any]:
    field = {name: {"type": "string"} for name in ("type", "field", "description")}
    return {
        "type": "object",
        "required": ["detail", "status", "code"],
        "properties": {
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string"},
            "invalid_fields": {"type": "array", "items": {"type": "object", "properties": field}},
            "retry_after": {"type": "integer"},
            "request_id": {"type": "string"},
        },
    }


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """The schema with references to our classes by their public names."""
    if isinstance(schema, list):
        return [_renamed(item, names) for item in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _renamed(value, names) for key, value in schema.items()}
    if isinstance(reference := renamed.get("$ref"), str):
        head, _, name = reference.rpartition("/")
        renamed["$ref"] = f"{head}/{names.get(name, name)}"
    if renamed.get("title") in names:
        renamed["title"] = names[renamed["title"]]
    return renamed


def _version() -> str:
    try:
        return version("cogflare")
    except PackageNotFoundError:
        return "0"
