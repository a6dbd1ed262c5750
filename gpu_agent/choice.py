"""Which interpreter a model runs in, and what to do when that one lacks something."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpu_agent.environment import default_interpreter, prepare
from gpu_agent.environment_use import Say
from gpu_agent.model_dir import CONFIG, ModelDir


@dataclass(frozen=True, slots=True)
class Choice:
    """The interpreter of one model."""

    model: ModelDir
    python: str
    origin: Literal["named", "installed", "own"]
    """Named with ``--python``, made by ``--install``, or the one of models that say nothing."""
    command: str
    """``cogflare agent``, or what else chose."""

    def missing(self, module: str) -> str:
        """One line for when it has no such module, with the command that mends it."""
        build = self.model.build
        config = self.model.path / CONFIG
        lacks = f"{self.python} has no module {module}"
        if self.origin == "installed":
            return f"{lacks}: add the package that has it to build.python_packages in {config}"
        if self.origin == "own" and build.installs:
            return f"{lacks}: `{self.command} ... --install` runs the model with what {config} lists"
        words = [self.python, "-m", "pip", "install", *build.python_packages]
        if build.python_requirements:
            words += ["-r", str(self.model.path / build.python_requirements)]
        if not build.installs:
            words.append(module.partition(".")[0])
        return f"{lacks}: `{shlex.join(words)}`"


def choose(
    model: ModelDir, *, python: str, install: bool, cache: Path | None, command: str, say: Say
) -> Choice:
    """The interpreter for a model: ``python`` when it is named, else an environment, else our own,
    which is ``python3`` on PATH for the single file.

    Blocks while an environment is made. ``say`` gets a line when the model wants another Python than it gets.
    Raises ``EnvironmentFailed``.
    """
    if python:
        return Choice(model, python, "named", command)
    if install:
        return Choice(model, prepare(model, cache, say), "installed", command)
    own, version = default_interpreter()
    wanted = model.build.minor_version
    if wanted and wanted != version:
        say(
            f"{model.path / CONFIG}: wants Python {wanted}, and this is {version}: "
            f"`{command} ... --install` runs the model in a {wanted}, --python PATH in one of yours"
        )
    return Choice(model, own, "own", command)
