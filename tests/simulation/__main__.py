"""Run the simulator: ``python -m tests.simulation 0:500``, or one plan that failed, ``--plan FILE``.

A seed that fails is made smaller and written to a file, with the command that repeats it.
"""

import argparse
import logging
import os
import sys
import time
from pathlib import Path

import msgspec

from tests.simulation.history import Broken
from tests.simulation.plan import Plan, plan_of
from tests.simulation.seeds import broken, failing, quiet, simulate
from tests.simulation.shrink import shrink


def main() -> int:
    given = _arguments().parse_args()
    quiet()
    if given.plan:
        return _one(msgspec.json.decode(given.plan.read_bytes(), type=Plan))
    first, _, end = given.seeds.partition(":")
    seeds = range(int(first), int(end or int(first) + 1))
    if len(seeds) == 1:
        return _one(plan_of(seeds[0]))
    began = time.monotonic()
    failed = sorted(failing(seeds, given.jobs, first=given.first))
    for seed, reason in failed:
        _tell(seed, reason, given.out, small=given.shrink)
    print(f"{len(seeds)} seeds, {len(failed)} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", nargs="?", default="0:100", help="FIRST:END, or one seed, told in full")
    parser.add_argument("--plan", type=Path, help="run what is in this file, and tell it in full")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="simulations at the same time")
    parser.add_argument("--first", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("--shrink", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=Path("build/simulation"), help="folder for what fails")
    return parser


def _tell(seed: int, reason: str, out: Path, *, small: bool) -> None:
    print(f"seed {seed}: {reason}")
    plan = plan_of(seed)
    if small:
        plan = shrink(plan, lambda smaller: bool(broken(smaller)))
        print(f"  {len(plan.faults)} faults and {len(plan.requests)} requests are enough: {broken(plan)}")
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"seed-{seed}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(plan)))
    print(f"  repeat with: python -m tests.simulation --plan {file}")


def _one(plan: Plan) -> int:
    logging.getLogger().setLevel(logging.INFO)
    try:
        simulate(plan, print)
    except Broken as error:
        print(f"BROKEN: {error}")
        return 1
    print("all promises were kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
