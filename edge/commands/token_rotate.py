"""``cogflare token rotate``: gives a token another secret and hands it over, once."""

import json
from pathlib import Path
from typing import Any

from edge.admin_settings import TokenRotateSettings
from edge.commands.secrets import check_place, told, write
from edge.exits import ExitCode

SETTINGS = TokenRotateSettings
ABOUT = (
    "Give a token another secret. The one before goes on for a while, so that its users can be changed one "
    "after the other; then what is still connected by it is cut off. An older one ends at once."
)


def run(settings: TokenRotateSettings) -> int:
    from edge.administration import ordered
    from edge.control import RotateToken

    output = Path(settings.output).expanduser() if settings.output else None
    check_place(output, json=settings.json)
    order = RotateToken(token=settings.which, overlap_s=settings.overlap_s, account=settings.account)
    made: dict[str, Any] = ordered(settings.where, order, "token rotate")
    if output is not None:
        write(output, made.pop("token"), made["id"])
    if settings.json:
        print(json.dumps(made))
    else:
        print(f"token {made['name']} of account {made['account']} has another secret, id {made['id']}")
        print(f"the one before is good until {made['previous_until'][:19]}Z")
        print(told(made.get("token"), output))
    return ExitCode.DONE
