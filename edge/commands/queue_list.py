"""``cogflare queue list``: what waits and runs of each model."""

import json
from typing import Any

from edge.admin_settings import QueueListSettings
from edge.exits import ExitCode
from edge.quantities import format_duration
from edge.tables import table

SETTINGS = QueueListSettings
ABOUT = (
    "List what waits and runs of each model in each pool: of those in use, and of those that are paused. "
    "With --all also those that nobody uses now."
)
COLUMNS = ("model", "pool", "waiting", "oldest", "running", "workers", "free", "state")


def run(settings: QueueListSettings) -> int:
    from edge.administration import ordered
    from edge.control import ListQueues

    order = ListQueues(model=settings.model, all=settings.all)
    found: list[dict[str, Any]] = ordered(settings.where, order, "queue list")
    if settings.json:
        print(json.dumps(found))
    elif found:
        print(shown(found))
    else:
        print("no model is in use")
    return ExitCode.DONE


def shown(queues: list[dict[str, Any]]) -> str:
    """As a table."""
    return table([COLUMNS, *map(_row, queues)])


def _row(queue: dict[str, Any]) -> tuple[str, ...]:
    oldest_s = queue["oldest_s"]
    return (
        queue["model"],
        queue["pool"],
        str(queue["waiting"]),
        "" if oldest_s is None else format_duration(round(oldest_s)),
        str(queue["running"]),
        str(queue["workers"]),
        str(queue["free"]),
        "paused" if queue["paused"] else "",
    )
