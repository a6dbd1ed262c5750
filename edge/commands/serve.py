"""``cogflare serve``: the server, until a signal."""

import sys

from edge.exits import CommandFailed, ExitCode
from edge.settings import ServeSettings

SETTINGS = ServeSettings
ABOUT = (
    "Run the server. The first start creates the data directory and prints the first admin token. SIGTERM "
    "and Ctrl-C let requests in progress end (--drain-s) and leave; a second one leaves at once. Neither "
    "loses accepted work, and neither does kill -9."
)


def run(settings: ServeSettings) -> int:
    if sys.platform == "win32":
        raise CommandFailed(
            "cogflare serve does not run on Windows itself", ExitCode.UNSUPPORTED, "run it in WSL2"
        )
    import asyncio

    import uvloop

    from edge import logs
    from edge.serve import serve

    logs.configure(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings))
