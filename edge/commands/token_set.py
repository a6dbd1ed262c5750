"""``cogflare token set``: changes what a token may do."""

import json
from typing import Any

from edge.admin_settings import TokenSetSettings
from edge.daily_settings import given
from edge.exits import CommandFailed, ExitCode

SETTINGS = TokenSetSettings
ABOUT = (
    "Change what a token may do, and how often. Its secret stays, and what is connected by it, too. It holds "
    "within a second, for what is asked from then on."
)
_FIELDS = {"scope": "scopes", "pool": "pools", "allow_model": "models"}
"""Options that are not called as what they set."""
_OPTIONS = (
    "scope",
    "pool",
    "allow_model",
    "share",
    "max_running",
    "creations_per_min",
    "requests_per_min",
    "retention_s",
    "expire_s",
)


def run(settings: TokenSetSettings) -> int:
    from edge.administration import ordered
    from edge.control import SetToken

    order = SetToken(token=settings.which, changes=_changes(settings), account=settings.account)
    changed = ordered(settings.where, order, "token set")
    if settings.json:
        print(json.dumps(changed))
    else:
        rights = f"{', '.join(changed['scopes'])} in {', '.join(changed['pools'])}"
        print(f"token {changed['name']} of account {changed['account']} ({rights}) is changed")
    return ExitCode.DONE


def _changes(settings: TokenSetSettings) -> dict[str, Any]:
    changes = {
        _FIELDS.get(option, option): list(value) if isinstance(value, tuple) else value
        for option in _OPTIONS
        if (value := getattr(settings, option)) not in (None, ())
    } | given(settings.daily)
    for option in settings.reset:
        name = {"retention": "retention_s", "allow-model": "models"}.get(option, option.replace("-", "_"))
        if name in changes:
            raise CommandFailed(f"--{option} is both set and reset", ExitCode.USAGE)
        changes[name] = [] if name == "models" else None
    if not changes:
        raise CommandFailed("nothing to change was given", ExitCode.USAGE, "see cogflare token set --help")
    return changes
