"""``cogflare model list``: the models of all accounts."""

import json

from edge.exits import ExitCode
from edge.model_command_settings import ModelListSettings
from edge.tables import table

SETTINGS = ModelListSettings
ABOUT = "List the models that workers have registered, of all accounts."
COLUMNS = ("model", "account", "visibility", "pools", "runs", "version", "settings")


def run(settings: ModelListSettings) -> int:
    from edge.administration import ordered
    from edge.commands.model_show import shown_settings
    from edge.control import ListModels

    found = ordered(settings.where, ListModels(), "model list")
    if settings.json:
        print(json.dumps(found))
        return ExitCode.DONE
    rows = [
        (
            model["model"],
            model["account"],
            model["visibility"],
            ",".join(model["pools"]),
            str(model["runs"]),
            (model["latest_version"] or "")[:12],
            " ".join(f"{name}={value}" for name, value in shown_settings(model)),
        )
        for model in found
    ]
    print(table([COLUMNS, *rows]))
    return ExitCode.DONE
