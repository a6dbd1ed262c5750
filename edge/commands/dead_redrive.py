"""``cogflare dead redrive``: tries dead letters again."""

import json
from typing import Any

from edge.exits import ExitCode
from edge.settings import DeadRedriveSettings

SETTINGS = DeadRedriveSettings
ABOUT = (
    "Create predictions anew from the kept inputs of dead letters. The old ones stay as they are; the new "
    "ones belong to the same account and name the old one in redriven_from. Each is repeated once: to repeat "
    "what has failed again, give the id of the repetition."
)


def run(settings: DeadRedriveSettings) -> int:
    from edge.administration import ordered
    from edge.control import Redrive

    order = Redrive(ids=settings.ids)
    made: list[dict[str, Any]] = ordered(settings.where, order, "dead redrive")
    if settings.json:
        print(json.dumps(made))
    else:
        for each in made:
            again = f"{each['id']} ({each['status']})"
            print(f"{each['redriven_from']} of {each['model']} is tried again as {again}")
    return ExitCode.DONE
