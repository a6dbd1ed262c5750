"""What a model may set for its predictions, whoever says so: checked before it is stored."""

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec

from coordinator.protocol.limits import FOREVER_S
from coordinator.store.config import ModelConfig
from coordinator.store.errors import Invalid
from coordinator.store.model_rows import Visibility
from edge.catalog import reference
from edge.openai.inputs import NAMES
from edge.overflow import policy_of

DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in msgspec.structs.fields(ModelConfig)}
"""What each is when nothing sets it."""
LEAST: Mapping[str, float] = {
    "queue_s": 1,
    "run_s": 1,
    "total_s": 1,
    "lease_s": 1,
    "retries": 0,
    "gpu_memory": 0,
    "retention_s": 0,
    "replicate_price": 0,
    "price_per_second": 0,
    "price_per_prediction": 0,
}
MOST: Mapping[str, float] = {"retries": 100, "gpu_memory": 1 << 50}


def checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes; None, for what the server is to say again, as what stands for that. Raises Invalid."""
    found = {name: DEFAULTS.get(name) if value is None else value for name, value in changes.items()}
    if not found:
        raise Invalid("nothing to change was given", "see cogflare model set --help")
    if "visibility" in found and found["visibility"] not in get_args(Visibility):
        raise Invalid(f"visibility: {found['visibility']!r} is none of {', '.join(get_args(Visibility))}")
    for name, value in found.items():
        if value != DEFAULTS.get(name):
            _check(name, value)
    return found


def _check(name: str, value: Any) -> None:
    if isinstance(value, int | float):
        most = MOST.get(name, FOREVER_S if name.endswith("_s") else math.inf)
        if not LEAST.get(name, -math.inf) <= value <= most:
            raise Invalid(f"{name}: {value:g} is not from {LEAST.get(name, 0):g} to {most:g}")
    elif (check := _CHECKS.get(name)) is not None:
        check(value)


def _policy(text: str) -> None:
    try:
        policy_of(text)
    except ValueError as error:
        raise Invalid(f"overflow: {error}") from None


def _model_there(text: str) -> None:
    found = reference(text)
    if found is None or found.model is None:
        raise Invalid(f"replicate_model: {text!r} is neither OWNER/NAME nor OWNER/NAME:VERSION")


def _names(names: Mapping[str, str]) -> None:
    if not isinstance(names, Mapping):
        raise Invalid("openai: expected an object of parameter to name of an input")
    if unknown := sorted(names.keys() - NAMES.keys()):
        raise Invalid(f"openai: {', '.join(unknown)} cannot be mapped", f"what can be: {', '.join(NAMES)}")


_CHECKS: Mapping[str, Callable[[Any], None]] = {
    "overflow": _policy,
    "replicate_model": _model_there,
    "openai": _names,
}
