"""``cogflare version``."""

import json
import platform
from importlib.metadata import version

from edge.exits import ExitCode
from edge.settings import VersionSettings

SETTINGS = VersionSettings
ABOUT = "Print the version of Cogflare and of the Python that runs it."


def run(settings: VersionSettings) -> int:
    if settings.json:
        print(json.dumps({"cogflare": version("cogflare"), "python": platform.python_version()}))
    else:
        print(f"cogflare {version('cogflare')} (Python {platform.python_version()})")
    return ExitCode.DONE
