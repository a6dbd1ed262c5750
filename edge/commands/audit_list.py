"""``cogflare audit list``: what administrators have done."""

import json
from typing import Any

from edge.admin_settings import AuditListSettings
from edge.exits import ExitCode
from edge.tables import table

SETTINGS = AuditListSettings
ABOUT = (
    "List what administrators have done, newest first: over HTTP, by commands on the server's machine, and "
    "on its files. Nothing takes a line out of it."
)
COLUMNS = ("when", "by", "who", "act", "what", "outcome", "how")


def run(settings: AuditListSettings) -> int:
    from edge.administration import ordered
    from edge.control import ListAudit

    order = ListAudit(act=settings.act, target=settings.target, token=settings.by, limit=settings.limit)
    found: list[dict[str, Any]] = ordered(settings.where, order, "audit list")
    if settings.json:
        print(json.dumps(found))
    elif found:
        print(table([COLUMNS, *map(_row, found)]))
    else:
        print("nothing was done yet")
    return ExitCode.DONE


def _row(act: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{act['at'][:19]}Z",
        act["door"],
        act["who"] if act["token"] is None else f"{act['account']}/{act['who']}",
        act["act"],
        act["target"],
        act["outcome"] or "not known",
        " ".join(f"{name}={json.dumps(value)}" for name, value in act["detail"].items()),
    )
