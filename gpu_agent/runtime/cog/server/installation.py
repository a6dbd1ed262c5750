"""Finds the ``cogflare`` command that this runtime belongs to, and becomes it."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, List, NoReturn, Sequence

SETTING = "COGFLARE_BIN"
RUNTIME = Path(__file__).resolve().parents[2]
"""The folder that is on the model's path: gpu_agent/runtime of an installation, or a copy of it."""
PACKAGES = RUNTIME.parents[1]
"""Where that installation keeps its packages."""
OLDEST_PYTHON = (3, 11)
NEEDED = ("edge", "coordinator", "gpu_agent", "msgspec", "websockets", "httpx", "yaml")
NOTHING_FOUND = (
    "the cogflare command is not installed here: pip install 'DIR-OF-COGFLARE[server]' into an environment "
    f"of its own, of Python {'.'.join(map(str, OLDEST_PYTHON))} or newer, and put its bin/cogflare on PATH "
    f"or into {SETTING}"
)


class NotInstalled(Exception):
    """There is no ``cogflare`` command; the text is one line that says what to do."""


def command(environment: Dict[str, str]) -> List[str]:
    """How ``cogflare`` is started. Raises ``NotInstalled``.

    The setting wins, then the installation that this file is in, then the path.
    """
    named = environment.get(SETTING, "")
    if named:
        if not _is_program(Path(named)):
            raise NotInstalled(f"{SETTING} is {named}, and there is no such program")
        return _isolated(Path(named))
    for folder in PACKAGES.parents:
        if _is_program(folder / "bin" / "cogflare"):
            return _isolated(folder / "bin" / "cogflare")
    checkout = PACKAGES / ".venv" / "bin" / "cogflare"
    if _is_program(checkout):
        return _isolated(checkout)
    if _importable():
        return [sys.executable, "-P", "-m", "edge.cli"]
    found = shutil.which("cogflare", path=environment.get("PATH"))
    if found:
        return _isolated(Path(found))
    raise NotInstalled(NOTHING_FOUND)


def become(words: Sequence[str], environment: Dict[str, str]) -> NoReturn:
    """Replace this process by ``cogflare`` with these words: signals and exit code are its own from here on.

    Raises ``NotInstalled``.
    """
    line = [*command(environment), *words]
    environment = {name: value for name, value in environment.items() if name != SETTING}
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(line[0], line, environment)  # noqa: S606
    except OSError as error:
        raise NotInstalled(f"{line[0]} cannot be started: {error.strerror}") from None


def _isolated(program: Path) -> List[str]:
    """The program in its own interpreter, which does not look at PYTHONPATH and the like: these are the
    model's, perhaps of another Python. The model's process still gets them."""
    interpreter = _interpreter(program)
    return [*interpreter, "-E", str(program)] if interpreter else [str(program)]


def _interpreter(program: Path) -> List[str]:
    """What runs a script; empty when it is no Python script."""
    with open(program, "rb") as file:
        line = file.readline(4096)
    words = os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []
    if words and "python" in Path(words[0]).name:
        return words
    # A path that is too long for such a line, or has blanks in it, is hidden behind a shell.
    beside = program.resolve().with_name("python")
    hidden = words and Path(words[0]).name in ("sh", "env") and _is_program(beside)
    return [str(beside)] if hidden else []


def _importable() -> bool:
    """Whether our own interpreter could be the server's: then the packages are those beside this file."""
    if sys.version_info < OLDEST_PYTHON or any(find_spec(name) is None for name in NEEDED):
        return False
    spec = find_spec("edge")
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve().parents[1] == PACKAGES


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
