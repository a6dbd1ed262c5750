"""``cogflare dead list``: predictions that workers or storage failed, not their model."""

import json
from typing import Any

from edge.exits import ExitCode
from edge.settings import DeadListSettings
from edge.tables import table

SETTINGS = DeadListSettings
ABOUT = (
    "List dead letters, newest first: predictions that failed because they ended every process that ran them "
    "(poison), because their workers were lost (worker_lost), or because their output was (output_lost)."
)
COLUMNS = ("id", "account", "model", "code", "ended", "error")


def run(settings: DeadListSettings) -> int:
    from edge.administration import ordered
    from edge.control import ListDead

    order = ListDead(model=settings.model, limit=settings.limit)
    found: list[dict[str, Any]] = ordered(settings.where, order, "dead list")
    if settings.json:
        print(json.dumps(found))
    elif found:
        print(table([COLUMNS, *map(_row, found)]))
    else:
        print("there are no dead letters")
    return ExitCode.DONE


def _row(letter: dict[str, Any]) -> tuple[str, ...]:
    return (
        letter["id"],
        letter["account"],
        letter["model"],
        letter["error_code"],
        (letter["completed_at"] or "")[:19],
        (letter["error"] or "").splitlines()[0] if letter["error"] else "",
    )
