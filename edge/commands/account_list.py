"""``cogflare account list``: the accounts, their shares, and what their files take."""

import json
from typing import Any

from edge.exits import ExitCode
from edge.quantities import about_size
from edge.settings import AccountListSettings
from edge.tables import table

SETTINGS = AccountListSettings
ABOUT = (
    "List the accounts, their shares, and how much storage their files take. An account is made with its "
    "first token."
)
KINDS = ("outputs", "inputs", "uploads")


def run(settings: AccountListSettings) -> int:
    from edge.administration import ordered
    from edge.control import ListAccounts

    found = ordered(settings.where, ListAccounts(), "account list")
    if settings.json:
        print(json.dumps(found))
    else:
        print(table([("account", "share", "made", *KINDS, "at most"), *map(_row, found)]))
    return ExitCode.DONE


def _row(account: dict[str, Any]) -> tuple[str, ...]:
    at_most = account["storage_at_most_bytes"]
    return (
        account["account"],
        f"{account['share']:g}",
        account["created_at"][:10],
        *(about_size(account[f"{kind}_bytes"]) for kind in KINDS),
        "" if at_most is None else about_size(at_most),
    )
