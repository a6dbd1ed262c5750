"""``cogflare install``: makes a model's environment ahead of its use, as the build of an image does."""

import sys

from edge.exits import CommandFailed, ExitCode
from edge.settings import InstallSettings

SETTINGS = InstallSettings
ABOUT = (
    "Make the environment that --install runs a model in, unless it is there, and print its interpreter. "
    "Later starts with --install and the same --cache find it."
)


def run(settings: InstallSettings) -> int:
    if sys.platform == "win32":
        raise CommandFailed(
            "cogflare install does not run on Windows itself", ExitCode.UNSUPPORTED, "run it in WSL2"
        )
    import signal

    from edge.commands.predicting.loading import chosen, model_in

    if settings.system_packages:
        for package in model_in(settings.dir).build.system_packages:
            print(package)
        return ExitCode.DONE
    # As Ctrl-C does, it takes away what is only half made.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    print(chosen(settings.dir, settings.interpreter, "cogflare install").python, flush=True)
    return ExitCode.DONE
