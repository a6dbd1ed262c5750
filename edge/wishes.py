"""How a prediction is to be treated: what its request says, else its model, else the server. Pure.

Body fields ``priority``, ``end_user`` and ``max_wait``, headers ``Cancel-After`` (Replicate's, as its
``lifetime`` in the body) and ``Prefer: cancel-on-disconnect``.
"""

import re
from collections.abc import Iterable

import msgspec

from coordinator.store.config import ModelConfig
from edge.errors import InvalidField, invalid_input
from edge.prefer import preference

URGENCY = {"interactive": 0, "normal": 1, "batch": 2}
SHORTEST_TOTAL_S, LONGEST_TOTAL_S = 5.0, 86_400.0
"""Replicate's bounds of ``Cancel-After``."""
SHORTEST_WAIT_S, LONGEST_WAIT_S = 1.0, 86_400.0
"""Bounds of ``max_wait``."""
LONGEST_USER = 256
_AFTER = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")


class Wishes(msgspec.Struct, frozen=True):
    """None leaves it to the coordinator. Times are seconds."""

    urgency: int
    user: str
    queue_s: float | None
    run_s: float | None
    total_s: float | None
    max_wait_s: float | None
    lease_s: float | None
    retries: int | None
    gpu: str
    gpu_memory: int


def wishes_of(
    headers: Iterable[tuple[bytes, bytes]],
    priority: object,
    end_user: object,
    max_wait: object,
    config: ModelConfig,
    lifetime: object = None,
) -> Wishes:
    """Raises Problem that names each field that is wrong."""
    headers = list(headers)
    wrong = [*_wrong_priority(priority), *_wrong_user(end_user)]
    total_s = config.total_s
    text = next((value.decode("latin-1") for name, value in headers if name == b"cancel-after"), None)
    if text is not None or lifetime is not None:
        total_s = cancel_after(lifetime if text is None else text)
        if total_s is None:
            bounds = f"from {SHORTEST_TOTAL_S:g}s to {LONGEST_TOTAL_S / 3600:g}h"
            detail = f"Must be a time such as 90, 30s, 5m or 1h30m, {bounds}"
            wrong.append(InvalidField("format", "lifetime" if text is None else "Cancel-After", detail))
    max_wait_s = _seconds(max_wait)
    if max_wait is not None and (max_wait_s is None or not SHORTEST_WAIT_S <= max_wait_s <= LONGEST_WAIT_S):
        bounds = f"from {SHORTEST_WAIT_S:g} s to {LONGEST_WAIT_S / 3600:g} h"
        wrong.append(InvalidField("format", "max_wait", f"Must be seconds, or a time such as 5m, {bounds}"))
    if wrong:
        raise invalid_input(*wrong)
    return Wishes(
        urgency=URGENCY[str(priority or config.priority or "normal")],
        user=str(end_user or ""),
        queue_s=config.queue_s,
        run_s=config.run_s,
        total_s=total_s,
        max_wait_s=max_wait_s,
        lease_s=config.lease_s,
        retries=config.retries,
        gpu=config.gpu,
        gpu_memory=config.gpu_memory,
    )


def cancel_after(text: object) -> float | None:
    """Seconds of ``90``, ``30s``, ``1h30m45s``; None for anything else, or out of bounds."""
    total_s = _seconds(text)
    return total_s if total_s is not None and SHORTEST_TOTAL_S <= total_s <= LONGEST_TOTAL_S else None


def _seconds(value: object) -> float | None:
    """Of a number, or of a text such as ``90`` or ``1h30m45s``; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 <= value < 1e9 else None
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    if text.isascii() and text.isdigit():
        text = f"{text}s"
    match = _AFTER.fullmatch(text)
    if not text or match is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def _wrong_priority(priority: object) -> list[InvalidField]:
    if priority is None or (isinstance(priority, str) and priority in URGENCY):
        return []
    return [InvalidField("enum", "priority", f"Must be one of {', '.join(URGENCY)}")]


def _wrong_user(user: object) -> list[InvalidField]:
    if user is None or (isinstance(user, str) and len(user) <= LONGEST_USER):
        return []
    detail = f"Must be a string of at most {LONGEST_USER} characters: your own key for whom this is"
    return [InvalidField("invalid_type", "end_user", detail)]


def hangs_up(headers: Iterable[tuple[bytes, bytes]], config: ModelConfig) -> bool:
    """Whether the prediction is to be canceled when the client hangs up before its answer."""
    asked = preference(headers, "cancel-on-disconnect")
    if asked is None:
        return bool(config.cancel_on_disconnect)
    return asked.lower() not in ("false", "0", "no")
