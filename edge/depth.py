"""How deep JSON is nested. Pure."""

import re
from itertools import accumulate

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OTHERS = bytes(set(range(256)) - set(_STEPS))


def too_deep(json: bytes, limit: int) -> bool:
    """Whether more than ``limit`` lists and objects are inside each other. The text must be valid JSON."""
    if json.count(b"[") + json.count(b"{") <= limit:
        return False  # what almost all inputs are
    brackets = _STRING.sub(b"", json).translate(None, _OTHERS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > limit
