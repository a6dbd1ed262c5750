"""The simulator as a program (``tests/simulation``)."""

import subprocess
import sys
from pathlib import Path

from tests.support.commands import REPOSITORY

LONGEST_S = 280.0


def simulator(*arguments: str, folder: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run it on the code in this folder."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=LONGEST_S)
