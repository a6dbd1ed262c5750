"""The whole system under seeded faults, in virtual time: every promise is kept, and broken code is found.

More seeds, or one that failed: ``python -m tests.simulation --help``.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.simulation.plan import Fault, plan_of
from tests.simulation.shrink import shrink

ROOT = Path(__file__).parents[2]
PLANTED = sorted((Path(__file__).parent / "planted").glob("*.patch"))
SEEDS = 500


def simulator(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)


def test_all_promises_are_kept_whatever_a_seed_has_happen(tmp_path: Path) -> None:
    ran = simulator(f"0:{SEEDS}", "--out", str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{SEEDS} seeds, 0 failed" in ran.stdout


def test_the_same_seed_has_the_same_happen() -> None:
    stories = [simulator("11").stdout for _ in range(2)]
    assert "fault:" in stories[0]
    assert stories[0] == stories[1]


@pytest.mark.parametrize("patch", PLANTED, ids=lambda patch: patch.stem)
def test_a_planted_bug_is_found(patch: Path, tmp_path: Path) -> None:
    for part in ("coordinator", "edge", "gpu_agent", "migrations", "tests/simulation", "tests/support"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    with patch.open() as planted:
        subprocess.run(["patch", "-p1", "--quiet"], cwd=tmp_path, stdin=planted, check=True)
    ran = simulator(f"0:{SEEDS}", "--first", "--no-shrink", folder=tmp_path)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "repeat with" in ran.stdout


def test_what_fails_is_made_smaller() -> None:
    plan = next(plan for plan in map(plan_of, range(100)) if len(plan.faults) > 8)
    guilty: Fault = plan.faults[3]
    small = shrink(plan, lambda tried: guilty in tried.faults)
    assert small.faults == (guilty,)
    assert small.requests == ()


def test_a_plan_is_data() -> None:
    plan = plan_of(3)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=type(plan)) == plan
