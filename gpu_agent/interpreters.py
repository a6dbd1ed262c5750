"""Finds the Pythons of this machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROBE_S = 20.0
OLDEST = (3, 9)
"""What coglet runs on."""
BUNDLED = "cogflare-python"
"""The file name of the interpreter in the single file (``infra/binary``). It is ours alone: it has no pip,
and what is made of it would be gone with the next version."""
_PROBE = (
    "import os, platform, sys;"
    "base = getattr(sys, '_base_executable', None) or sys.executable;"
    "print('%d.%d.%d' % sys.version_info[:3], platform.machine(), os.path.realpath(base), sep='\\n')"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that runs."""

    path: str
    """Of the installation itself, also when it was found through a virtual environment of it."""
    version: str
    """As ``3.11.4``."""
    machine: str

    @property
    def minor_version(self) -> str:
        return ".".join(self.version.split(".")[:2])


def probe(path: str) -> Interpreter | None:
    """What the file is, by running it; None when it is no Python that runs."""
    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = done.stdout.splitlines()
    return Interpreter(found[2], found[0], found[1]) if done.returncode == 0 and len(found) == 3 else None


def own_version() -> str:
    """The version of the Python that runs this, as ``3.11``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def bundled() -> bool:
    """Whether the single file's own interpreter runs this."""
    return Path(sys.executable).name == BUNDLED


def of_models() -> tuple[str, str] | None:
    """Path and minor version of the interpreter of models that name none: the one that runs this, or from the
    single file ``python3`` on PATH. Blocks for as long as that takes to start. None when there is none that
    would do."""
    if not bundled():
        return sys.executable, own_version()
    for name in ("python3", "python"):
        path = shutil.which(name)
        found = probe(path) if path else None
        if path and found and tuple(map(int, found.minor_version.split("."))) >= OLDEST:
            return path, found.minor_version
    return None


def find(version: str) -> Interpreter | None:
    """An interpreter of this version: ``3.11``, or ``3.11.4``, of which any other 3.11 is the second best.

    Blocks for as long as the candidates take to start. None when there is none.
    """
    minor = ".".join(version.split(".")[:2])
    second = None
    for candidate in _candidates(minor):
        found = probe(candidate)
        if found is None or found.minor_version != minor:
            continue
        if version in (minor, found.version):
            return found
        second = second or found
    return second


def _candidates(minor: str) -> Iterator[str]:
    if not bundled():
        yield sys.executable
    for name in (f"python{minor}", "python3", "python"):
        found = shutil.which(name)
        if found:
            yield found
    # A shim of pyenv on PATH runs only the versions that are switched on: here are all that are installed.
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob(f"versions/{minor}.*/bin/python"), reverse=True))
    yield from map(str, root.glob(f"versions/{minor}/bin/python"))
