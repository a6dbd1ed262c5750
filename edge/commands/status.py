"""``cogflare status``: what a server is doing, once or again and again."""

import json
import os
import shutil
import sys
import time

from edge.exits import ExitCode
from edge.settings import StatusSettings

SETTINGS = StatusSettings
ABOUT = (
    "Show what a server is doing: each model with what waits, for how long and why, the workers with their "
    "slots, webhooks that are to be sent, and the last predictions that workers failed. On a terminal it is "
    "shown anew until q or Ctrl-C; elsewhere, or with --once, it is printed once. Exit code 10 when no "
    "server runs."
)


def run(settings: StatusSettings) -> int:
    from edge.commands.watching.frame import frame
    from edge.commands.watching.picture import take
    from edge.commands.watching.screen import watch

    picture = take(settings.where)
    if settings.json:
        print(json.dumps(picture))
    elif settings.once or not _lively():
        print("\n".join(frame(picture, shutil.get_terminal_size().columns, time.time())))
    else:
        watch(picture, lambda: take(settings.where), settings.every_s)
    return ExitCode.DONE


def _lively() -> bool:
    """Whether there is a terminal that can be written over, and a person at it."""
    return sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")
