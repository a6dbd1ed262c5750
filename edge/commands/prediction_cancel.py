"""``cogflare prediction cancel``: cancels many predictions at once."""

import json
import time
from typing import Any

from msgspec.structs import replace

from edge.admin_settings import PredictionCancelSettings
from edge.exits import CommandFailed, ExitCode
from edge.tables import table

SETTINGS = PredictionCancelSettings
ABOUT = (
    "Cancel predictions that wait or run: those that are all of what is given. What waits ends at once, what "
    "runs within its model's grace. Predictions that are made meanwhile are not meant."
)
COLUMNS = ("id", "account", "model", "status", "made")


def run(settings: PredictionCancelSettings) -> int:
    from edge.administration import ordered
    from edge.control import CancelPredictions

    said = (settings.account, settings.model, settings.made_by, settings.end_user, settings.status)
    if not settings.all and settings.older_s is None and not any(said):
        raise CommandFailed("no filter was given", ExitCode.USAGE, "say which are meant, or --all")
    now = time.time_ns() // 1000
    older_us = 0 if settings.older_s is None else round(settings.older_s * 1_000_000)
    order = CancelPredictions(
        account=settings.account,
        model=settings.model,
        token=settings.made_by,
        end_user=settings.end_user,
        status=settings.status,  # type: ignore[arg-type]  # one of the choices
        created_before=now - older_us,
        all=not any(said),
        dry_run=settings.dry_run,
    )
    found: list[dict[str, Any]] = []
    while True:
        done = ordered(settings.where, order, "prediction cancel")
        found += done["predictions"]
        if done["after"] is None:
            break
        order = replace(order, after=tuple(done["after"]))
    if settings.json:
        print(json.dumps(found))
    else:
        _tell(found, dry_run=settings.dry_run)
    return ExitCode.DONE


def _tell(found: list[dict[str, Any]], *, dry_run: bool) -> None:
    if found:
        rows = [(*(each[name] for name in COLUMNS[:-1]), each["created_at"][:19]) for each in found]
        print(table([COLUMNS, *rows]))
    print(f"{len(found)} {'would be canceled' if dry_run else 'canceled'}")
