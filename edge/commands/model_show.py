"""``cogflare model show``: one model and its settings."""

import json
from typing import Any

from edge.exits import ExitCode
from edge.model_command_settings import ModelShowSettings
from edge.quantities import format_duration, format_size

SETTINGS = ModelShowSettings
ABOUT = "Show one model, and what it sets for its predictions."


def run(settings: ModelShowSettings) -> int:
    from edge.administration import ordered
    from edge.control import ListModels

    (model,) = ordered(settings.where, ListModels(model=settings.model), "model show")
    print(json.dumps(model) if settings.json else described(model))
    return ExitCode.DONE


_NAMES = {"retention_s": "retention", "examples": "example"}
"""Options that are not called as what they set."""


def described(model: dict[str, Any]) -> str:
    """A model in a few lines."""
    lines = [
        f"{model['model']} of account {model['account']}, {model['visibility']}",
        f"pools: {', '.join(model['pools']) or 'none'}; runs: {model['runs']}",
        f"newest version: {model['latest_version'] or 'none'}",
    ]
    if model["paused"]:
        lines.append(f"paused in the pools {', '.join(model['paused'])}")
    lines += [f"{name}: {value}" for name, value in shown_settings(model)]
    if not model["settings"]:
        lines.append("settings: all as the server has them")
    return "\n".join(lines)


def shown_settings(model: dict[str, Any]) -> list[tuple[str, str]]:
    """What a model sets, as the options of ``model set`` are written."""
    return [
        (_NAMES.get(name, name.replace("_", "-")), _shown(name, value))
        for name, value in model["settings"].items()
    ]


def _shown(name: str, value: Any) -> str:
    if name.endswith("_s"):
        return format_duration(value)
    if name == "gpu_memory":
        return format_size(value)
    if name == "examples":
        return ",".join(value)
    return ("off", "on")[value] if isinstance(value, bool) else str(value)
