"""``cogflare worker list``: who serves which model, and who gets no work and why."""

import json
from typing import Any

from edge.exits import ExitCode
from edge.settings import WorkerListSettings
from edge.tables import table

SETTINGS = WorkerListSettings
ABOUT = (
    "List the workers of the models in use, with what keeps work away from them: quarantined after failures "
    "in a row, distrusted, or draining. With --all also those that models remember which nobody uses now."
)
COLUMNS = ("worker", "pool", "model", "state", "running", "free", "agent", "why")


def run(settings: WorkerListSettings) -> int:
    from edge.administration import ordered
    from edge.control import ListWorkers

    order = ListWorkers(model=settings.model, all=settings.all)
    found: list[dict[str, Any]] = ordered(settings.where, order, "worker list")
    if settings.json:
        print(json.dumps(found))
    elif found:
        print(table([COLUMNS, *map(row, found)]))
    else:
        print("no worker is connected")
    return ExitCode.DONE


def row(worker: dict[str, Any]) -> tuple[str, ...]:
    state = worker["state"]
    if not worker["attached"]:
        state = f"{state}, away" if state != "ok" else "away"
    return (
        worker["worker"],
        worker["pool"],
        worker["model"],
        state,
        str(worker["running"]),
        str(worker["free"]),
        worker["agent"],
        worker["reason"],
    )
