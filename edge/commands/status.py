"""``cogflare status``: what the server of a data directory says of itself."""

import json

from edge.exits import ExitCode
from edge.settings import StatusSettings

SETTINGS = StatusSettings
ABOUT = "Say what the server of a data directory is doing. Exit code 10 when none runs."


def run(settings: StatusSettings) -> int:
    from edge.administration import carry_out
    from edge.control import AskStatus
    from edge.data_dir import DataDir

    status = carry_out(DataDir(settings.data), AskStatus(), "status")
    if settings.json:
        print(json.dumps(status))
    else:
        print("\n".join(f"{name.replace('_', ' '):<11} {value}" for name, value in status.items()))
    return ExitCode.DONE
