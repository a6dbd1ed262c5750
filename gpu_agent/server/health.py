"""What ``/health-check`` says. The keys are Cog's, of all its generations; the answer is always 200."""

import platform
from importlib.metadata import version
from typing import Any

import msgspec

from gpu_agent.server import times
from gpu_agent.server.engine import Model
from gpu_agent.server.predictions import Predictions

VERSIONS = {"cogflare": version("cogflare"), "python": platform.python_version()}


async def health(model: Model, predictions: Predictions | None) -> bytes:
    """The document. Asks the model's own healthcheck, if there is one, which may take 5 s."""
    unwell = await model.unwell()
    setup: dict[str, Any] = {
        "started_at": times.of(model.started_at),
        "completed_at": None if model.completed_at is None else times.of(model.completed_at),
        "status": "starting" if not model.set_up.is_set() else "failed" if model.problem else "succeeded",
        "logs": model.setup_logs,
    }
    document: dict[str, Any] = {
        "status": _status(model, predictions, unwell),
        "setup": setup,
        "version": VERSIONS,
        "concurrency": {
            "max": 0 if predictions is None else predictions.slots,
            "current": 0 if predictions is None else predictions.current,
        },
    }
    if unwell is not None:
        document["user_healthcheck_error"] = unwell
    return msgspec.json.encode(document)


def _status(model: Model, predictions: Predictions | None, unwell: str | None) -> str:
    if model.state != "ready" or predictions is None:
        return model.state.upper()
    if unwell is not None:
        return "UNHEALTHY"
    return "BUSY" if predictions.busy else "READY"
