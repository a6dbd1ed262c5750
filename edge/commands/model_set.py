"""``cogflare model set``: changes how a model's predictions are treated."""

import json
from typing import Any

from edge.exits import CommandFailed, ExitCode
from edge.model_command_settings import ModelSetSettings

SETTINGS = ModelSetSettings
ABOUT = (
    "Change how a model's predictions are treated where their requests say nothing. It holds for what is "
    "submitted from then on; what waits or runs keeps what it was submitted with."
)
FIELDS = (
    "queue_s",
    "run_s",
    "total_s",
    "retries",
    "lease_s",
    "gpu",
    "priority",
    "retention_s",
    "cancel_on_disconnect",
    "replicate_price",
    "price_per_second",
    "price_per_prediction",
)


_UNSET = {
    "gpu": "",
    "gpu_memory": 0,
    "overflow": "",
    "replicate_model": "",
    "replicate_price": 0.0,
    "examples": (),
}
"""What stands for nothing, where that is not None."""


def run(settings: ModelSetSettings) -> int:
    from edge.administration import ordered
    from edge.commands.model_show import described
    from edge.control import SetModel

    order = SetModel(model=settings.model, changes=_changes(settings))
    model = ordered(settings.where, order, "model set")
    print(json.dumps(model) if settings.json else described(model))
    return ExitCode.DONE


def _changes(settings: ModelSetSettings) -> dict[str, Any]:
    changes = {name: value for name in FIELDS if (value := getattr(settings, name)) is not None}
    if settings.gpu_memory_bytes is not None:
        changes["gpu_memory"] = settings.gpu_memory_bytes
    if settings.overflow is not None:
        changes["overflow"] = _policy(settings.overflow)
    if settings.replicate_model is not None:
        changes["replicate_model"] = _model_there(settings.replicate_model)
    if settings.example:
        changes["examples"] = list(settings.example)
    if settings.openai is not None:
        changes["openai"] = _names(settings.openai)
    for option in settings.reset:
        name = {"retention": "retention_s", "example": "examples"}.get(option, option.replace("-", "_"))
        if name in changes:
            raise CommandFailed(f"--{option} is both set and reset", ExitCode.USAGE)
        changes[name] = _UNSET.get(name)
    if settings.visibility is not None:
        changes["visibility"] = settings.visibility
    if not changes:
        raise CommandFailed("nothing to change was given", ExitCode.USAGE, "see cogflare model set --help")
    return changes


def _policy(text: str) -> str:
    from edge.overflow import policy_of

    try:
        policy_of(text)
    except ValueError as error:
        raise CommandFailed(f"--overflow: {error}", ExitCode.USAGE) from None
    return text


def _model_there(text: str) -> str:
    from edge.catalog import reference

    found = reference(text)
    if found is None or found.model is None:
        raise CommandFailed(
            f"--replicate-model: {text!r} is neither OWNER/NAME nor OWNER/NAME:VERSION", ExitCode.USAGE
        )
    return text


def _names(text: str) -> dict[str, str]:
    """Raises CommandFailed for what is no mapping of OpenAI's parameters to inputs."""
    from edge.openai.inputs import NAMES

    try:
        names = json.loads(text)
    except ValueError as error:
        raise CommandFailed(f"--openai is not JSON: {error}", ExitCode.USAGE) from None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise CommandFailed("--openai must be an object of parameter to name of an input", ExitCode.USAGE)
    if unknown := sorted(names.keys() - NAMES.keys()):
        known = ", ".join(NAMES)
        raise CommandFailed(
            f"--openai: {', '.join(unknown)} cannot be mapped", ExitCode.USAGE, f"what can be: {known}"
        )
    return names
