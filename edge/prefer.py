"""How long a creation may hold its answer: ``Prefer: wait[=n]``, within what the client will sit through."""

from collections.abc import Iterable

import msgspec

SHORTEST_WAIT_S = 1.0
_READ_MARGIN = 0.1


class Wait(msgspec.Struct, frozen=True):
    """Hold the answer for at most ``timeout_s``; ``applied`` is the preference as the client gets it back."""

    timeout_s: float
    applied: str


def wait_of(headers: Iterable[tuple[bytes, bytes]], longest_s: float) -> Wait | None:
    """The wait that a request asks for, or None.

    ``n`` is clamped to 1..longest_s; ``wait`` without one, or with what is no number, means the longest. A
    client that tells its read time-out is answered before that: the beta SDK would send the request again.
    """
    wanted: str | None = None
    read_timeout_s: float | None = None
    for name, value in headers:
        if name == b"prefer" and wanted is None:
            wanted = _preference(value.decode("latin-1"), "wait")
        elif name == b"x-stainless-read-timeout":
            read_timeout_s = _number(value.decode("latin-1"))
    if wanted is None:
        return None
    seconds = _number(wanted)
    timeout_s = longest_s if seconds is None else min(max(seconds, SHORTEST_WAIT_S), longest_s)
    applied = "wait" if seconds is None else f"wait={timeout_s:g}"
    if read_timeout_s is not None:
        margin_s = max(SHORTEST_WAIT_S / 2, read_timeout_s * _READ_MARGIN)
        timeout_s = min(timeout_s, max(0.0, read_timeout_s - margin_s))
    return Wait(timeout_s=timeout_s, applied=applied)


def preference(headers: Iterable[tuple[bytes, bytes]], wanted: str) -> str | None:
    """The value of a preference of a request (empty without one), or None when it is not asked for."""
    found = (_preference(value.decode("latin-1"), wanted) for name, value in headers if name == b"prefer")
    return next((value for value in found if value is not None), None)


def _preference(value: str, wanted: str) -> str | None:
    """The value of one preference (empty without one), or None when it is not among them."""
    for item in value.split(","):
        name, _, argument = item.partition(";")[0].partition("=")
        if name.strip().lower() == wanted:
            return argument.strip().strip('"')
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    # float() takes "nan" and "inf" too.
    return number if 0 <= number < 1e9 else None
