"""The OpenAPI document of each golden predictor, in each Python of this machine."""

import json
from pathlib import Path
from typing import Any

GOLDENS = sorted(Path(__file__).parent.joinpath("goldens").glob("*.py"))
CONSTANT = (
    "HTTPValidationError",
    "PredictionRequest",
    "PredictionResponse",
    "Status",
    "ValidationError",
    "WebhookEvent",
)


def _golden_form(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """What a golden file holds: for one model everything, for the others what differs between models."""
    assert "document" in found, found["refused"]
    document = found["document"]
    if name == "whole_document":
        return dict(document)
    schemas = {key: value for key, value in document["components"]["schemas"].items() if key not in CONSTANT}
    return {**schemas, "notices": found["notices"]}


def test_every_golden(any_python: str, inspect_models: Any) -> None:
    found = inspect_models(any_python, schemas=[str(path) for path in GOLDENS])["schemas"]
    for path, document in zip(GOLDENS, found, strict=True):
        expected = json.loads(path.with_suffix(".json").read_text())
        assert _golden_form(path.stem, document) == expected, path.stem
    assert len(GOLDENS) >= 35
