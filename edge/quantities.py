"""Sizes and durations as people write them: ``8MiB``, ``90``, ``5m``, ``250ms``. Pure."""

import re

from coordinator.protocol.limits import FOREVER_S

_SIZES = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1000,
    "m": 1000**2,
    "mb": 1000**2,
    "g": 1000**3,
    "gb": 1000**3,
    "t": 1000**4,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
_DURATIONS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
FOREVER = "forever"
_QUANTITY = re.compile(r"(-?\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_size(text: str) -> int:
    """Bytes. ``k`` and ``kB`` are thousands, ``KiB`` is 1024. Raises ValueError."""
    value = _parse(text, _SIZES, "a size such as 8MiB or 1048576 (bytes)")
    if value != int(value):
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(value)


def parse_duration(text: str) -> float:
    """Seconds. A bare number is seconds. Raises ValueError."""
    if text.strip().lower() == FOREVER:
        return FOREVER_S
    return _parse(text, _DURATIONS, "a time such as 90 (seconds), 5m or 250ms")


def format_size(value: int) -> str:
    """The shortest exact way to write so many bytes."""
    for unit, factor in (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value >= factor and value % factor == 0:
            return f"{value // factor}{unit}"
    return f"{value} bytes"


def about_size(value: int) -> str:
    """So many bytes for somebody who compares them."""
    for unit, factor in (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value} B"


def format_duration(value: float) -> str:
    """The shortest exact way to write so many seconds."""
    if value >= FOREVER_S:
        return FOREVER
    for unit, factor in (("d", 86_400), ("h", 3600), ("m", 60)):
        if value >= factor and value % factor == 0:
            return f"{int(value // factor)}{unit}"
    if 0 < value < 1:
        return f"{value * 1000:g}ms"
    return f"{value:g}s"


def _parse(text: str, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is not {wanted}")
    number = float(match[1]) if "." in match[1] else int(match[1])
    return number * factor
