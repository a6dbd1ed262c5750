"""The metrics of one prediction: which keys and values there may be, and how they add up."""

import math
from typing import Any, Callable, Dict, Tuple

LONGEST_KEY = 128
MOST_SEGMENTS = 4


class Metrics:
    """Values by dotted key. ``on_change`` is told each key's new value."""

    def __init__(self, on_change: Callable[[str, Any], None]) -> None:
        self.values: Dict[str, Any] = {}
        self._on_change = on_change

    def record(self, key: str, value: Any, mode: str) -> None:
        """Raises ``ValueError`` for a bad key, a value that is no JSON or not of the type it was."""
        _check_key(key)
        before = self.values.get(key)
        if mode == "replace":
            if value is None:
                after = None
            else:
                _check_value(key, value)
                if before is not None and _family(before) != _family(value):
                    raise ValueError(f"metric {key!r} keeps its first type, which is {type(before).__name__}")
                after = value
        elif mode == "incr":
            _check_value(key, value)
            if _family(value) != (int, float) or (before is not None and _family(before) != (int, float)):
                raise ValueError(f"metric {key!r} is not a number, so it cannot be increased")
            after = (before or 0) + value
        else:
            _check_value(key, value)
            if before is not None and not isinstance(before, list):
                raise ValueError(f"metric {key!r} is not a list, so nothing can be appended")
            after = [*(before or []), value]
        if after is None:
            self.values.pop(key, None)
        else:
            self.values[key] = after
        self._on_change(key, after)


def _check_key(key: Any) -> None:
    if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY:
        raise ValueError(f"a metric's key is a string of at most {LONGEST_KEY} characters")
    segments = key.split(".")
    plain = key.replace("_", "").replace(".", "")
    fits = plain.isascii() and plain.isalnum() and "__" not in key and "" not in segments
    if not fits or len(segments) > MOST_SEGMENTS or not (key[0].isalpha() and key[-1].isalnum()):
        raise ValueError(f"{key!r} cannot be a metric's key: use letters, digits, _ and at most 3 dots")
    if key == "predict_time" or segments[0] == "cog":
        raise ValueError(f"the metric {key!r} is reserved")


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
