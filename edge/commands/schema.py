"""``cogflare schema``: a model's OpenAPI document, as its runner makes it. Needs no server library."""

import sys

from edge.exits import CommandFailed, ExitCode
from edge.settings import SchemaSettings

SETTINGS = SchemaSettings
ABOUT = "Read a model as an agent would, but for its setup(), and print its OpenAPI document as JSON."


def run(settings: SchemaSettings) -> int:
    import subprocess

    from gpu_agent.coglet_command import coglet_command, coglet_environment
    from gpu_agent.model_dir import ModelDir, ModelDirError

    if sys.platform == "win32":
        raise CommandFailed(
            "cogflare schema does not run on Windows itself", ExitCode.UNSUPPORTED, "run it in WSL2"
        )
    try:
        model = ModelDir.read(settings.dir)
    except ModelDirError as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from error
    python = str(settings.python or sys.executable)
    command = coglet_command(python, model, "predict", "--schema")
    try:
        # What the model prints while it is imported, and every mistake of it, goes to our stderr.
        done = subprocess.run(command, cwd=model.path, env=coglet_environment(), check=False)
    except OSError as error:
        raise CommandFailed(
            f"the interpreter {python} cannot be started: {error.strerror}", ExitCode.USAGE
        ) from error
    if done.returncode:
        raise CommandFailed(f"{settings.dir} cannot be loaded: see above")
    return ExitCode.DONE
