"""``cogflare predict``: one prediction, of a model's folder here or on a server. Needs no server library."""

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edge.exits import CommandFailed, ExitCode
from edge.settings import PredictSettings

if TYPE_CHECKING:
    from edge.commands.predicting.ending import Ending
    from edge.commands.predicting.saving import OutputFolder
    from edge.commands.predicting.screen import Screen

SETTINGS = PredictSettings
ABOUT = (
    "Run one prediction: of the model in DIR on this machine, or of MODEL (owner/name, owner/name:version) "
    "on a server that speaks Replicate's API. Logs go to stderr, output to stdout as it comes, its files to "
    "--output. Ctrl-C cancels, a second one ends at once."
)

_MODEL = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?::(?P<version>\w+))?", re.ASCII)
_MARKS = ("cog.yaml", "predict.py")
"""A folder with one of them is a model's."""


def run(settings: PredictSettings) -> int:
    if sys.platform == "win32":
        raise CommandFailed(
            "cogflare predict does not run on Windows itself", ExitCode.UNSUPPORTED, "run it in WSL2"
        )
    from edge.commands.predicting.saving import OutputFolder
    from edge.commands.predicting.screen import Screen, as_text

    screen = Screen()
    folder = OutputFolder(settings.output)
    named = _MODEL.fullmatch(settings.model)
    with tempfile.TemporaryDirectory(prefix="cogflare-", ignore_cleanup_errors=True) as work:
        if _is_here(settings.model) or named is None:
            ending = _here(settings, screen, folder, Path(work))
        else:
            ending = _there(settings, named["name"], named["version"], screen, folder, Path(work))
    if settings.json and ending.document is not None:
        screen.write(as_text(ending.document) + "\n")
    if ending.problem:
        screen.say(ending.problem)
    return ending.code


def _is_here(text: str) -> bool:
    """A model's folder. One that only shares its name with a model of the server is none."""
    folder = Path(text).expanduser()
    named = _MODEL.fullmatch(text) is not None
    return folder.is_dir() and (not named or any((folder / name).is_file() for name in _MARKS))


def _here(settings: PredictSettings, screen: "Screen", folder: "OutputFolder", work: Path) -> "Ending":
    from edge.commands.predicting.given import read_inputs
    from edge.commands.predicting.loading import chosen, document_of
    from edge.commands.predicting.local import LocalRun
    from edge.commands.predicting.screen import Output

    choice = chosen(Path(settings.model).expanduser(), settings.interpreter, "cogflare predict")
    document = document_of(choice, sys.stderr.buffer)
    given = read_inputs(settings.input, document, work)
    output = Output(screen, document, silent=settings.json)

    async def predict() -> "Ending":
        run = LocalRun(choice, document, screen=screen, output=output, folder=folder, work=work)
        return await run.run(given)

    return asyncio.run(predict())


def _there(
    settings: PredictSettings,
    name: str,
    version: str | None,
    screen: "Screen",
    folder: "OutputFolder",
    work: Path,
) -> "Ending":
    from edge.commands.predicting.api import Api
    from edge.commands.predicting.given import read_inputs
    from edge.commands.predicting.remote import RemoteRun, Target
    from edge.commands.predicting.remote_output import RemoteOutput
    from edge.commands.predicting.screen import Output

    if not settings.server:
        raise CommandFailed(
            f"{settings.model} is no folder of a model here, and --server or COGFLARE_SERVER is needed "
            "to run it as a model of a server",
            ExitCode.USAGE,
        )

    async def find() -> Target:
        async with Api(settings.server, settings.token) as api:
            return await Target.find(api, name, version)

    target = asyncio.run(find())
    given = read_inputs(settings.input, target.document, work)

    async def predict() -> "Ending":
        async with Api(settings.server, settings.token) as api:
            output = RemoteOutput(api, Output(screen, target.document, silent=settings.json), folder)
            return await RemoteRun(api, target, screen=screen, output=output).run(given)

    return asyncio.run(predict())
