"""The whole system under seeded faults, in virtual time: every promise is kept, and broken code is found.

More seeds, or one that failed: ``python -m tests.simulation --help``.
"""

from pathlib import Path

import msgspec
import pytest

from tests.simulation.plan import Fault, plan_of
from tests.simulation.shrink import shrink
from tests.support.simulator import simulator

SEEDS = 500
AT_ONCE = 100
"""Seeds of one test: one that takes minutes counts as hung."""


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_all_promises_are_kept_whatever_a_seed_has_happen(first: int, tmp_path: Path) -> None:
    ran = simulator(f"{first}:{first + AT_ONCE}", "--out", str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{AT_ONCE} seeds, 0 failed" in ran.stdout


def test_the_same_seed_has_the_same_happen() -> None:
    stories = [simulator("11").stdout for _ in range(2)]
    assert "fault:" in stories[0]
    assert stories[0] == stories[1]


def test_what_fails_is_made_smaller() -> None:
    plan = next(plan for plan in map(plan_of, range(100)) if len(plan.faults) > 8)
    guilty: Fault = plan.faults[3]
    small = shrink(plan, lambda tried: guilty in tried.faults)
    assert small.faults == (guilty,)
    assert small.requests == ()


def test_a_plan_is_data() -> None:
    plan = plan_of(3)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=type(plan)) == plan
