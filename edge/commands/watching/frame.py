"""What ``cogflare status`` shows, as lines of text. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from edge.tables import plain
from edge.times import parse_rfc3339

Row = Sequence[str]
_GAP = 2
_LEAST = 8
"""A column that is made narrower keeps so much."""
_QUEUES = ("MODEL", "POOL", "WAITING", "OLDEST", "RUNNING", "FREE", "WHY")
_WORKERS = ("WORKER", "MODEL", "STATE", "RUNNING", "FREE", "WHY")
_FAILURES = ("FAILED", "MODEL", "AGO", "ERROR")
_NUMBERS = frozenset({"WAITING", "OLDEST", "RUNNING", "FREE", "AGO"})
_UNITS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))


def frame(picture: Mapping[str, Any], columns: int, now: float) -> list[str]:
    """The lines, none longer than ``columns``; ``now`` is seconds since the epoch."""
    queues, workers, failures = picture["queues"], picture["workers"], picture["failures"]
    lines = [*_head(picture, now), _sums(queues, workers)]
    lines += _section(_QUEUES, [_queue(each) for each in queues], "no model is in use", columns)
    lines += _section(_WORKERS, [_worker(each) for each in workers], "no worker is connected", columns)
    if failures:
        lines += _section(_FAILURES, [_failure(each, now) for each in failures], "", columns)
    return [_cut(plain(line), columns) for line in lines]


def in_words(seconds: float) -> str:
    """So many seconds, for a glance: ``45s``, ``3m20s``, ``2h05m``, ``4d02h``."""
    whole = max(0, int(seconds))
    for factor, unit, below, smaller in _UNITS:
        if whole >= factor:
            return f"{whole // factor}{unit}{whole % factor // below:02}{smaller}"
    return f"{whole}s"


def _head(picture: Mapping[str, Any], now: float) -> list[str]:
    parts = ["cogflare", picture.get("version", ""), picture["state"]]
    parts.append(picture.get("public_url") or picture["url"])
    started_at = parse_rfc3339(picture.get("started_at", ""))
    if started_at is not None:
        parts.append(f"up {in_words(now - started_at / 1e6)}")
    lines = ["  ".join(filter(None, parts))]
    if "data" in picture:
        lines.append(f"data {picture['data']}, process {picture['process']}")
    return lines


def _sums(queues: Sequence[Mapping[str, Any]], workers: Sequence[Mapping[str, Any]]) -> str:
    waiting, running, webhooks = (
        sum(each[name] for each in queues) for name in ("waiting", "running", "webhooks")
    )
    here = len({each["agent"] for each in workers if each["attached"]})
    return (
        f"{waiting} waiting, {running} running, {here} worker{'' if here == 1 else 's'}, "
        f"{webhooks} webhook{'' if webhooks == 1 else 's'} to send"
    )


def _queue(queue: Mapping[str, Any]) -> Row:
    oldest_s = queue["oldest_s"]
    return (
        queue["model"],
        queue["pool"],
        str(queue["waiting"]),
        "" if oldest_s is None else in_words(oldest_s),
        str(queue["running"]),
        str(queue["free"]),
        "paused" if queue["paused"] else queue["reason"] or "",
    )


def _worker(worker: Mapping[str, Any]) -> Row:
    state = worker["state"]
    if not worker["attached"]:
        state = f"{state}, away" if state != "ok" else "away"
    running, free = str(worker["running"]), str(worker["free"])
    return (worker["worker"], worker["model"], state, running, free, worker["reason"])


def _failure(failure: Mapping[str, Any], now: float) -> Row:
    ended_at = parse_rfc3339(failure["completed_at"] or "")
    ago = "" if ended_at is None else in_words(now - ended_at / 1e6)
    return (failure["id"], failure["model"], ago, f"{failure['error_code']}: {failure['error']}")


def _section(titles: Row, rows: Sequence[Row], without: str, columns: int) -> list[str]:
    if not rows:
        return ["", without]
    cells = [[plain(cell) for cell in row] for row in (titles, *rows)]
    widths = _fitted([max(map(len, column)) for column in zip(*cells, strict=True)], columns)
    return ["", *(_line(row, titles, widths) for row in cells)]


def _fitted(widths: list[int], columns: int) -> list[int]:
    """The widest columns are made narrower until all fit, as far as they may be."""
    widths = list(widths)
    while sum(widths) + _GAP * (len(widths) - 1) > columns and max(widths) > _LEAST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _line(row: Row, titles: Row, widths: Sequence[int]) -> str:
    cells = [
        _cut(cell, width).rjust(width) if title in _NUMBERS else _cut(cell, width).ljust(width)
        for cell, title, width in zip(row, titles, widths, strict=True)
    ]
    return (" " * _GAP).join(cells).rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
