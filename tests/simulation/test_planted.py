"""Bugs that are planted in a copy of the code: the simulator finds each."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import REPOSITORY
from tests.support.simulator import simulator

PLANTED = sorted((Path(__file__).parent / "planted").glob("*.patch"))
SEEDS = 500
"""Within so many each is found, counted from where its patch says that it is soon: all take minutes."""


@pytest.mark.parametrize("patch", PLANTED, ids=lambda patch: patch.stem)
def test_a_planted_bug_is_found(patch: Path, tmp_path: Path) -> None:
    for part in ("coordinator", "edge", "gpu_agent", "migrations", "tests/simulation", "tests/support"):
        shutil.copytree(REPOSITORY / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    said = re.search(r"from seed (\d+) on", patch.read_text())
    first = int(said[1]) if said else 0
    with patch.open() as planted:
        subprocess.run(["patch", "-p1", "--quiet"], cwd=tmp_path, stdin=planted, check=True)
    ran = simulator(f"{first}:{first + SEEDS}", "--first", "--no-shrink", folder=tmp_path)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "repeat with" in ran.stdout
