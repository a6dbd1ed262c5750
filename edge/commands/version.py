"""``cogflare version``."""

import json
import platform
from importlib.metadata import distribution

from edge.exits import ExitCode
from edge.settings import VersionSettings

SETTINGS = VersionSettings
ABOUT = "Print the version of Cogflare, of the Python that runs it, and of the build if it is a single file."
BUILD = "build.json"
"""Left by ``infra/binary/build.py`` beside the metadata of what is in the single file."""


def run(settings: VersionSettings) -> int:
    found = distribution("cogflare")
    text = found.read_text(BUILD)
    build = json.loads(text) if text else None
    if settings.json:
        document = {"cogflare": found.version, "python": platform.python_version()}
        print(json.dumps(document | ({"build": build} if build else {})))
    else:
        print(f"cogflare {found.version} (Python {platform.python_version()})")
        if build:
            print(f"single file of commit {build['commit']}, for {build['machine']}, glibc {build['glibc']}")
            print(f"SQLite {build['sqlite']}, {build['openssl']}")
    return ExitCode.DONE
