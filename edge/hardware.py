"""Hardware as clients name it: the kinds of GPU that workers had, and none.

Replicate's list is one of prices; ours is what machines with agents were seen to have.
"""

import re
from collections.abc import Iterable

from edge.errors import InvalidField, invalid_input

CPU = "cpu"


def sku(gpu: str) -> str:
    """``NVIDIA A100-SXM4-80GB`` as ``nvidia-a100-sxm4-80gb``; no GPU is ``cpu``."""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-") or CPU


def skus(gpus: Iterable[str]) -> dict[str, str]:
    """The name of the GPU, empty for none, behind each name that clients use."""
    return {CPU: "", **{sku(gpu): gpu for gpu in gpus}}


def gpu_of(wanted: str, known: dict[str, str]) -> str:
    """The GPU that a client names. Raises Problem ``invalid_input``."""
    if wanted not in known:
        detail = f"Must be one of {', '.join(known)}: what workers of your pools were seen to have"
        raise invalid_input(InvalidField("enum", "hardware", detail))
    return known[wanted]
