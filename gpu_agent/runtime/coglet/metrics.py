"""The metrics of one prediction: which keys and values there may be, and how they add up."""

import math
from typing import Any, Callable, Dict, List, Tuple

LONGEST_KEY = 128
MOST_SEGMENTS = 4


class Metrics:
    """Values by key; dots make objects in objects. ``on_change`` is told each first segment's new value."""

    def __init__(self, on_change: Callable[[str, Any], None]) -> None:
        self.values: Dict[str, Any] = {}
        self._on_change = on_change

    def record(self, key: str, value: Any, mode: str) -> None:
        """Raises ``ValueError`` for a bad key, a value that is no JSON or not of the type it was."""
        segments = _segments(key)
        if value is not None:
            _check_value(key, value)
        holders = self._holders(key, segments)
        after = _combined(key, holders[-1].get(segments[-1]), value, mode)
        if after is None:
            _delete(holders, segments)
        else:
            for outer, inner, segment in zip(holders, holders[1:], segments):
                outer[segment] = inner
            holders[-1][segments[-1]] = after
        self._on_change(segments[0], self.values.get(segments[0]))

    def _holders(self, key: str, segments: List[str]) -> List[Dict[str, Any]]:
        """The objects that lead to a key's value, the new ones among them not in their places yet."""
        holders = [self.values]
        for segment in segments[:-1]:
            inner = holders[-1].get(segment, {})
            if not isinstance(inner, dict):
                raise ValueError(f"metric {key!r} needs an object at {segment!r}, where there is a value")  # noqa: TRY004 - one error for all
            holders.append(inner)
        return holders


def _combined(key: str, before: Any, value: Any, mode: str) -> Any:
    if mode == "incr":
        if _family(value) != (int, float) or (before is not None and _family(before) != (int, float)):
            raise ValueError(f"metric {key!r} is not a number, so it cannot be increased")
        return (before or 0) + value
    if mode == "append":
        if before is not None and not isinstance(before, list):
            raise ValueError(f"metric {key!r} is not a list, so nothing can be appended")
        return [*(before or []), value]
    if value is not None and before is not None and _family(before) != _family(value):
        raise ValueError(f"metric {key!r} keeps its first type, which is {type(before).__name__}")
    return value


def _delete(holders: List[Dict[str, Any]], segments: List[str]) -> None:
    """Remove a value, and the objects that are empty without it."""
    for holder, segment in reversed(list(zip(holders, segments))):
        holder.pop(segment, None)
        if holder:
            return


def _segments(key: Any) -> List[str]:
    if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY:
        raise ValueError(f"a metric's key is a string of at most {LONGEST_KEY} characters")
    segments = key.split(".")
    plain = key.replace("_", "").replace(".", "")
    fits = plain.isascii() and plain.isalnum() and "__" not in key and "" not in segments
    if not fits or len(segments) > MOST_SEGMENTS or not (key[0].isalpha() and key[-1].isalnum()):
        raise ValueError(f"{key!r} cannot be a metric's key: use letters, digits, _ and at most 3 dots")
    if key == "predict_time" or segments[0] == "cog":
        raise ValueError(f"the metric {key!r} is reserved")
    return segments


def _check_value(key: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"metric {key!r} is {value}, which is not a number in JSON")
    if isinstance(value, (list, tuple)):
        for element in value:
            _check_value(key, element)
    elif isinstance(value, dict):
        for name, element in value.items():
            if not isinstance(name, str):
                raise ValueError(f"metric {key!r} has a key that is not a string")  # noqa: TRY004 - one error for all
            _check_value(key, element)
    elif not isinstance(value, (bool, int, float, str)) and value is not None:
        raise ValueError(f"metric {key!r} is {type(value).__name__}, which is not a value of JSON")


def _family(value: Any) -> Tuple[type, ...]:
    if isinstance(value, bool):
        return (bool,)
    return (int, float) if isinstance(value, (int, float)) else (type(value),)
