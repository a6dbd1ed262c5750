"""``cogflare model show``: one model and its settings."""

import json
from typing import Any

from edge.exits import ExitCode
from edge.settings import ModelShowSettings

SETTINGS = ModelShowSettings
ABOUT = "Show one model, and what it sets for its predictions."


def run(settings: ModelShowSettings) -> int:
    from edge.administration import carry_out
    from edge.control import ListModels
    from edge.data_dir import DataDir

    (model,) = carry_out(DataDir(settings.data), ListModels(model=settings.model), "model show")
    print(json.dumps(model) if settings.json else described(model))
    return ExitCode.DONE


def described(model: dict[str, Any]) -> str:
    """A model in a few lines."""
    lines = [
        f"{model['model']} of account {model['account']}, {model['visibility']}",
        f"pools: {', '.join(model['pools']) or 'none'}; runs: {model['runs']}",
        f"newest version: {model['latest_version'] or 'none'}",
    ]
    lines += [f"{name.replace('_', '-')}: {_shown(value)}" for name, value in model["settings"].items()]
    if not model["settings"]:
        lines.append("settings: all as the server has them")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
