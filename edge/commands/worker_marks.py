"""What ``cogflare worker quarantine``, ``release``, ``drain`` and ``resume`` have in common."""

import json
from typing import Any, Literal

from edge.commands.worker_list import COLUMNS, row
from edge.exits import ExitCode
from edge.settings import WorkerMarkSettings
from edge.tables import table


def mark(settings: WorkerMarkSettings, what: Literal["quarantine", "release", "drain", "resume"]) -> int:
    """Give the order and show how the worker stands then, with each model."""
    from edge.administration import ordered
    from edge.control import MarkWorker

    order = MarkWorker(worker=settings.worker, mark=what, model=settings.model)
    found: list[dict[str, Any]] = ordered(settings.where, order, f"worker {what}")
    print(json.dumps(found) if settings.json else table([COLUMNS, *map(row, found)]))
    return ExitCode.DONE
