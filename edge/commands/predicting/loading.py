"""A model of this machine, from its folder to its document, with every problem as one line."""

import sys
from pathlib import Path
from typing import Any, BinaryIO

from edge.exits import CommandFailed, ExitCode
from edge.settings import InterpreterSettings
from gpu_agent.choice import Choice, choose
from gpu_agent.document import NoInterpreter, NotLoaded, read_document
from gpu_agent.environment import EnvironmentFailed, forget_unused
from gpu_agent.model_dir import ModelDir, ModelDirError


def model_in(folder: Path) -> ModelDir:
    """What the folder's cog.yaml says. Raises CommandFailed."""
    try:
        return ModelDir.read(folder)
    except ModelDirError as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from None


def chosen(folder: Path, settings: InterpreterSettings, command: str) -> Choice:
    """The model in this folder and its interpreter, which is made when it must be. Raises CommandFailed."""
    model = model_in(folder)
    try:
        choice = choose(
            model,
            python=str(settings.python or ""),
            install=settings.install,
            cache=settings.cache,
            command=command,
            say=_say,
        )
    except EnvironmentFailed as error:
        raise CommandFailed(str(error)) from None
    if settings.install:
        forget_unused(settings.cache, settings.unused_environment_s, _say)
    return choice


def document_of(choice: Choice, to: BinaryIO) -> dict[str, Any]:
    """The model's document. What is printed meanwhile goes to ``to``. Raises CommandFailed."""

    def show(text: bytes) -> None:
        to.write(text)
        to.flush()

    try:
        return read_document(choice.model, choice.python, show)
    except NoInterpreter as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from None
    except NotLoaded as error:
        if error.missing_module:
            raise CommandFailed(choice.missing(error.missing_module)) from None
        raise CommandFailed(str(error)) from None


def _say(line: str) -> None:
    print(f"cogflare: {line}", file=sys.stderr, flush=True)
