"""``cogflare usage``: what predictions came to, and cost."""

import json
from typing import Any

from edge.exits import CommandFailed, ExitCode
from edge.quantities import about_size
from edge.tables import table
from edge.usage_settings import UsageSettings

SETTINGS = UsageSettings
ABOUT = (
    "Say what predictions came to: how many, how long they ran, what they gave and cost, by day (UTC), "
    "account, token, end user and model."
)


def run(settings: UsageSettings) -> int:
    from edge.administration import ordered
    from edge.control import AskUsage
    from edge.usage import as_csv, columns

    if settings.csv and settings.json:
        raise CommandFailed("--csv and --json are two forms of one output", ExitCode.USAGE, "give one")
    order = AskUsage(
        group_by=settings.group_by,
        first=settings.first,
        last=settings.last,
        account=settings.account,
        token=settings.of_token,
        end_user=settings.end_user,
        model=settings.model,
    )
    found: dict[str, Any] = ordered(settings.where, order, "usage")
    if settings.json:
        print(json.dumps(found))
    elif settings.csv:
        print(as_csv(found), end="")
    else:
        names = columns(found["group_by"])
        lines = [*found["results"], {names[0]: "in all", **found["total"]}]
        heads = [name.replace("_", " ") for name in names]
        print(table([heads, *([_cell(name, line.get(name, "")) for name in names] for line in lines)]))
        print(f"\n{found['from']} to {found['to']}, money in {found['currency'] or 'that of the prices'}")
    return ExitCode.DONE


def _cell(name: str, value: Any) -> str:
    if name == "output_bytes":
        return about_size(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
