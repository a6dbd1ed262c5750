"""``cogflare account set``: changes what an account may have."""

import json
from typing import Any

from edge.daily_settings import given
from edge.exits import CommandFailed, ExitCode
from edge.quantities import format_size
from edge.settings import AccountSetSettings

SETTINGS = AccountSetSettings
ABOUT = (
    "Change what an account may have: its share, which predictions carry that are submitted from then on, "
    "the storage that its files may take, and what it may have in a day. It holds within a second."
)


def run(settings: AccountSetSettings) -> int:
    from edge.administration import ordered
    from edge.control import SetAccount

    daily = given(settings.daily)
    if settings.share is None and settings.storage_at_most_bytes is None and not daily:
        raise CommandFailed("nothing to change was given", ExitCode.USAGE, "see cogflare account set --help")
    order = SetAccount(
        account=settings.account,
        share=settings.share,
        storage_at_most=settings.storage_at_most_bytes,
        **daily,
    )
    account = ordered(settings.where, order, "account set")
    if settings.json:
        print(json.dumps(account))
    else:
        at_most = account["storage_at_most_bytes"]
        storage = "any storage" if at_most is None else f"at most {format_size(at_most)} of files"
        print(
            f"account {account['account']} has the share {account['share']:g}, and {storage}{_daily(account)}"
        )
    return ExitCode.DONE


def _daily(account: dict[str, Any]) -> str:
    """What it may have in a day, if that is limited."""
    limits = (
        ("daily_predictions", "{:g} predictions"),
        ("daily_run_s", "{:g} s of running"),
        ("daily_budget", "a budget of {:g}"),
    )
    said = [text.format(account[name]) for name, text in limits if account[name]]
    return f"; a day: {', '.join(said)}" if said else ""
