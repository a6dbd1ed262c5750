"""``cogflare account set``: changes an account's share."""

import json

from edge.exits import ExitCode
from edge.settings import AccountSetSettings

SETTINGS = AccountSetSettings
ABOUT = "Change an account's share. Predictions that are submitted from then on carry it, within a second."


def run(settings: AccountSetSettings) -> int:
    from edge.administration import carry_out
    from edge.control import SetAccount
    from edge.data_dir import DataDir

    order = SetAccount(account=settings.account, share=settings.share)
    account = carry_out(DataDir(settings.data), order, "account set")
    if settings.json:
        print(json.dumps(account))
    else:
        print(f"account {account['account']} has the share {account['share']:g}")
    return ExitCode.DONE
