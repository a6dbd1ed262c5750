"""``cogflare account list``: the accounts and their shares."""

import json

from edge.exits import ExitCode
from edge.settings import AccountListSettings
from edge.tables import table

SETTINGS = AccountListSettings
ABOUT = "List the accounts and their shares. An account is made with its first token."


def run(settings: AccountListSettings) -> int:
    from edge.administration import carry_out
    from edge.control import ListAccounts
    from edge.data_dir import DataDir

    found = carry_out(DataDir(settings.data), ListAccounts(), "account list")
    if settings.json:
        print(json.dumps(found))
    else:
        rows = [(a["account"], f"{a['share']:g}", a["created_at"][:10]) for a in found]
        print(table([("account", "share", "made"), *rows]))
    return ExitCode.DONE
